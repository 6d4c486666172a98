"""What every face detector gives: faces with their landmarks, and the interface of a detector."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np


class Face(NamedTuple):
    """A face in a picture: (4, 2) float32 LANDMARKS in pixels; lip opening / eye distance, NaN if not measured."""

    points: np.ndarray
    opening: float = float("nan")

    @property
    def centre(self) -> tuple[float, float]:
        (right_x, right_y), (left_x, left_y), (nose_x, nose_y), (mouth_x, mouth_y) = self.points.tolist()
        return (right_x + left_x + nose_x + mouth_x) / 4, (right_y + left_y + nose_y + mouth_y) / 4

    @property
    def size(self) -> float:
        """About half the face's width, in pixels, whatever way it is turned: eyes to mouth."""
        (right_x, right_y), (left_x, left_y), _, (mouth_x, mouth_y) = self.points.tolist()
        return math.hypot(mouth_x - (right_x + left_x) / 2, mouth_y - (right_y + left_y) / 2)


class Detector(Protocol):
    """What every detector does. It may follow faces from one picture to the next; `reset` makes it forget them."""

    name: str

    def detect(self, picture: np.ndarray) -> list[Face]:
        """All faces of an (H, W, 3) uint8 RGB picture, in no order."""
        ...

    def reset(self) -> None: ...

    def close(self) -> None: ...
