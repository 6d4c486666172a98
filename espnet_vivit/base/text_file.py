"""Text files of others, read as UTF-8."""

import os
from pathlib import Path

from espnet_vivit.errors import DataError


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, UTF-8 with or without byte order mark. Raises DataError, which names the file."""
    if Path(path).is_fifo():  # nobody may ever write into it
        raise DataError(f"{path} is a pipe", expected="a text file")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise DataError(f"{path} is not UTF-8 ({where})", fix="Save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})", fix="Check that it exists and may be read.") from None
