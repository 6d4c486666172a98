"""What LRS2 and LRS3 have in common: their transcripts, and `pretrain` clips cut into sentences by the times of words.

    Text:  AND THAT IS WHY
    Conf:  4
                                    (LRS3: a line `Ref: …` and a table of face boxes, FRAME X Y W H)
    WORD START END ASDSCORE
    AND 0.21 0.36 5.1

LRS2: J. S. Chung et al., "Lip reading sentences in the wild", CVPR 2017. LRS3: T. Afouras et al., arXiv:1809.00496.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from espnet_vivit.base.text_file import read_text
from espnet_vivit.corpora.preparing.source_clip import SourceClip, make_id, one_line
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError
from espnet_vivit.units import VIDEO_RATE_HZ

MAX_CUT_S = 16.0  # Auto-AVSR cuts at 16 s (Conformer) or 24 s
PAD_S = 0.2  # kept before the first and after the last word, where there is room
_SHORTEST_S = 0.01  # of a word whose times are empty or run into its neighbour's


@dataclass(frozen=True)
class TimedText:
    """`words` are empty where the file has no times. What stands in braces, {LG}, is noise and left out."""

    text: str
    words: tuple[WordTime, ...]


@dataclass(frozen=True)
class WordGroup:
    """A span of a recording in seconds, on the grid of frames; the words' times count from its start."""

    start_s: float
    end_s: float
    words: tuple[WordTime, ...]


def read_timed_text(path: str | os.PathLike) -> TimedText:
    """Raises DataError for a file without a text, or with word times that cannot be read."""
    text, words, in_table = "", [], False
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.startswith("Text:"):
            text = one_line(" ".join(word for word in line[5:].split() if not word.startswith("{")))
        elif line.startswith("WORD START END"):
            in_table = True
        elif in_table and line.strip():
            word, *numbers = line.split()
            try:
                start_s, end_s = map(float, numbers[:2])
            except ValueError:
                raise DataError(f"{path}, line {number}", found=repr(line), expected="WORD START END SCORE") from None
            if not word.startswith("{"):
                words.append(WordTime(start_s, end_s, word))
    if not text:
        raise DataError(f"{path} has no text", expected="a line `Text:  WORDS`")
    return TimedText(text, tidy_times(words))


def tidy_times(words: Sequence[WordTime]) -> tuple[WordTime, ...]:
    """Times that never run backwards: forced alignments have empty words and overlaps of some milliseconds."""
    tidy, previous_end_s = [], 0.0
    for start_s, end_s, word in words:
        start_s = max(start_s, previous_end_s)
        previous_end_s = max(end_s, start_s + _SHORTEST_S)
        tidy.append(WordTime(start_s, previous_end_s, word))
    return tuple(tidy)


def group_words(words: Sequence[WordTime], *, max_s: float = MAX_CUT_S) -> list[WordGroup]:
    """Cuts of up to `max_s` seconds, all words in order, each at the longest pause in the second half of what fits.

    Raises DataError for a word that is longer than `max_s`.
    """
    room_s = max_s - 2 * PAD_S - 2 / VIDEO_RATE_HZ
    groups, rest = [], list(words)
    while rest:
        fits = sum(1 for word in rest if word.end_s - rest[0].start_s <= room_s)
        if not fits:
            raise DataError(f"the word {rest[0].word!r} at {rest[0].start_s:.2f} s lasts longer than {max_s:g} s")
        if fits < len(rest):
            half = rest[0].start_s + room_s / 2
            ends = [n for n in range(1, fits + 1) if rest[n - 1].end_s >= half] or [fits]
            fits = max(ends, key=lambda n: (rest[n].start_s - rest[n - 1].end_s, n))
        groups.append(rest[:fits])
        rest = rest[fits:]
    starts = [_on_grid(max(0.0, groups[0][0].start_s - PAD_S))] if groups else []
    ends = []
    for one, other in pairwise(groups):
        pause_s = other[0].start_s - one[-1].end_s
        pad_s = min(PAD_S, pause_s / 2)
        ends.append(_on_grid(one[-1].end_s + pad_s))
        starts.append(max(ends[-1], _on_grid(other[0].start_s - pad_s)))
    if groups:
        ends.append(_on_grid(groups[-1][-1].end_s + PAD_S))
    return [_group(*span) for span in zip(starts, ends, groups, strict=True)]


def _group(start_s: float, end_s: float, words: Sequence[WordTime]) -> WordGroup:
    moved = (WordTime(max(0.0, w.start_s - start_s), w.end_s - start_s, w.word) for w in words)
    return WordGroup(start_s, end_s, tidy_times(list(moved)))


def _on_grid(seconds: float) -> float:
    return round(seconds * VIDEO_RATE_HZ) / VIDEO_RATE_HZ


def sentence_clip(folder: Path, name: str, *, split: str, recording: str = "") -> SourceClip:
    """The clip FOLDER/NAME.mp4 with NAME = talk/number, as it is."""
    talk, number = name.split("/")
    problem, transcript = "", TimedText("", ())
    try:
        transcript = read_timed_text(folder / f"{name}.txt")
    except DataError as error:
        problem = str(error)
    spelt = " ".join(word.word for word in transcript.words)
    return SourceClip(
        utt_id=make_id(talk, number), speaker=make_id(talk), text=transcript.text,
        video=str((folder / f"{name}.mp4").absolute()), split=split, recording=recording, problem=problem,
        word_times=transcript.words if transcript.words and spelt == transcript.text else None,
    )  # fmt: skip


def pretrain_clips(
    folder: Path, name: str, *, max_s: float, recording: str = "", problem: str = ""
) -> list[SourceClip]:
    """The cuts of FOLDER/NAME.mp4, for training; one entry with its `problem` where it cannot be cut."""
    talk, number = name.split("/")
    common: dict[str, Any] = {
        "speaker": make_id(talk), "video": str((folder / f"{name}.mp4").absolute()), "split": "train",
        "recording": recording,
    }  # fmt: skip
    cuts: list[WordGroup] = []
    if not problem:
        try:
            cuts = group_words(read_timed_text(folder / f"{name}.txt").words, max_s=max_s)
            problem = "" if cuts else f"{folder / name}.txt has no times of words to cut it by"
        except DataError as error:
            problem = str(error)
    if problem:
        return [SourceClip(utt_id=make_id(talk, f"p{number}"), text="", problem=problem, **common)]
    return [
        SourceClip(
            utt_id=make_id(talk, f"p{number}", f"{index:03d}"), text=" ".join(time.word for time in cut.words),
            start_s=cut.start_s, end_s=cut.end_s, word_times=cut.words, **common,
        )
        for index, cut in enumerate(cuts)
    ]  # fmt: skip


def names_below(folder: Path) -> list[str]:
    """`talk/number` of every .mp4 or .txt in the folders of `folder`, sorted: a clip that lost one of them is seen."""
    names = set()
    for talk in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if talk.is_dir():
            names |= {f"{talk.name}/{Path(file).stem}" for file in os.listdir(talk) if file.endswith((".mp4", ".txt"))}
    return sorted(names)
