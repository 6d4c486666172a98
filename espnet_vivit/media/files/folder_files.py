"""Which files a folder holds, through symbolic links too, and which of them are videos by their names.

[path for path in files_below("corpus") if is_video(path)]
"""

from __future__ import annotations

import os
from pathlib import Path

# FFmpeg opens many more kinds of files; these are videos and, by their names, nothing else.
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .divx .mpg .mpeg .mpe .m1v .m2v .mts .m2ts .m2t .ts .vob .wmv .asf .flv .f4v "
    ".3gp .3g2 .ogv .ogm .rm .rmvb .mxf .dv .y4m .nut .ivf".split()
)


def is_video(path: Path) -> bool:
    """Whether its name says so; nothing is opened."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def files_below(root: str | os.PathLike) -> list[Path]:
    """All that is no folder below `root`, sorted by path. Each folder counts once, however many links lead to it.

    Its own name goes before that of a link; of several links, the first by name does. A link that leads back, to a
    folder around it, therefore ends there. Folders that may not be read hold nothing.
    """
    files: list[Path] = []
    seen: set[str] = set()  # real paths: of every folder that was looked into
    waiting = [os.fspath(root)]
    while waiting:
        links: list[str] = []
        for start in waiting:
            for folder, folders, names in os.walk(start):
                real = os.path.realpath(folder)
                if real in seen:
                    folders.clear()
                    continue
                seen.add(real)
                files += [Path(folder, name) for name in names]
                links += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]
        waiting = sorted(links)
    return sorted(files)
