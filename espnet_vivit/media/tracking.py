"""Which face: chosen once, then followed.

In: the faces of one picture after another. Out: the one that is read. The first is the largest and most central, or
the one asked for; after that the face whose box overlaps the last one most. When it is gone for longer than a second,
it is chosen anew.
"""

from __future__ import annotations

from espnet_vivit.errors import unknown_name
from espnet_vivit.media.detectors import Face
from espnet_vivit.units import VIDEO_RATE_HZ

CHOICES = ("auto", "left", "right")
_OVERLAP = 0.2  # intersection over union, below which two boxes are two faces
_FORGET_FRAMES = VIDEO_RATE_HZ


class FaceTracker:
    """face: "auto" (largest, most central), "left" or "right" (the outermost in the picture).

    start: a box (x, y, width, height) to begin from, as `speaker.find_speaker` gives it; it wins over `face`.
    """

    def __init__(self, face: str = "auto", *, start: tuple[float, float, float, float] | None = None):
        if face not in CHOICES:
            raise unknown_name("face", face, (*CHOICES, "speaking"))
        self._face, self.box, self._missed = face, start, 0

    def choose(self, faces: list[Face], *, height: int, width: int) -> Face | None:
        """The face to read among those of one picture of this size, or None."""
        if self._missed > _FORGET_FRAMES:
            self.box = None
        chosen = self._first(faces, height, width) if self.box is None else self._nearest(faces)
        if chosen is None:
            self._missed += 1
        else:
            self.box, self._missed = chosen.box, 0
        return chosen

    def _first(self, faces: list[Face], height: int, width: int) -> Face | None:
        if self._face == "auto":
            return max(faces, key=lambda face: _prominence(face.box, height, width), default=None)
        side = 1 if self._face == "right" else -1
        return max(faces, key=lambda face: side * (face.box[0] + face.box[2] / 2), default=None)

    def _nearest(self, faces: list[Face]) -> Face | None:
        best = max(faces, key=lambda face: overlap(face.box, self.box), default=None)
        return best if best is not None and overlap(best.box, self.box) >= _OVERLAP else None


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (x, y, width, height): 0 to 1."""
    width = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _prominence(box: tuple[float, float, float, float], height: int, width: int) -> float:
    """Area, halved at the picture's border."""
    off_x = abs(box[0] + box[2] / 2 - width / 2) / (width / 2)
    off_y = abs(box[1] + box[3] / 2 - height / 2) / (height / 2)
    return box[2] * box[3] * (1 - min(1.0, max(off_x, off_y)) / 2)
