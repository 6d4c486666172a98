"""A second look at a file: pictures of the source, and whether they stand on their heads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np

from espnet_vivit.media.faces.detectors import open_detector
from espnet_vivit.media.files.source import open_source
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
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
    path: str | os.PathLike,
    landmarks: np.ndarray,
    indices: Iterable[int],
    *,
    start_s: float = 0.0,
    tracks: Tracks = AS_PLAYERS,
) -> list[View]:
    """The pictures with these indices (25 per second, from `start_s` on); landmarks: (T, 4, 2) of the clip."""
    wanted = {int(index) for index in indices}
    views = []
    with open_source(path, tracks=tracks) as source, closing(source.frames(start_s=start_s)) as pictures:
        for index, picture in enumerate(islice(pictures, len(landmarks))):
            if index in wanted:
                views.append(View(start_s + seconds_of_frames(index), picture, landmarks[index]))
    return views


def find_turn(views: Sequence[View], *, detector: str) -> int | None:
    """Degrees counter-clockwise by which these pictures must be turned to show a face; None if no turn helps."""
    with closing(open_detector(detector)) as faces:
        for degrees, quarters in TURNS.items():
            for view in views[:TRIED_PICTURES]:
                faces.reset()
                if faces.detect(np.ascontiguousarray(np.rot90(view.picture, quarters))):
                    return degrees
    return None
