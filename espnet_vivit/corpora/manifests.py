"""The lists of Auto-AVSR and AV-HuBERT: mouth crops that others have prepared. Written by write_manifests.py.

Auto-AVSR: `dataset,path,frames,token ids`, paths below ROOT/dataset; sound in the video or in a .wav beside it. Ids
count the lines of its unit list (`unigram5000_units.txt`, `piece id`) from 1; 0 is blank.
AV-HuBERT: first line the root, then `id<TAB>video<TAB>audio<TAB>frames<TAB>samples`; the words in a .wrd of the same
name.

Lines are read one at a time. Formats (no code) of github.com/mpc001/auto_avsr, Apache-2.0, and
github.com/facebookresearch/av_hubert.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from espnet_vivit.base.text_file import read_lines
from espnet_vivit.corpora.preparing.source_clip import SourceClip, make_id, one_line
from espnet_vivit.errors import DataError

_WORD_START = "▁"  # of sentencepiece


def text_of_ids(ids: Iterable[int], units: list[str]) -> str:
    """The words that token ids spell. Raises DataError for an id that the list does not have."""
    pieces = []
    for token in ids:
        if not 0 <= token < len(units):
            raise DataError(
                "unknown token id", found=token, expected=f"0 to {len(units) - 1}", fix="Another unit list?"
            )
        pieces.append(units[token])
    return one_line("".join(pieces).replace(_WORD_START, " "))


def auto_avsr_clips(
    root: str | os.PathLike, manifests: Mapping[str, str | os.PathLike], *, units: list[str]
) -> Iterator[SourceClip]:
    """The clips of set -> CSV. Raises DataError, which names the line."""
    root = Path(root).absolute()
    for split, manifest in manifests.items():
        for number, line in enumerate(read_lines(manifest), 1):
            if len(row := _fields(line)) != 4:
                found = f"{len(row)} fields"
                raise DataError(f"{manifest}, line {number}", found=found, expected="dataset,path,frames,token ids")
            yield _auto_avsr_clip(root, split, f"{manifest}, line {number}", row, units)


def _fields(line: str) -> list[str]:
    """Of a line of its own: a quote that nothing closes cannot swallow the next."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:  # a lone quote, which is a character; or a very long field
        return line.split(",")


def _auto_avsr_clip(root: Path, split: str, where: str, row: list[str], units: list[str]) -> SourceClip:
    dataset, name, _, tokens = row
    video = root / dataset / name
    text, problem = "", ""
    try:
        text = text_of_ids(map(int, tokens.split()), units)
    except ValueError as error:  # DataError is one as well
        problem = f"{where}: {error}"
    wav = video.with_suffix(".wav")
    parts = Path(name).with_suffix("").parts
    return SourceClip(
        utt_id=make_id(*parts[-3:]), speaker=make_id(*parts[-3:-1]) if len(parts) > 1 else make_id(dataset), text=text,
        video=str(video), audio=str(wav) if os.path.isfile(wav) else "", split=split, recording=str(video),
        problem=problem or ("" if text else f"{where} has no text"),
    )  # fmt: skip


def av_hubert_clips(
    manifests: Mapping[str, str | os.PathLike], *, root: str | os.PathLike | None = None
) -> Iterator[SourceClip]:
    """The clips of set -> TSV, with the words of the .wrd beside it; `root` instead of what the TSV's first line says.

    Raises DataError, which names the line.
    """
    for split, manifest in manifests.items():
        words = Path(manifest).with_suffix(".wrd")
        table = read_lines(manifest)
        first_line = next(table, "")
        base = Path(first_line) if root is None else Path(root).absolute()
        for number, (line, text) in enumerate(zip_longest(table, read_lines(words)), 2):
            if line is None or text is None:
                raise DataError(
                    f"{manifest} and {words} have different numbers of lines", found=f"one ends at {number}"
                )
            fields = line.split("\t")
            if len(fields) != 5:
                found, expected = f"{len(fields)} fields", "id, video, audio, frames, samples, tab-separated"
                raise DataError(f"{manifest}, line {number}", found=found, expected=expected)
            name, video, audio, *_ = fields
            parts = name.split("/")
            video = str(base / video)
            yield SourceClip(
                utt_id=make_id(*parts), speaker=make_id(*(parts[:-1] or parts)), text=one_line(text), video=video,
                audio=str(base / audio), split=split, recording=video,
                problem="" if one_line(text) else f"{words}, line {number - 1} is empty",
            )  # fmt: skip
