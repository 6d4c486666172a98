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
    held: tuple[float, float, Picture] | None = None
    tick = first
    for time_s, duration_s, picture in timed:
        if held is not None:
            if time_s - held[0] > MAX_HOLD_S:
                raise MediaError("the timestamps jump ahead", found=f"{time_s:.0f} s after {held[0]:.0f} s")
            while tick < tick_of(time_s):
                if tick == end:
                    return
                yield held[2]
                tick += 1
            at_s = tick_of(time_s) / VIDEO_RATE_HZ
            if tick_of(held[0]) == tick_of(time_s) and abs(held[0] - at_s) <= abs(time_s - at_s):
                held = (held[0], time_s - held[0] + duration_s, held[2])
                continue
        held = (time_s, duration_s, picture)
    if held is None:
        return
    last = max(tick_of(held[0]) + 1, round((held[0] + min(held[1], MAX_HOLD_S)) * VIDEO_RATE_HZ))
    for _ in range(tick, last if end is None else min(last, end)):
        yield held[2]


def tick_of(time_s: float) -> int:
    """The tick nearest to a time; the earlier one of two."""
    return math.ceil(time_s * VIDEO_RATE_HZ - 0.5 - _EARLY)
