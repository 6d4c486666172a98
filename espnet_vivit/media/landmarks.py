"""Four points of a face through time: gaps filled, jitter smoothed.

In: one row of points per frame, or none where no face was found. Out: smoothed rows, one per frame, with a delay of
half the smoothing window. Arrays are (T, 4, 2) float32, (x, y) in pixels: right eye, left eye, nose base, mouth
centre (the face's right, so the picture's left); NaN rows where nothing was found.

A mean over 13 frames, the edges repeated, as the field does (Auto-AVSR smooths over 12): it is what the crops of
public mouth sets were made with to within a tenth of a gray level.
"""

from __future__ import annotations

import os
from collections import deque

import numpy as np

from espnet_vivit.errors import InputError, MediaError
from espnet_vivit.units import VIDEO_RATE_HZ

LANDMARKS = ("right_eye", "left_eye", "nose_base", "mouth")
SMOOTHING_FRAMES = 13  # odd: the window is centred
MAX_GAP_S = 1.0


class NoFaceError(MediaError):
    """No face from `start_s` to `end_s` seconds of a file: longer than can be bridged."""

    def __init__(self, message: str, *, start_s: float = 0.0, end_s: float = 0.0, fix: str | None = None):
        super().__init__(message, fix=fix)
        self.start_s, self.end_s = start_s, end_s

    def __reduce__(self):  # so that worker processes can hand it on with its times
        return _no_face, (str(self), self.start_s, self.end_s)


def _no_face(message: str, start_s: float, end_s: float) -> NoFaceError:
    return NoFaceError(message, start_s=start_s, end_s=end_s)


def check_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """The array as float32 if it is (T >= 1, 4, 2); otherwise InputError."""
    landmarks = np.asarray(landmarks, dtype=np.float32)
    if landmarks.ndim != 3 or landmarks.shape[1:] != (len(LANDMARKS), 2) or not len(landmarks):
        raise InputError(
            "not landmarks", found=f"shape {landmarks.shape}", expected="(T, 4, 2): " + ", ".join(LANDMARKS)
        )
    return landmarks


def read_landmarks(path: str | os.PathLike) -> np.ndarray:
    """(T, 4, 2) float32 of a `.npy` file. Raises MediaError or InputError."""
    try:
        return check_landmarks(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise MediaError(f"cannot read the landmarks {path} ({error})") from error


class LandmarkSmoother:
    """Rows in as they are found, smoothed rows out as soon as they are certain.

    A gap between two faces is interpolated linearly; one at the beginning or end takes the nearest face. A gap of
    more than `max_gap_s` seconds raises NoFaceError with its time span, counted from `start_s`.
    """

    def __init__(self, path: str | os.PathLike, *, max_gap_s: float = MAX_GAP_S, start_s: float = 0.0):
        self._path, self._start_s = path, start_s
        self._max_gap = round(max_gap_s * VIDEO_RATE_HZ)
        self._window: deque[np.ndarray] = deque(maxlen=SMOOTHING_FRAMES)
        self._last: np.ndarray | None = None  # the last row with a face
        self._gap = 0  # rows without a face since then
        self._frame = 0

    def push(self, row: np.ndarray | None) -> list[np.ndarray]:
        """Take the (4, 2) points of the next frame, or None; return the smoothed rows that are now certain."""
        self._frame += 1
        if row is None or np.isnan(row).any():
            self._gap += 1
            if self._gap > self._max_gap:
                self._give_up()
            return []
        row = row.astype(np.float64)
        first = row if self._last is None else self._last
        shares = [(i + 1) / (self._gap + 1) for i in range(self._gap)]
        rows = [first + (row - first) * share for share in shares] + [row]
        self._last, self._gap = row, 0
        return self._smooth(rows)

    def finish(self) -> list[np.ndarray]:
        """The rows that remain. Raises NoFaceError if there was no face at all."""
        if self._last is None:
            self._give_up()
        tail = [self._last] * (self._gap + SMOOTHING_FRAMES // 2)
        return self._smooth(tail)

    def _smooth(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        smoothed = []
        for row in rows:
            if not self._window:
                self._window.extend([row] * (SMOOTHING_FRAMES // 2))
            self._window.append(row)
            if len(self._window) == SMOOTHING_FRAMES:
                smoothed.append(np.mean(self._window, axis=0))
        return smoothed

    def _give_up(self) -> None:
        start_s = self._start_s + (self._frame - self._gap) / VIDEO_RATE_HZ
        end_s = self._start_s + self._frame / VIDEO_RATE_HZ
        raise NoFaceError(
            f"{self._path}: no face from {start_s:.2f} s to {end_s:.2f} s",
            start_s=start_s,
            end_s=end_s,
            fix="Cut that part away, choose another detector, or detector centre if the file shows a mouth alone.",
        )


def smooth_landmarks(landmarks: np.ndarray, *, max_gap_s: float = MAX_GAP_S, path: str = "clip") -> np.ndarray:
    """(T, 4, 2) raw points -> (T, 4, 2) float64 points without gaps, smoothed. Raises NoFaceError, InputError."""
    smoother = LandmarkSmoother(path, max_gap_s=max_gap_s)
    rows = [row for points in check_landmarks(landmarks) for row in smoother.push(points)]
    return np.stack(rows + smoother.finish())
