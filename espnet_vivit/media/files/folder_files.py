"""Which files a folder holds, through symbolic links too, and which of them are videos by their names.

[path for path in files_below("corpus") if is_video(path)]
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

# FFmpeg opens many more kinds of files; these are videos and, by their names, nothing else.
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .divx .mpg .mpeg .mpe .m1v .m2v .mts .m2ts .m2t .ts .vob .wmv .asf .flv .f4v "
    ".3gp .3g2 .ogv .ogm .rm .rmvb .mxf .dv .y4m .nut .ivf".split()
)


def is_video(path: Path) -> bool:
    """Whether its name says so; nothing is opened."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_file(path: Path) -> Path:
    """`path`, or the file beside it whose name has the same letters, composed or decomposed (NFC, NFD).

    Tables come from other machines: a Macintosh writes é as two characters, most others as one.
    """
    if os.path.exists(path):  # False for a name that is too long to be one, too
        return path
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((form for form in forms if os.path.exists(form)), _like(path, _composed) or path)


def hint_at(path: Path) -> str:
    """ " (there is Clip.mp4)" where a file beside `path` differs from it only in case; else ""."""
    near = _like(path, lambda name: _composed(name).casefold())
    return f" (there is {near.name})" if near else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _like(path: Path, form: Callable[[str], str]) -> Path | None:
    try:
        names = sorted(os.listdir(path.parent))
    except OSError:  # no such folder, or one that may not be read
        return None
    return next((path.parent / name for name in names if form(name) == form(path.name)), None)


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
