"""Pictures with timestamps in, at any rate, also a variable one; pictures at 25 per second out.

The rule is that of FFmpeg's `fps` filter: a picture is shown from the tick nearest to its time on, until the next one
takes over; so nothing moves by more than half a tick (20 ms) against the sound, and gaps are held, not blended. Where
several fall on one tick, as at 50 or 60 per second, the one nearest to it is taken (FFmpeg: the last).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

from espnet_vivit.errors import MediaError
from espnet_vivit.units import VIDEO_RATE_HZ

Picture = TypeVar("Picture")

MAX_HOLD_S = 600.0  # a jump further ahead is a broken timestamp, not a still picture
_EARLY = 1e-6  # ticks: times are sums of fractions


def at_video_rate(
    timed: Iterable[tuple[float, float, Picture]], *, first: int = 0, end: int | None = None
) -> Iterator[Picture]:
    """The picture of each tick `first` .. `end` - 1 (to the last picture's end without `end`), 25 ticks per second.

    timed: (time_s, duration_s, picture), times not falling, the first picture's at 0.
    Raises MediaError for a jump of the times beyond MAX_HOLD_S.
    """
    latest: tuple[float, float, Picture] | None = None
    best: tuple[int, float, Picture] | None = None  # the nearest picture of a tick: the tick, its distance
    tick = first
    for time_s, duration_s, picture in timed:
        begins = tick_of(time_s)
        if latest is not None and time_s - latest[0] > MAX_HOLD_S:
            raise MediaError("the timestamps jump ahead", found=f"{time_s:.0f} s after {latest[0]:.0f} s")
        while latest is not None and best is not None and tick < begins:
            if tick == end:
                return
            yield best[2] if best[0] == tick else latest[2]
            tick += 1
        distance_s = abs(time_s - begins / VIDEO_RATE_HZ)
        if best is None or best[0] != begins or distance_s < best[1]:
            best = (begins, distance_s, picture)
        latest = (time_s, duration_s, picture)
    if latest is None or best is None:
        return
    last = max(1, round((latest[0] + min(latest[1], MAX_HOLD_S)) * VIDEO_RATE_HZ))  # one picture is a clip
    for left in range(tick, last if end is None else min(last, end)):
        yield best[2] if best[0] == left else latest[2]


def tick_of(time_s: float) -> int:
    """The tick nearest to a time; the earlier one of two."""
    return math.ceil(time_s * VIDEO_RATE_HZ - 0.5 - _EARLY)
