"""Read Kaldi's lists: one `key value` per line, as in wav.scp, text or utt2spk."""

from __future__ import annotations

import os
from pathlib import Path

from espnet_vivit.errors import DataError


def read_scp(path: str | os.PathLike) -> dict[str, str]:
    """Read lines of `key value…` in file order. Raises DataError, naming file and line, for malformed lines."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", fix="Has data preparation (stage 1) been run?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error})") from error
    table: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        key, _, value = line.strip().partition(" ")
        if not key or not value.strip():
            raise DataError(f"{path}, line {number}", found=repr(line), expected="an id, a space and a value")
        if key in table:
            raise DataError(f"{path}, line {number}: the id {key!r} occurs twice", fix="Every utterance needs its own.")
        table[key] = value.strip()
    if not table:
        raise DataError(f"{path} is empty", fix="Prepare the data again, or leave this set out.")
    return table
