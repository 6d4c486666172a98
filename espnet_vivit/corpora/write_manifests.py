"""What was prepared, as lists that Auto-AVSR and AV-HuBERT train from; their formats are described in manifests.py.

    write_manifests("out", prepared.directories, av_hubert=True)                          # out/train.tsv, out/train.wrd
    write_manifests("out", prepared.directories, auto_avsr=read_pieces("unigram5000.model", "unigram5000_units.txt"))

Both read sound from .wav only, Auto-AVSR from one of the video's name: it is written beside the crop.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.corpora.preparing.prepare import CLIPS_NAME
from espnet_vivit.data.data_dir import Utterance, read_data_dir
from espnet_vivit.data.token_list import MAX_UNKNOWN, UNKNOWN, read_units
from espnet_vivit.errors import DataError
from espnet_vivit.media.files.audio_file import read_wav, write_wav


class Pieces(NamedTuple):
    """`pieces_of`: sentencepiece's `encode_as_pieces`; `units`: pieces by id."""

    pieces_of: Callable[[str], list[str]]
    units: list[str]


def read_pieces(model: str | os.PathLike, units: str | os.PathLike) -> Pieces:
    """Auto-AVSR's sentencepiece model and unit list. Raises DataError for files that are not these."""
    from sentencepiece import SentencePieceProcessor

    if not Path(model).is_file():
        raise DataError(f"there is no file {model}", expected="a sentencepiece model such as unigram5000.model")
    try:
        # the library gives its classes their methods' names while it is imported: type checkers do not know them
        processor: Any = SentencePieceProcessor(**{"model_file": os.fspath(model)})
    except (OSError, RuntimeError) as error:
        raise DataError(f"{model} is no sentencepiece model ({error})", expected="such as unigram5000.model") from None
    return Pieces(processor.encode_as_pieces, read_units(units))


def write_manifests(
    out_dir: str | os.PathLike,
    directories: Mapping[str, Path],
    *,
    av_hubert: bool = False,
    auto_avsr: Pieces | None = None,
    withdrawn: Collection[str] = (),
) -> None:
    """OUT/SET.tsv and .wrd, or OUT/SET.csv, of each data directory; those of `withdrawn` sets are removed."""
    out_dir = Path(out_dir).resolve()
    suffixes = ([".tsv", ".wrd"] if av_hubert else []) + ([".csv"] if auto_avsr else [])
    for name in (f"{split}{suffix}" for split in withdrawn for suffix in suffixes):
        (out_dir / name).unlink(missing_ok=True)
    for split, directory in directories.items() if suffixes else ():
        utterances = [_with_wav(utterance, out_dir) for utterance in read_data_dir(directory)]
        if av_hubert:
            write_av_hubert(out_dir / split, utterances)
        if auto_avsr:
            write_auto_avsr(
                out_dir / f"{split}.csv", utterances, root=out_dir, dataset=CLIPS_NAME, **auto_avsr._asdict()
            )


def _with_wav(utterance: Utterance, out_dir: Path) -> Utterance:
    """The utterance with its sound as .wav: beside the .flac, or in OUT/clips where that is another's folder."""
    if utterance.wav is None or utterance.wav.endswith(".wav"):
        return utterance
    source = Path(utterance.wav)
    folder = source.parent if source.is_relative_to(out_dir) else make_folder(out_dir / CLIPS_NAME)
    wav = folder / f"{source.stem}.wav"
    if not wav.is_file() or wav.stat().st_mtime_ns < source.stat().st_mtime_ns:
        write_wav(wav, read_wav(source))
    return replace(utterance, wav=str(wav))


def write_av_hubert(path: str | os.PathLike, utterances: Iterable[Utterance], *, root: str | os.PathLike = "/") -> None:
    """PATH.tsv and PATH.wrd of utterances with video and sound; files below `root` are written relative to it."""
    path, root = Path(path), Path(root)
    with replacing(path.with_suffix(".wrd")) as words, replacing(path.with_suffix(".tsv")) as table:
        with open(table, "w", encoding="utf-8", newline="\n") as rows, open(words, "w", encoding="utf-8") as texts:
            rows.write(f"{root}\n")
            for each in utterances:
                files = (_below(root, each.video, each.utt_id), _below(root, each.wav, each.utt_id))
                rows.write("\t".join((each.utt_id, *files, str(each.num_frames), str(each.num_samples))) + "\n")
                texts.write(each.text + "\n")


def write_auto_avsr(
    path: str | os.PathLike,
    utterances: Iterable[Utterance],
    *,
    root: str | os.PathLike,
    dataset: str,
    pieces_of: Callable[[str], list[str]],
    units: list[str],
) -> None:
    """The CSV of utterances whose videos are below ROOT/DATASET.

    Pieces that the unit list does not have become <unk>. Raises DataError where these are most, and for a video that
    is elsewhere.
    """
    ids = {piece: number for number, piece in enumerate(units)}
    unknown_id, unknown, total = ids.get(UNKNOWN), 0, 0
    with replacing(Path(path)) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for each in utterances:
            name = _below(Path(root) / dataset, each.video, each.utt_id)
            tokens = [ids.get(piece, unknown_id) for piece in pieces_of(each.text)]
            if None in tokens:
                raise DataError(f"the unit list has no <unk>, and lacks a piece of {each.text!r}")
            unknown, total = unknown + tokens.count(unknown_id), total + len(tokens)
            writer.writerow([dataset, name, each.num_frames, " ".join(map(str, tokens))])
        if total and unknown >= MAX_UNKNOWN * total:  # of a word without known letters, its start may be known
            fix = "Another unit list? Auto-AVSR's own has capitals only: write the transcripts in these."
            raise DataError(f"{unknown} of {total} tokens of {path} would be <unk>", fix=fix)


def _below(root: Path, path: str | None, utt_id: str) -> str:
    if path is None:
        raise DataError(f"{utt_id} has no such stream", fix="These lists need video and sound.")
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        raise DataError(f"the file of {utt_id} is not below {root}", found=path) from None
