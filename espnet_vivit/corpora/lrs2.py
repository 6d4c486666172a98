"""LRS2 as the BBC distributes it: sets train, dev and test as its lists say, `pretrain` cut and added to train.

    ROOT/mvlrs_v1/{main,pretrain}/<programme>/<number>.mp4 and .txt, or ROOT/{main,pretrain}/…
    ROOT/{train,val,test}.txt, there or in mvlrs_v1: `programme/number` on each line, what follows it is left alone

The official lists are taken as they are. Of `pretrain`, programmes that have clips in val or test are left out: nothing
of a test set may be trained on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from espnet_vivit.base.text_file import read_text
from espnet_vivit.corpora.lrs import MAX_CUT_S, names_below, pretrain_clips, sentence_clip
from espnet_vivit.corpora.preparing.source_clip import SourceClip
from espnet_vivit.errors import DataError

LISTS = {"train": "train.txt", "dev": "val.txt", "test": "test.txt"}


def lrs2_clips(root: str | os.PathLike, *, pretrain: bool = True, max_s: float = MAX_CUT_S) -> Iterator[SourceClip]:
    """The clips. Raises DataError where `root` is not LRS2: its folders, its lists, a line that is no name."""
    root = Path(root)
    base = next((folder for folder in (root, root / "mvlrs_v1") if (folder / "main").is_dir()), None)
    if base is None:
        raise DataError(f"{root} is not LRS2", expected="a folder with mvlrs_v1/main and mvlrs_v1/pretrain")
    lists = {split: read_list(find_list(base, name)) for split, name in LISTS.items()}
    for split, names in lists.items():
        for name in names:
            yield sentence_clip(base / "main", name, split=split)
    if not pretrain:
        return
    if not (base / "pretrain").is_dir():
        raise DataError(f"{base} has no folder pretrain", fix="Do without it: --no_pretrain")
    held = {name.split("/")[0]: split for split in ("dev", "test") for name in lists[split]}
    for name in names_below(base / "pretrain"):
        split = held.get(name.split("/")[0])
        problem = f"left out: clips of its programme are in {split}" if split else ""
        yield from pretrain_clips(base / "pretrain", name, max_s=max_s, problem=problem)


def find_list(base: Path, name: str) -> Path:
    for folder in (base, base.parent):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"no list {name} in {base} or {base.parent}", fix="It comes with LRS2: put it beside the folders.")


def read_list(path: Path) -> list[str]:
    """`programme/number` of every line. Raises DataError, which names the line."""
    names = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name = line.split()[0].removesuffix(".mp4").removeprefix("main/")
        if name.count("/") != 1:
            raise DataError(f"{path}, line {number}", found=repr(line), expected="programme/number")
        names.append(name)
    if not names:
        raise DataError(f"{path} is empty", expected="programme/number on each line")
    return names
