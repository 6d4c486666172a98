"""LRS3 as it is distributed: train and dev from `trainval`, test, and `pretrain` cut and added to train.

    ROOT/{pretrain,trainval,test}/<talk>/<number>.mp4 and .txt, or ROOT/lrs3/…

LRS3 has no validation set, and published recipes validate on the test set (Auto-AVSR) or on clips whose talks they also
train on. Here whole talks of `trainval` are held out for dev, and what `pretrain` has of them, or of a talk of the test
set, is left out of training: it stands in the report as left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_vivit.corpora.lrs import MAX_CUT_S, names_below, pretrain_clips, sentence_clip
from espnet_vivit.corpora.preparing.source_clip import SourceClip, hash_rank
from espnet_vivit.errors import DataError

PARTS = ("pretrain", "trainval", "test")
DEV_CLIPS, DEV_SHARE = 1200, 0.05  # about as many as others hold out, and never more than this share


def lrs3_clips(
    root: str | os.PathLike, *, pretrain: bool = True, max_s: float = MAX_CUT_S, seed: int = 0
) -> Iterator[SourceClip]:
    """The clips. Raises DataError where `root` is not LRS3."""
    root = Path(root)
    base = next((folder for folder in (root, root / "lrs3") if (folder / "trainval").is_dir()), None)
    if base is None or not (base / "test").is_dir():
        raise DataError(f"{root} is not LRS3", expected="a folder with pretrain, trainval and test")
    names = {part: names_below(base / part) for part in ("trainval", "test")}
    for part, found in names.items():
        if not found:
            raise DataError(f"{base / part} has no clips", expected="folders <talk>/<number>.mp4 and .txt")
    dev_talks = choose_talks(names["trainval"], seed=seed)
    test_talks = {name.split("/")[0] for name in names["test"]}
    for part, found in names.items():
        for name in found:
            talk = name.split("/")[0]
            split = "test" if part == "test" else "dev" if talk in dev_talks else "train"
            yield sentence_clip(base / part, name, split=split, recording=talk)
    if not pretrain:
        return
    if not (base / "pretrain").is_dir():
        raise DataError(f"{base} has no folder pretrain", fix="Do without it: --no_pretrain")
    for name in names_below(base / "pretrain"):
        talk = name.split("/")[0]
        split = "test" if talk in test_talks else "dev" if talk in dev_talks else ""
        problem = f"left out: its talk is in {split}" if split else ""
        yield from pretrain_clips(base / "pretrain", name, max_s=max_s, recording=talk, problem=problem)


def choose_talks(names: Sequence[str], *, seed: int = 0) -> set[str]:
    """Whole talks for dev, at random: up to DEV_CLIPS or DEV_SHARE of the clips, and at least one talk of several."""
    sizes = Counter(name.split("/")[0] for name in names)
    room = min(DEV_CLIPS, DEV_SHARE * len(names))
    chosen: set[str] = set()
    for talk in sorted(sizes, key=lambda talk: hash_rank(talk, seed=seed)):
        if len(sizes) > 1 and (not chosen or sum(sizes[t] for t in chosen) + sizes[talk] <= room):
            chosen.add(talk)
        if sum(sizes[t] for t in chosen) >= room:
            break
    return chosen
