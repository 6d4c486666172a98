"""Show progress bars with an estimate of the remaining time; in a log file, a line every ten seconds."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress_bar(total: int, label: str, *, shown: bool = True) -> tqdm:
    """Make a bar over `total` clips on standard error, to be used in a `with` block and advanced by its `update()`."""
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=label, unit="clip", disable=not shown, mininterval=interval_s, maxinterval=interval_s)


def byte_bar(total: int, label: str, *, shown: bool = True) -> tqdm:
    """The same over `total` bytes."""
    return tqdm(
        total=total,
        desc=label,
        unit="B",
        unit_scale=True,
        disable=not shown,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
    )
