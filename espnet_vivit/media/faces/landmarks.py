"""Four points per picture: gaps filled, then smoothed; one picture after the other.

LANDMARKS are right eye (the speaker's: left in the picture), left eye, nose base, mouth centre: (T, 4, 2) float32
pixels (x, y), NaN where no face was found. A gap between two sightings is bridged by straight lines, at the ends the
nearest sighting holds. Smoothing is the mean over 13 pictures (0.52 s) around each; towards the ends of the clip, or of
a shot, the window shrinks on both sides alike: 13, 11, … 1. (Found on GRID: among six treatments of the ends only
this one gives the reference crops, exactly.) Bridging and smoothing look at most BRIDGE_S + 0.24 s ahead, so memory is
bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from espnet_vivit.media.files.frame_clock import SpanError
from espnet_vivit.units import VIDEO_RATE_HZ

LANDMARKS = ("right_eye", "left_eye", "nose_base", "mouth")
SMOOTHED_FRAMES = 13
BRIDGE_S = 2.0  # longer gaps, where allowed at all, keep the last position

Item = TypeVar("Item")


class NoFaceError(SpanError):
    """No face was found for longer than allowed, from `start_s` to `end_s` seconds of the file."""


@dataclass
class _Held(Generic[Item]):
    item: Item
    points: np.ndarray | None  # None: not known yet
    track: int


class LandmarkStream(Generic[Item]):
    """Takes an item with its points (NaN: none) at a time; gives items with bridged, smoothed points, a little later.

    max_gap_s: the longest time without points. When it is exceeded, `gap` counts the pictures of that gap so far, and
    nothing more may be pushed. fallback: (4, 2) points for a long beginning without any.
    """

    def __init__(self, *, max_gap_s: float, fallback: np.ndarray):
        self._max_gap = max_gap_s * VIDEO_RATE_HZ
        self._bridge = round(BRIDGE_S * VIDEO_RATE_HZ)
        self._fallback = np.asarray(fallback, np.float64)
        self._reach = SMOOTHED_FRAMES // 2
        self._waiting: deque[_Held[Item]] = deque()  # not given out yet; known points first
        self._past: deque[tuple[np.ndarray, int]] = deque(maxlen=self._reach)  # given out: points and track
        self._last: np.ndarray | None = None
        self._known = 0  # items at the front of `_waiting` whose points are known
        self.gap = 0

    @property
    def refused(self) -> bool:
        return self.gap > self._max_gap + 1e-6

    def push(self, item: Item, points: np.ndarray, *, track: int) -> Iterator[tuple[Item, np.ndarray]]:
        """Give the next item; yields those that are done, each with its (4, 2) float64 points."""
        found = bool(np.isfinite(points).all())
        self.gap = 0 if found else self.gap + 1
        self._waiting.append(_Held(item, np.asarray(points, np.float64) if found else None, track))
        if self.refused:
            return
        if found:
            self._bridge_gap(len(self._waiting) - 1)
        elif self.gap > self._bridge:
            self._hold_gap()
        yield from self._ready(ended=False)

    def finish(self) -> Iterator[tuple[Item, np.ndarray]]:
        """The rest, after the last item; after a refusal, what lies before that gap."""
        if self.refused:
            for _ in range(min(self.gap, len(self._waiting) - self._known)):
                self._waiting.pop()
        self._hold_gap()
        yield from self._ready(ended=True)

    def _bridge_gap(self, found: int) -> None:
        """Straight lines from the last sighting to that of `_waiting[found]`, unless another face is seen there."""
        held = self._waiting[found]
        assert held.points is not None
        missing = found - self._known
        for index in range(missing):
            other = self._waiting[self._known + index]
            if self._last is None:
                other.points, other.track = held.points, held.track
            elif other.track != held.track:
                other.points = self._last
            else:
                share = (index + 1) / (missing + 1)
                other.points = (1 - share) * self._last + share * held.points
        self._last, self._known = held.points, found + 1

    def _hold_gap(self) -> None:
        for index in range(self._known, len(self._waiting)):
            self._waiting[index].points = self._fallback if self._last is None else self._last
        self._known = len(self._waiting)

    def _ready(self, *, ended: bool) -> Iterator[tuple[Item, np.ndarray]]:
        while self._known > (0 if ended else self._reach):
            ahead = islice(self._waiting, min(self._known, self._reach + 1))
            now, *later = [(held.points, held.track) for held in ahead if held.points is not None]
            points, track = now
            after, before = _same_track(later, track), _same_track(list(reversed(self._past)), track)
            reach = min(len(after), len(before))
            window = [*before[:reach], points, *after[:reach]]
            self._past.append(now)
            item = self._waiting.popleft().item
            self._known -= 1
            yield item, sum(window[1:], window[0]) / len(window)


def _same_track(neighbours: list[tuple[np.ndarray, int]], track: int) -> list[np.ndarray]:
    """The points of the neighbours up to where another track begins."""
    points = []
    for position, other in neighbours:
        if other != track:
            break
        points.append(position)
    return points
