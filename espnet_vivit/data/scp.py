"""Read Kaldi's lists: one `key value` per line, as in wav.scp, text or utt2spk."""

from __future__ import annotations

import os
from pathlib import Path

from espnet_vivit.base.text_file import has_mark, named, read_lines
from espnet_vivit.errors import DataError


def read_scp(path: str | os.PathLike) -> dict[str, str]:
    """Read lines of `key value…` in file order. Raises DataError, naming file and line, for malformed lines."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist", fix="Has data preparation (stage 1) been run?")
    if has_mark(path):
        what = f"{path} begins with a byte order mark (U+FEFF)"
        raise DataError(f"{what}: ESPnet would take it for a part of the first id", fix="Save it as UTF-8 without one.")
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        key, value = [*line.split(maxsplit=1), "", ""][:2]
        if not key or not value.strip():
            raise DataError(f"{path}, line {number}", found=repr(named(line)), expected="an id, a space and a value")
        if key in table:
            raise DataError(f"{path}, line {number}: the id {key!r} occurs twice", fix="Every utterance needs its own.")
        table[key] = value.strip()
    if not table:
        raise DataError(f"{path} is empty", fix="Prepare the data again, or leave this set out.")
    return table
