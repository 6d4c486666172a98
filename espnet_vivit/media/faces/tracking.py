"""FACES → ONE FACE: the same person through a clip.

It begins with the largest, most central face and stays with whoever is nearest to where it was, as long as it is near
and of similar size. Missing for longer than FORGET_S, or on a `reset`, it is chosen anew, which begins another track:
nothing is bridged or smoothed from one track to the next, nor across a cut (source_change.py).
"""

from __future__ import annotations

import math

from espnet_vivit.errors import unknown_name
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.units import VIDEO_RATE_HZ

FACES = {
    "auto": "of several, the one whose mouth moves with the sound; the largest where there is none",
    "largest": "the largest, most central",
    "left": "the one farthest to the left of the picture",
    "right": "the one farthest to the right of the picture",
}
FORGET_S = 0.6
_NEAR = 1.2  # sizes (eyes to mouth) by which a face may move from one sighting to the next
_GROWTH = 1.6  # and by which factor it may grow or shrink


def check_face(face: str) -> str:
    if face not in FACES:
        raise unknown_name("face", face, FACES)
    return face


def choose_face(faces: list[Face], height: int, width: int, *, face: str = "auto") -> Face:
    """The one to begin with: for "auto" and "largest", area weighed by nearness to the picture's centre."""
    if face in ("left", "right"):
        return (min if face == "left" else max)(faces, key=lambda one: one.centre[0])

    def weight(one: Face) -> float:
        x, y = one.centre
        away = math.hypot(x / width - 0.5, y / height - 0.5)
        return one.size**2 * math.exp(-((away / 0.5) ** 2))

    return max(faces, key=weight)


def same_face(faces: list[Face], last: Face) -> Face | None:
    """The face that can be the last one a moment later: the nearest; None if none is near."""
    centre, size = last.centre, max(last.size, 1e-6)
    nearest, nearest_away = None, _NEAR * size
    for face in faces:
        away = math.dist(face.centre, centre)
        if away < nearest_away and 1 / _GROWTH < face.size / size < _GROWTH:
            nearest, nearest_away = face, away
    return nearest


class FaceTracker:
    """Takes the faces of one picture after the other; gives the tracked one. `track` counts how often it was chosen."""

    def __init__(self, height: int, width: int, *, face: str = "auto"):
        self._height, self._width, self._face = height, width, check_face(face)
        self._forget = round(FORGET_S * VIDEO_RATE_HZ)
        self.last: Face | None = None
        self._missing = 0
        self.track = 0

    def follow(self, faces: list[Face]) -> Face | None:
        """The tracked face among those of the next picture; None if it is not there."""
        found = None if self.last is None else same_face(faces, self.last)
        if found is None and faces and (self.last is None or self._missing >= self._forget):
            found = choose_face(faces, self._height, self._width, face=self._face)
            self.track += 1
        self._missing = 0 if found is not None else self._missing + 1
        if found is not None:
            self.last = found
        return found

    def switch_to(self, face: Face) -> Face:
        """From now on this one."""
        self.last, self._missing = face, 0
        self.track += 1
        return face
