"""Pictures with timestamps in, at any rate, also a variable one; pictures at 25 per second out.

The rule is that of FFmpeg's `fps` filter: a picture is shown from the tick nearest to its time on, until the next one
takes over; so nothing moves by more than half a tick (20 ms) against the sound, and gaps are held, not blended. Where
several fall on one tick, as at 50 or 60 per second, the one nearest to it is taken (FFmpeg: the last).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from espnet_vivit.errors import MediaError
from espnet_vivit.units import VIDEO_RATE_HZ

Picture = TypeVar("Picture")

MAX_HOLD_S = 600.0  # a picture that stands longer is not shown on; reading goes on behind the pause
_EARLY = 1e-6  # ticks: times are sums of fractions


class SpanError(MediaError):
    """From `start_s` to `end_s` seconds of the file there is nothing to see; reading may go on behind it."""

    def __init__(self, what: str, start_s: float, end_s: float):
        super().__init__(what)
        self.start_s, self.end_s = start_s, end_s

    def __reduce__(self):  # so that workers can pickle it
        return (type(self), (self.args[0], self.start_s, self.end_s))


class PauseError(SpanError):
    """No new picture comes for longer than MAX_HOLD_S."""


def at_video_rate(
    timed: Iterable[tuple[float, float, Picture]], *, first: int = 0, end: int | None = None
) -> Iterator[Picture]:
    """The picture of each tick `first` .. `end` - 1 (to the last picture's end without `end`), 25 ticks per second.

    timed: (time_s, duration_s, picture), times not falling; `first` is not before the first one's tick.
    Raises PauseError where a picture would have to be held for longer than MAX_HOLD_S, with the span after its tick.
    """
    clock: FrameClock[Picture] = FrameClock(first=first, end=end)
    for time_s, duration_s, picture in timed:
        yield from clock.push(time_s, duration_s, picture)
        if clock.ended:
            return
    yield from clock.finish()


class FrameClock(Generic[Picture]):
    """`at_video_rate` for pictures that are pushed: `push` yields the ticks before the new one, `finish` the rest.

    `tick` is the next one to be yielded.
    """

    def __init__(self, *, first: int = 0, end: int | None = None):
        self.tick, self._end, self._least = first, end, 1
        self._latest: tuple[float, float, Picture] | None = None
        self._best: tuple[int, float, Picture] | None = None  # the nearest picture of a tick: the tick, its distance

    @property
    def ended(self) -> bool:
        return self.tick == self._end

    def push(self, time_s: float, duration_s: float, picture: Picture) -> Iterator[Picture]:
        begins = tick_of(time_s)
        if self._latest is None:
            self._least = begins + 1  # one picture is a clip
        while self._latest is not None and self._best is not None and self.tick < begins:
            if self.ended:
                return
            if begins - self.tick > MAX_HOLD_S * VIDEO_RATE_HZ and self.tick > self._best[0]:
                raise _paused(self.tick, begins)
            self.tick += 1
            yield self._best[2] if self._best[0] == self.tick - 1 else self._latest[2]
        distance_s = abs(time_s - begins / VIDEO_RATE_HZ)
        if self._best is None or self._best[0] != begins or distance_s < self._best[1]:
            self._best = (begins, distance_s, picture)
        self._latest = (time_s, duration_s, picture)

    def finish(self) -> Iterator[Picture]:
        """Up to the end of the last picture."""
        if self._latest is None or self._best is None:
            return
        last = max(self._least, round((self._latest[0] + min(self._latest[1], MAX_HOLD_S)) * VIDEO_RATE_HZ))
        while self.tick < (last if self._end is None else min(last, self._end)):
            self.tick += 1
            yield self._best[2] if self._best[0] == self.tick - 1 else self._latest[2]


def _paused(tick: int, begins: int) -> PauseError:
    start_s, end_s = tick / VIDEO_RATE_HZ, begins / VIDEO_RATE_HZ
    return PauseError(f"no picture from {start_s:.2f} to {end_s:.2f} s: the recording pauses", start_s, end_s)


def tick_of(time_s: float) -> int:
    """The tick nearest to a time; the earlier one of two."""
    return math.ceil(time_s * VIDEO_RATE_HZ - 0.5 - _EARLY)
