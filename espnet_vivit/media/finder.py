"""Picture after picture in, the points of the face that is read out: detector, tracker and the pictures between.

Raw points, as the smoother wants them. With `every` = k only each k-th picture is searched; the pictures between get
interpolated points once the next search has answered, so answers come in batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from espnet_vivit.media.detectors import FaceDetector, make_detector
from espnet_vivit.media.landmarks import check_landmarks
from espnet_vivit.media.tracking import FaceTracker
from espnet_vivit.units import VIDEO_RATE_HZ

NOT_SEARCHED = -1  # number of faces on a picture that the detector was not asked about
_LOOK_AROUND_FRAMES = VIDEO_RATE_HZ // 2  # how often all of the picture is searched, for faces that have come in


@dataclass(frozen=True)
class Found:
    """points: (4, 2) float32 or None; opening of the mouth, NaN if unknown; how many faces the picture shows."""

    points: np.ndarray | None
    opening: float
    num_faces: int


_NOTHING = Found(None, float("nan"), NOT_SEARCHED)


class FaceFinder:
    """`finder(picture) -> [Found, …]`, at the end `finish()`: together one Found per picture, in order."""

    def __init__(self, detector: FaceDetector, tracker: FaceTracker, *, every: int = 1):
        self.name = detector.name
        self._detector, self._tracker, self._every = detector, tracker, every
        self._last: Found | None = None
        self._between = self._index = self._since_look = 0

    def __call__(self, picture: np.ndarray) -> list[Found]:
        self._index += 1
        if (self._index - 1) % self._every:
            self._between += 1
            return []
        height, width = picture.shape[:2]
        found = self._search(picture, height, width)
        answers = [*self._interpolated(found), found]
        self._last, self._between = found, 0
        return answers

    def finish(self) -> list[Found]:
        """Answers for the pictures after the last search: its points again."""
        points = None if self._last is None else self._last.points
        return [Found(points, float("nan"), NOT_SEARCHED)] * self._between

    def _search(self, picture: np.ndarray, height: int, width: int) -> Found:
        looking_around = self._tracker.box is None or self._since_look >= _LOOK_AROUND_FRAMES
        faces = self._detector(picture, None if looking_around else self._tracker.box)
        if not faces and not looking_around:
            looking_around, faces = True, self._detector(picture, None)
        if looking_around:
            self._since_look, self._around = 0, len(faces)
        self._since_look += self._every
        chosen = self._tracker.choose(faces, height=height, width=width)
        count = max(self._around, len(faces)) if faces else 0
        if chosen is None:
            return Found(None, float("nan"), count)
        return Found(chosen.points, chosen.opening, count)

    def _interpolated(self, found: Found) -> list[Found]:
        if self._last is None or self._last.points is None or found.points is None:
            return [_NOTHING] * self._between
        start, step = self._last.points, (found.points - self._last.points) / (self._between + 1)
        return [Found(start + step * (i + 1), float("nan"), NOT_SEARCHED) for i in range(self._between)]


class GivenLandmarks:
    """Points found elsewhere, (T, 4, 2), one row per picture at 25 per second, counted from the file's start."""

    name = "precomputed"

    def __init__(self, landmarks: np.ndarray, *, first: int = 0):
        self._rows = iter(check_landmarks(landmarks)[first:])

    def __call__(self, picture: np.ndarray) -> list[Found]:
        row = next(self._rows, None)  # more pictures than rows: no face there
        seen = row is not None and bool(np.isfinite(row).all())
        return [Found(row if seen else None, float("nan"), int(seen))]

    def finish(self) -> list[Found]:
        return []


class NoSearch:
    """For files that show a mouth and nothing else."""

    name = "centre"

    def __call__(self, picture: np.ndarray) -> list[Found]:
        return [_NOTHING]

    def finish(self) -> list[Found]:
        return []


def make_finder(
    detector: str | FaceDetector, landmarks: np.ndarray | None, *, shape, tracker: FaceTracker, every: int, first: int
):
    """The finder for pictures of this shape (height, width); `first` is the number of the first picture read."""
    if landmarks is not None:
        return GivenLandmarks(landmarks, first=first)
    if isinstance(detector, str):
        detector = make_detector(detector, *shape)
    return NoSearch() if detector is None else FaceFinder(detector, tracker, every=every)
