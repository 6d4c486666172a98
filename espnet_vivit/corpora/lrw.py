"""LRW as the BBC distributes it: isolated words of 29 frames, sets train, dev (its `val`) and test as its folders say.

    ROOT/lipread_mp4/<WORD>/{train,val,test}/<WORD>_<number>.mp4 and .txt, or ROOT/<WORD>/…

The .txt says `Duration: 0.27 seconds`: the word is that long, in the middle of its clip. J. S. Chung and A. Zisserman,
"Lip reading in the wild", ACCV 2016. LRW does not say who speaks: each clip counts as a speaker of its own.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from espnet_vivit.base.text_file import read_text
from espnet_vivit.corpora.preparing.source_clip import SourceClip, make_id
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError
from espnet_vivit.units import VIDEO_RATE_HZ

FOLDER = "lipread_mp4"
SETS = {"train": "train", "val": "dev", "test": "test"}
CLIP_S = 29 / VIDEO_RATE_HZ
_DURATION = re.compile(r"^Duration:\s*(\d+(?:\.\d+)?)\b", flags=re.MULTILINE)


def lrw_clips(root: str | os.PathLike) -> Iterator[SourceClip]:
    """The clips, words in alphabetical order. Raises DataError where `root` has no such folders."""
    root = Path(root)
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    words = sorted(folder for folder in base.iterdir() if (folder / "train").is_dir()) if base.is_dir() else []
    if not words:
        raise DataError(f"{root} is not LRW", expected=f"folders {FOLDER}/<WORD>/{{train,val,test}}")
    for folder in words:
        for name, split in SETS.items():
            if not (folder / name).is_dir():
                raise DataError(f"{folder} has no folder {name}", expected="train, val and test of every word")
            for video in sorted((folder / name).glob("*.mp4")):
                yield _clip(video, word=folder.name, split=split)


def _clip(video: Path, *, word: str, split: str) -> SourceClip:
    """The clip at `video`, listed with its `problem` where its duration cannot be read."""
    problem, times = "", None
    try:
        times = (word_time(video.with_suffix(".txt"), word),)
    except DataError as error:
        problem = str(error)
    utt_id = make_id(split, video.stem)  # numbers begin anew in each set
    return SourceClip(
        utt_id=utt_id, speaker=utt_id, text=word, video=str(video.absolute()), split=split, word_times=times,
        problem=problem,
    )  # fmt: skip


def word_time(path: Path, word: str) -> WordTime:
    """When the word of a clip is spoken, from its .txt. Raises DataError for a duration that no clip of LRW has."""
    match = _DURATION.search(read_text(path)) if path.is_file() else None
    duration_s = float(match.group(1)) if match else 0.0
    if not 0 < duration_s <= CLIP_S:
        found = f"{duration_s:g} s" if match else "none"
        raise DataError(f"{path}: the word's duration", found=found, expected=f"a line `Duration: S`, S <= {CLIP_S:g}")
    return WordTime((CLIP_S - duration_s) / 2, (CLIP_S + duration_s) / 2, word)
