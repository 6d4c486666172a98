"""The table of a folder of videos: a row for each clip, one read at a time; what the columns mean is in folder.py."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from espnet_vivit.base.text_file import named, read_lines, visible
from espnet_vivit.corpora.preparing.source_clip import SourceClip, make_id, one_line
from espnet_vivit.corpora.quoted_rows import rows
from espnet_vivit.errors import DataError, nearest_name
from espnet_vivit.media.files.folder_files import find_file, hint_at

COLUMNS = ("video", "text", "speaker", "split", "start_s", "end_s", "utt_id")
SPLITS = {  # name of a folder, or in the column `split`, in any case -> set
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "dev": "dev", "valid": "dev", "val": "dev", "validation": "dev", "development": "dev",
}  # fmt: skip
_MISSPELT = 0.75  # likeness of a column's name, as of end and end_s: less, such as speed and speaker, is another word


def list_table(root: Path, table: Path) -> Iterator[SourceClip]:
    """The rows of a table, one at a time. Raises DataError for missing columns, and names the line of a bad value."""
    lines = rows(read_lines(table))
    _, header = next(lines, (1, []))
    names = [visible(name).strip().lower() for name in header]
    _check_columns(table, names)
    for number, fields in lines:
        if superfluous := [field for field in fields[len(names) :] if field.strip()]:
            raise DataError(
                f"{table}, line {number}: more fields than columns", expected=f"{len(names)}: {', '.join(names)}",
                found=f"{len(fields)}, {named(superfluous[0])!r} among them", fix="Is there a tab within a text?",
            )  # fmt: skip
        row = dict(zip(names, (field.strip() for field in fields), strict=False))
        yield _row_clip(root, table, number, {name: row.get(name, "") for name in COLUMNS})


def _check_columns(table: Path, names: list[str]) -> None:
    """Raises DataError where `video` or `text` is missing, and for a misspelt other: unread, it would choose the sets.

    Further columns are the user's own.
    """
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{table} has the column {twice} twice", found=", ".join(names), fix="Remove or rename one")
    missing = [name for name in COLUMNS if name not in names]
    meant = [(name, nearest_name(name, missing, likeness=_MISSPELT)) for name in names if name not in COLUMNS]
    hints = [f"Did you mean {column!r} where it says {name!r}?" for name, column in meant if column]
    if hints or {"video", "text"} & set(missing):
        raise DataError(
            f"{table}: its first line names the columns", found=" ".join(names) or "nothing",
            expected="video and text, tab-separated; also " + ", ".join(COLUMNS[2:]), fix=" ".join(hints) or None,
        )  # fmt: skip


def _row_clip(root: Path, table: Path, line: int, row: Mapping[str, str]) -> SourceClip:
    where = f"{table}, line {line}"
    start_s, end_s = (_seconds(where, name, row[name]) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(
            where, found=f"start_s {row['start_s']}, end_s {row['end_s']}", expected="an end after the start"
        )
    path = Path(os.path.realpath(find_file(root / row["video"]))) if row["video"] else None
    parts = Path(row["video"]).with_suffix("").parts if row["video"] else (f"line{line}",)
    speaker = make_id(row["speaker"] or parts[0])
    names = parts if parts[0] == row["speaker"] or not row["speaker"] else (row["speaker"], *parts)
    span = [] if start_s is None and end_s is None else [f"{round(100 * (start_s or 0)):07d}"]
    problem = ""
    if path is None:
        problem = f"{where} names no video"
    elif not os.path.isfile(path):
        problem = f"{where}: there is no file {named(row['video'])}{hint_at(root / row['video'])}"
    elif not row["text"]:
        problem = f"{where} has no text"
    return SourceClip(
        utt_id=make_id(row["utt_id"]) if row["utt_id"] else make_id(*names, *span), speaker=speaker,
        text=one_line(row["text"]), video="" if path is None else str(path), split=_split_of(where, row["split"]),
        start_s=start_s or 0.0, end_s=end_s, recording="" if path is None else str(path), problem=problem,
    )  # fmt: skip


def _split_of(where: str, name: str) -> str:
    """The set that a table's column means, or one of one's own such as test_noisy; "" stays "". Raises DataError."""
    known, _, own = name.lower().partition("_")
    if not name:
        return ""
    if known in SPLITS and re.fullmatch(r"\w*", own):
        return SPLITS[known] + (f"_{own}" if own else "")
    near = nearest_name(known, SPLITS)
    raise DataError(
        f"{where}: bad split", found=repr(name), expected="train, dev or test, or one of several such as test_noisy",
        fix=f"Did you mean {near!r}?" if near else None,
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
