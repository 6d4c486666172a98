"""Videos of one's own, in any language: a folder with `clip.mp4` beside `clip.txt`, or with one table for all.

    my_videos/anna/greeting.mp4    my_videos/anna/greeting.txt        the folder is the speaker

    my_videos/transcripts.tsv, or any other single .tsv there, tab-separated, in UTF-8:
        video          text                 speaker   split   start_s   end_s   utt_id
        anna/01.mp4    good morning         anna      train
        talk.mp4       and now the weather  bert      test    12.4      15.0

`video` and `text` are enough. Sets are the column `split`, or else folders train, dev and test, or else chosen: a share
of the speakers where there are ten or more, of the videos otherwise, always the same for the same names. That takes
three videos: rows of one video are one recording, and stay together.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from espnet_vivit.corpora.source_clip import SourceClip, choose, make_id, one_line, read_text
from espnet_vivit.errors import ConfigError, DataError, nearest_name

SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .mts .m2ts .ts .wmv .flv .3gp .ogv".split())
SPLIT_FOLDERS = {"train": "train", "dev": "dev", "valid": "dev", "val": "dev", "test": "test"}
COLUMNS = ("video", "text", "speaker", "split", "start_s", "end_s", "utt_id")
MANY_SPEAKERS = 10  # from here on whole speakers are held out
HELD_OUT = 0.1
_MISSPELT = 0.75  # likeness of a column's name, as of end and end_s: less, such as speed and speaker, is another word
_EXAMPLE = "clip.txt with what is said beside clip.mp4, or a table transcripts.tsv with the columns video and text"


def folder_clips(
    root: str | os.PathLike,
    *,
    table: str | os.PathLike | None = None,
    dev: float = HELD_OUT,
    test: float = HELD_OUT,
    seed: int = 0,
    leave_out: str | os.PathLike | None = None,
) -> Iterator[SourceClip]:
    """The clips of a folder. Nothing below `leave_out` is looked at (the results may lie within the videos).

    Raises DataError for a folder without videos or transcripts, and a table that cannot be understood; ConfigError for
    shares `dev` and `test` that leave nothing to train on. A clip without transcript is listed with its problem.
    DataError also where sets are to be chosen from fewer than three videos, since no recording may be in two sets.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="Give the folder that holds the videos.")
    if dev < 0 or test < 0 or dev + test >= 1:
        raise ConfigError("bad shares of held-out clips", found=f"dev {dev}, test {test}", expected="a sum below 1")
    table = Path(table) if table is not None else find_table(root)
    listed = list_table(root, table) if table is not None else list_videos(root, leave_out)
    first_pass = [(clip.speaker, _key(root, clip), clip.split) for clip in listed]  # a few names a clip, for the sets
    if not first_pass:
        raise DataError(f"{table} has no row" if table else f"{root} has no video", expected=_EXAMPLE)
    if all(not split for *_, split in first_pass):
        split_of = hold_out(first_pass, dev=dev, test=test, seed=seed)
    else:
        split_of = None
    del first_pass
    for clip in list_table(root, table) if table is not None else list_videos(root, leave_out):
        yield _with_split(root, clip, split_of)


def find_table(root: Path) -> Path | None:
    """The one .tsv in the folder itself; None: transcripts are beside the videos. Raises DataError for several."""
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".tsv" and path.is_file())
    if len(tables) > 1:
        raise DataError(
            f"{root} has {len(tables)} tables", found=", ".join(path.name for path in tables),
            fix="Say which one: --table FILE",
        )  # fmt: skip
    return tables[0] if tables else None


def list_videos(root: Path, leave_out: str | os.PathLike | None = None) -> Iterator[SourceClip]:
    """Every video below `root` with its same-named .txt, sorted by path."""
    outside = None if leave_out is None else Path(leave_out).resolve()
    if outside and root.resolve().is_relative_to(outside):
        raise DataError(
            f"the results would lie around the videos: {leave_out} holds {root}",
            expected="a folder of their own, which may be one inside the videos' folder",
            fix=f"Name one, such as {root}_prepared",
        )
    files = [
        path for path in sorted(root.rglob("*"))
        if not (outside and path.resolve().is_relative_to(outside)) and not path.name.startswith(".")
    ]  # fmt: skip
    videos = [path for path in files if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not videos:
        kinds = Counter(path.suffix.lower() or "no suffix" for path in files if path.is_file())
        found = ", ".join(f"{count} files {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise DataError(f"{root} has no video", found=found, expected="files such as " + " ".join(sorted(SUFFIXES)))
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    if not any(video.with_suffix("") in texts for video in videos):
        raise DataError(f"{root} has {len(videos)} videos and no transcript", expected=_EXAMPLE)
    for video in videos:
        yield _video_clip(root, video, texts.get(video.with_suffix("")))


def _video_clip(root: Path, video: Path, transcript: Path | None) -> SourceClip:
    *folders, _ = video.relative_to(root).parts
    split = SPLIT_FOLDERS.get(folders[0].lower(), "") if folders else ""
    names = folders[1:] if split else folders
    text, problem = "", ""
    if transcript is None:
        problem = f"no transcript: there is no {video.with_suffix('.txt').name} beside it"
    else:
        try:
            text = one_line(read_text(transcript))
            problem = "" if text else f"its transcript {transcript.name} is empty"
        except DataError as error:
            problem = str(error)
    return SourceClip(
        utt_id=make_id(*names, video.stem), speaker=make_id(names[0] if names else video.stem), text=text,
        video=str(video.resolve()), split=split, recording=str(video.resolve()), problem=problem,
    )  # fmt: skip


def list_table(root: Path, table: Path) -> Iterator[SourceClip]:
    """The rows of a table, one at a time. Raises DataError for missing columns, and names the line of a bad value."""
    text_file = open_table(table)
    with text_file:
        reader = csv.DictReader(text_file, delimiter="\t", quoting=csv.QUOTE_NONE, restkey="", restval="")
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        _check_columns(table, names)
        try:
            for row in reader:
                yield _row_clip(root, table, reader.line_num, {name: row.get(name, "").strip() for name in COLUMNS})
        except UnicodeDecodeError as error:
            raise DataError(f"{table} is not UTF-8 ({error.reason})", fix="Save it as UTF-8.") from None


def _check_columns(table: Path, names: list[str]) -> None:
    """Raises DataError where `video` or `text` is missing, and for a misspelt other: unread, it would choose the sets.

    Further columns are the user's own.
    """
    missing = [name for name in COLUMNS if name not in names]
    meant = [(name, nearest_name(name, missing, likeness=_MISSPELT)) for name in names if name not in COLUMNS]
    hints = [f"Did you mean {column!r} where it says {name!r}?" for name, column in meant if column]
    if hints or {"video", "text"} & set(missing):
        raise DataError(
            f"{table}: its first line names the columns", found=" ".join(names) or "nothing",
            expected="video and text, tab-separated; also " + ", ".join(COLUMNS[2:]), fix=" ".join(hints) or None,
        )  # fmt: skip


def open_table(path: Path) -> TextIO:
    try:
        return open(path, encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})", fix="Check that it exists and may be read.") from None


def _row_clip(root: Path, table: Path, line: int, row: Mapping[str, str]) -> SourceClip:
    where = f"{table}, line {line}"
    start_s, end_s = (_seconds(where, name, row[name]) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(
            where, found=f"start_s {row['start_s']}, end_s {row['end_s']}", expected="an end after the start"
        )
    if row["split"] and not re.fullmatch(r"\w+", row["split"]):
        raise DataError(f"{where}: bad split", found=repr(row["split"]), expected="a name such as train, dev or test")
    path = (root / row["video"]).resolve() if row["video"] else None
    parts = Path(row["video"]).with_suffix("").parts if row["video"] else (f"line{line}",)
    speaker = make_id(row["speaker"] or parts[0])
    names = parts if parts[0] == row["speaker"] or not row["speaker"] else (row["speaker"], *parts)
    span = [] if start_s is None and end_s is None else [f"{round(100 * (start_s or 0)):07d}"]
    problem = ""
    if path is None:
        problem = f"{where} names no video"
    elif not path.is_file():
        problem = f"{where}: there is no file {row['video']}"
    elif not row["text"]:
        problem = f"{where} has no text"
    return SourceClip(
        utt_id=make_id(row["utt_id"]) if row["utt_id"] else make_id(*names, *span), speaker=speaker,
        text=one_line(row["text"]), video="" if path is None else str(path), split=row["split"],
        start_s=start_s or 0.0, end_s=end_s, recording="" if path is None else str(path), problem=problem,
    )  # fmt: skip


def _seconds(where: str, name: str, value: str) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{where}: bad {name}", found=repr(value), expected="seconds, such as 12.4")
    return seconds


def hold_out(clips: list[tuple[str, str, str]], *, dev: float, test: float, seed: int = 0) -> dict[str, str]:
    """Key (a speaker, or a video) -> set. Raises DataError if nothing would be left to train on.

    `clips` are rows of speaker, video ("" for one that has a problem, which holds nothing out), and more.
    """
    usable = [row for row in clips if row[1]]
    by_speaker = len({speaker for speaker, *_ in usable}) >= MANY_SPEAKERS
    keys = {row[0] if by_speaker else row[1] for row in usable}
    num_test, num_dev = (math.ceil(share * len(keys)) for share in (test, dev))
    if keys and num_test + num_dev >= len(keys):
        raise _too_few("speaker" if by_speaker else "video", len(keys), len(clips) - len(usable), dev=dev, test=test)
    held_out = choose(keys, num_test + num_dev, seed=seed)
    tested = choose(held_out, num_test, seed=seed)
    return {key: "test" if key in tested else "dev" if key in held_out else "train" for key in keys}


def _too_few(kind: str, count: int, unusable: int, *, dev: float, test: float) -> DataError:
    """Rows of one video are one recording: to part them would test on what was trained on."""
    sets = [name for name, share in (("dev", dev), ("test", test)) if share]
    found = f"{count} {kind}{'s' if count > 1 else ''} to choose from"
    return DataError(
        f"too few {kind}s to hold out {' and '.join(sets)} without showing the same recording to both sides",
        found=found + (f" ({unusable} other clips have no file or no transcript)" if unusable else ""),
        expected=f"at least {len(sets) + 1}, and shares that leave one to train on",
        fix=f"Add videos, or name the sets yourself in a column `split` (a video belongs to one of them); "
        f"{' '.join(f'--{name} 0' for name in sets)} prepares data to train on alone.",
    )


def _key(root: Path, clip: SourceClip) -> str:
    """What a video is held out by: its path in the folder, so that it is the same wherever the folder lies."""
    return "" if clip.problem else Path(os.path.relpath(clip.video, root.resolve())).as_posix()


def _with_split(root: Path, clip: SourceClip, split_of: Mapping[str, str] | None) -> SourceClip:
    if split_of is None:
        if not clip.split and not clip.problem:
            problem = "it is in none of the sets, and others are: give its split, or move it into train, dev or test"
            return replace(clip, split="train", problem=problem)
        return replace(clip, split=clip.split or "train")
    return replace(clip, split=split_of.get(clip.speaker) or split_of.get(_key(root, clip)) or "train")
