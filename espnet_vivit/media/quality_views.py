"""A second look at a file: pictures of the source, whether they are frozen, and whether they stand on their heads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np

from espnet_vivit.media.detectors import open_detector
from espnet_vivit.media.quality_pictures import measure_change
from espnet_vivit.media.source import open_source
from espnet_vivit.units import seconds_of_frames

TRIED_PICTURES = 3  # a face that is there is found in one of them
TURNS = {180: 2, 90: 1, 270: 3}  # degrees counter-clockwise -> quarter turns; upside down is the usual mistake


@dataclass(frozen=True)
class View:
    """A picture of the source, RGB (H, W, 3) uint8, with the four landmarks found in it ((4, 2) pixels, or NaN)."""

    time_s: float
    picture: np.ndarray
    points: np.ndarray


def look_again(
    path: str | os.PathLike, landmarks: np.ndarray, indices: Sequence[int], *, start_s: float = 0.0
) -> tuple[list[View], np.ndarray]:
    """The pictures with these indices (25 per second, from `start_s` on), and (T - 1,) change around the face.

    landmarks: (T, 4, 2) of the clip. The change is that of `measure_change`, in a window of fixed place: 0.00 in a
    frozen source; in GRID's good videos never five times in a row below 0.016.
    """
    wanted = {int(index) for index in indices}
    views, faces = [], []
    with open_source(path) as source, closing(source.frames(start_s=start_s)) as pictures:
        rows, columns = _face_window(landmarks, source.info.height, source.info.width)
        for index, picture in enumerate(islice(pictures, len(landmarks))):
            faces.append(picture[rows, columns, 1].copy())  # green carries most of the brightness
            if index in wanted:
                views.append(View(start_s + seconds_of_frames(index), picture, landmarks[index]))
    return views, measure_change(np.stack(faces))


def _face_window(landmarks: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns around the usual place of the face (without one: all), thinned to some 100 pixels."""
    found = landmarks[np.isfinite(landmarks).all(axis=(1, 2))]
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if len(found):
        points = np.median(found, axis=0)
        x, y = points.mean(axis=0)
        reach = 1.5 * float(np.linalg.norm(points[0] - points[1]))
        if 0 <= x < width and 0 <= y < height and reach >= 4:
            left, top, right, bottom = x - reach, y - reach, x + reach, y + reach
    first_row, first_column = max(0, round(top)), max(0, round(left))
    step = max(1, round((bottom - top) / 100))
    rows = slice(first_row, max(first_row + 1, round(bottom)), step)
    return rows, slice(first_column, max(first_column + 1, round(right)), step)


def find_turn(views: Sequence[View], *, detector: str) -> int | None:
    """Degrees counter-clockwise by which these pictures must be turned to show a face; None if no turn helps."""
    with closing(open_detector(detector)) as faces:
        for degrees, quarters in TURNS.items():
            for view in views[:TRIED_PICTURES]:
                faces.reset()
                if faces.detect(np.ascontiguousarray(np.rot90(view.picture, quarters))):
                    return degrees
    return None
