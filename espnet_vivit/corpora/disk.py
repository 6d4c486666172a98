"""Errors of the disk that is written to, told from errors of the files that are read."""

import errno

_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_disk_error(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk is full or may not be written to."""
    while error is not None:
        if getattr(error, "errno", None) in _CODES:
            return True
        error = error.__cause__
    return False
