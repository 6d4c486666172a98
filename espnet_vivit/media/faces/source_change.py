"""Two pictures of the source in; how much it changed around the face between them out: frozen sources and cuts show.

The mouth crops do not show it: where a detector's points tremble, the crops of one and the same picture differ.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

import numpy as np

from espnet_vivit.units import VIDEO_RATE_HZ

_REACH = 1.5  # eye distances to each side of the face's middle
_SIDE = 64  # pixels to which the window is thinned, for speed
_CUT_CHANGE, _CUT_MOVE = 0.35, 0.05
_FEWEST_CHANGES = 5  # before anything is usual


def change_around(before: np.ndarray, picture: np.ndarray, points: np.ndarray) -> float:
    """Mean difference of two (H, W, 3) uint8 pictures around the face, against the later one's contrast; 0: equal.

    points: (4, 2) pixels of the face in the later one; NaN: the whole picture is compared. An encoded still picture has
    less than 0.009; GRID's good videos never have less than 0.016 five times in a row.
    """
    if picture is before:  # shown twice, because the source has fewer than 25 a second
        return 0.0
    import cv2  # late: OpenCV is an extra

    rows, columns = face_window(points, *picture.shape[:2])
    one, other = (np.ascontiguousarray(shown[rows, columns, 1]) for shown in (before, picture))  # green: most light
    _, contrast = cv2.meanStdDev(other)
    return cv2.norm(one, other, cv2.NORM_L1) / one.size / max(float(contrast[0, 0]), 1e-3)


class Shots:
    """Takes the points and `change_around` of one picture after the other; counts the cuts so far.

    A cut is where the picture around the face is another one than before, more than usual, and the face is elsewhere.
    Within GRID's videos the change is 0.13 at most and the face moves by 0.04 eye distances; from one of s1's videos to
    another of s1's, 0.52 and 0.07 at least.
    """

    def __init__(self):
        self.cuts = 0
        self._last = np.full((4, 2), np.nan)
        self._changes: deque[float] = deque(maxlen=VIDEO_RATE_HZ)

    def see(self, points: np.ndarray, change: float) -> int:
        """points: (4, 2) pixels, NaN where no face is found; change: NaN for the first picture."""
        eye_distance = max(math.dist(points[0], points[1]), 1e-3)
        moved = float(np.linalg.norm(points.mean(axis=0) - self._last.mean(axis=0))) / eye_distance
        usual = statistics.median(self._changes) if len(self._changes) >= _FEWEST_CHANGES else math.inf
        if change > max(_CUT_CHANGE, 3 * usual) and moved > _CUT_MOVE:  # not where one of them is NaN
            self.cuts += 1
        if math.isfinite(change):
            self._changes.append(change)
        self._last = points
        return self.cuts


def face_window(points: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns around a face, thinned; all where it is not known, tiny or elsewhere."""
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y), (mouth_x, mouth_y) = points.tolist()
    reach = _REACH * math.hypot(right_x - left_x, right_y - left_y)
    if math.isfinite(reach):
        x, y = (right_x + left_x + nose_x + mouth_x) / 4, (right_y + left_y + nose_y + mouth_y) / 4
        if 0 <= x < width and 0 <= y < height and reach >= 4:
            left, top, right, bottom = x - reach, y - reach, x + reach, y + reach
    first_row, first_column = max(0, round(top)), max(0, round(left))
    step = max(1, round((bottom - top) / _SIDE))
    rows = slice(first_row, max(first_row + 1, round(bottom)), step)
    return rows, slice(first_column, max(first_column + 1, round(right)), step)
