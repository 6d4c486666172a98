"""Read, write and validate data directories: what a corpus becomes and what ESPnet reads, one folder per split.

    wav.scp  video.scp       utterance, path of its file (either stream may be absent from a whole folder)
    text  utt2spk  spk2utt   words; speaker; utterances of each speaker
    utt2num_frames           video frames at 25 per second
    utt2num_samples          audio samples at 16 kHz
    word_times               optional: `start:end:word` for every word, seconds from the start of the clip

Lines are sorted by utterance id in the byte order of the C locale, as Kaldi's tools want them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.data.scp import read_scp
from espnet_vivit.data.word_times import WordTime, format_word_times, parse_word_times
from espnet_vivit.errors import DataError
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames, seconds_of_samples

MAX_STREAM_DIFFERENCE = 1  # video frames by which audio and video may differ in length (GRID's audio is 22 ms short)
_OPTIONAL_LISTS = {"wav.scp", "video.scp", "word_times", "utt2num_frames", "utt2num_samples"}


@dataclass(frozen=True)
class Utterance:
    """The files and lengths of one clip: `num_frames` at 25 per second, `num_samples` at 16 kHz; a missing stream is
    None and 0.
    """

    utt_id: str
    speaker: str
    text: str
    wav: str | None
    video: str | None
    num_frames: int
    num_samples: int
    word_times: tuple[WordTime, ...] | None = None

    @property
    def duration_s(self) -> float:
        """The duration of the video in seconds, or of the sound where there is no video."""
        return seconds_of_frames(self.num_frames) if self.video is not None else seconds_of_samples(self.num_samples)


def write_data_dir(directory: str | os.PathLike, utterances: Iterable[Utterance]) -> None:
    """Write a data directory. Until the last file is in place `text` is missing, so a torn one never passes for valid.

    Other files of the folder are left alone. Raises DataError for no utterance, an id twice, a stream that only some
    have, or a text or speaker that cannot stand on a line.
    """
    directory = Path(directory)
    rows = sorted(utterances, key=lambda utterance: utterance.utt_id.encode())
    tables = _tables(directory, rows)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "text").unlink(missing_ok=True)
    for name in _OPTIONAL_LISTS - set(tables):
        (directory / name).unlink(missing_ok=True)
    for name in sorted(tables, key=lambda name: name == "text"):  # `text` last
        with replacing(directory / name) as temporary:
            lines = [f"{key} {value}\n" for key, value in tables[name].items()]
            temporary.write_text("".join(lines), encoding="utf-8")


def read_data_dir(directory: str | os.PathLike) -> list[Utterance]:
    """The utterances of a data directory, in its order. Raises DataError where its files contradict each other."""
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder", fix="Has data preparation (stage 1) been run?")
    text = read_scp(directory / "text")
    optional = {name: read_scp(directory / name) for name in sorted(_OPTIONAL_LISTS) if (directory / name).exists()}
    if not {"wav.scp", "video.scp"} & set(optional):
        raise DataError(f"{directory} has neither wav.scp nor video.scp", fix="Prepare the data again.")
    for stream, count in (("wav.scp", "utt2num_samples"), ("video.scp", "utt2num_frames")):
        if stream in optional:
            optional[count] = read_scp(directory / count)
    tables = {"utt2spk": read_scp(directory / "utt2spk"), **optional}
    for name, table in tables.items():
        _check_same_keys(directory, text, name, table)
    return [_utterance(directory, utt_id, text[utt_id], tables) for utt_id in text]


def validate_data_dir(directory: str | os.PathLike, *, check_media: bool = True) -> list[Utterance]:
    """Read a data directory and check every claim in it: order, speakers, lengths, word times, and that the files
    exist.

    Returns the utterances. Raises DataError, which names the utterance, the found and the expected.
    """
    directory = Path(directory)
    utterances = read_data_dir(directory)
    ids = [utterance.utt_id for utterance in utterances]
    if ids != sorted(ids, key=str.encode):
        raise DataError(f"{directory}/text is not sorted by utterance id", fix="Sort it with LC_ALL=C.")
    expected = {speaker: " ".join(ids) for speaker, ids in _by_speaker(utterances).items()}
    if read_scp(directory / "spk2utt") != expected:
        raise DataError(f"{directory}/spk2utt contradicts utt2spk", fix="Write both again.")
    for utterance in utterances:
        where = f"{directory}: utterance {utterance.utt_id}"
        _check_lengths(where, utterance)
        _check_word_times(where, utterance)
        for path in (utterance.wav, utterance.video) if check_media else ():
            if path is not None and not os.path.isfile(path):
                raise DataError(f"{where}: its file {path} does not exist", fix="Prepare the data again.")
    return utterances


def check_disjoint(
    directories: Mapping[str, str | os.PathLike], *, texts: bool = False, speakers: bool = False
) -> None:
    """Raise DataError if two named sets share an utterance id, a media file or, if asked, a sentence or speaker."""
    owners: dict[tuple[str, str], str] = {}
    for name, directory in directories.items():
        for utterance in read_data_dir(directory):
            items = [("utterance", utterance.utt_id), ("audio file", utterance.wav), ("video file", utterance.video)]
            items += [("sentence", utterance.text)] if texts else []
            items += [("speaker", utterance.speaker)] if speakers else []
            for kind, value in items:
                if value is None:
                    continue
                owner = owners.setdefault((kind, value), name)
                if owner != name:
                    raise DataError(
                        f"{owner} and {name} overlap: both have the {kind} {value!r}",
                        fix="Nothing of a test set may be trained on.",
                    )


def check_utterance(utterance: Utterance) -> None:
    """Raise DataError for an utterance that no data directory can hold: its names, text, lengths or word times."""
    _check_writable("data directory", utterance)
    _check_lengths(f"utterance {utterance.utt_id}", utterance)


def _tables(directory: Path, rows: list[Utterance]) -> dict[str, dict[str, object]]:
    """Build file name -> {key: value} of a data directory, in sorted order."""
    if not rows:
        raise DataError(f"no utterance for {directory}", fix="An empty set cannot be trained on or scored.")
    for row, following in pairwise(rows):
        if row.utt_id == following.utt_id:
            raise DataError(f"{directory}: the utterance id {row.utt_id!r} occurs twice")
    for row in rows:
        _check_writable(directory, row)
    columns = {
        "utt2spk": [row.speaker for row in rows],
        "wav.scp": [row.wav for row in rows],
        "video.scp": [row.video for row in rows],
        "utt2num_frames": [row.num_frames for row in rows],
        "utt2num_samples": [row.num_samples for row in rows],
        "word_times": [None if row.word_times is None else format_word_times(row.word_times) for row in rows],
        "text": [row.text for row in rows],
    }
    tables = {}
    for name, values in columns.items():
        missing = [row.utt_id for row, value in zip(rows, values, strict=True) if value is None]
        if missing and len(missing) < len(rows):
            raise DataError(f"{directory}: {name} would miss {len(missing)} of {len(rows)} utterances, as {missing[0]}")
        if not missing:
            tables[name] = {row.utt_id: value for row, value in zip(rows, values, strict=True)}
    for stream, count in (("wav.scp", "utt2num_samples"), ("video.scp", "utt2num_frames")):
        if stream not in tables:
            del tables[count]
    tables["spk2utt"] = {speaker: " ".join(ids) for speaker, ids in _by_speaker(rows).items()}
    return tables


def _by_speaker(utterances: Iterable[Utterance]) -> dict[str, list[str]]:
    speakers: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.speaker.encode()):
        speakers.setdefault(utterance.speaker, []).append(utterance.utt_id)
    return speakers


def _check_writable(directory: Path | str, row: Utterance) -> None:
    for name, value in (("utterance id", row.utt_id), ("speaker", row.speaker)):
        if not value or value.split() != [value]:
            raise DataError(f"{directory}: bad {name}", found=repr(value), expected="one word")
    if not row.text.strip() or len(row.text.splitlines()) > 1:
        raise DataError(f"{directory}: bad text of {row.utt_id}", found=repr(row.text), expected="one line of words")
    _check_word_times(f"{directory}: utterance {row.utt_id}", row)


def _check_same_keys(directory: Path, text: Mapping[str, str], name: str, table: Mapping[str, str]) -> None:
    if list(table) == list(text):
        return
    for missing, where, there in ((set(text) - set(table), name, "text"), (set(table) - set(text), "text", name)):
        if missing:
            raise DataError(
                f"{directory}: {len(missing)} utterances of {there} are not in {where}, as {min(missing)}",
                fix="Every list of a data directory must have the same utterances.",
            )
    raise DataError(f"{directory}: {name} and text are in different order", fix="Sort both with LC_ALL=C.")


def _utterance(directory: Path, utt_id: str, text: str, tables: Mapping[str, Mapping[str, str]]) -> Utterance:
    counts = {}
    for name in ("utt2num_frames", "utt2num_samples"):
        value = tables[name][utt_id] if name in tables else "0"
        if not value.isdecimal():
            raise DataError(f"{directory}/{name}: utterance {utt_id}", found=repr(value), expected="a whole number")
        counts[name] = int(value)
    times = None
    if "word_times" in tables:
        try:
            times = parse_word_times(tables["word_times"][utt_id])
        except DataError as error:
            raise DataError(f"{directory}/word_times: utterance {utt_id}: {error}") from error
    return Utterance(
        utt_id=utt_id,
        speaker=tables["utt2spk"][utt_id],
        text=text,
        wav=tables["wav.scp"][utt_id] if "wav.scp" in tables else None,
        video=tables["video.scp"][utt_id] if "video.scp" in tables else None,
        num_frames=counts["utt2num_frames"],
        num_samples=counts["utt2num_samples"],
        word_times=times,
    )


def _check_lengths(where: str, utterance: Utterance) -> None:
    streams = (("video", utterance.video, utterance.num_frames), ("audio", utterance.wav, utterance.num_samples))
    for name, path, count in streams:
        if path is not None and count < 1:
            raise DataError(f"{where}: its {name} has no content", found=count, expected="at least 1")
    if utterance.video is None or utterance.wav is None:
        return
    difference = abs(utterance.num_samples - SAMPLES_PER_FRAME * utterance.num_frames) / SAMPLES_PER_FRAME
    if difference > MAX_STREAM_DIFFERENCE:
        raise DataError(
            f"{where}: audio and video differ in length",
            found=f"{utterance.num_samples} samples for {utterance.num_frames} frames",
            expected=f"{SAMPLES_PER_FRAME} per frame, within {MAX_STREAM_DIFFERENCE} frame",
        )


def _check_word_times(where: str, utterance: Utterance) -> None:
    if utterance.word_times is None:
        return
    words = [time.word for time in utterance.word_times]
    if words != utterance.text.split():
        raise DataError(f"{where}: word times do not spell its text", found=words, expected=utterance.text.split())
    duration_s = max(utterance.num_frames / VIDEO_RATE_HZ, utterance.num_samples / (SAMPLES_PER_FRAME * VIDEO_RATE_HZ))
    end_s = utterance.word_times[-1].end_s
    if end_s > duration_s + 1 / VIDEO_RATE_HZ:
        raise DataError(f"{where}: its last word ends at {end_s:.3f} s of {duration_s:.3f} s")


SHAPE_FILES = ("video_shape", "speech_shape")
