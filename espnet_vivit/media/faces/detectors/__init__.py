"""PICTURE → FACES: one interface over several detectors, and the choice among them.

    with open_detector("auto") as detector:       # the best that works here; detector.name says which
        faces = detector.detect(picture)          # [Face(points, box, opening), …] of an RGB picture

| name | finds | needs |
|---|---|---|
| mediapipe | a mesh of 468 points, lips included | MediaPipe (`make faces`, or a new one with a `.task` file) |
| haar | face boxes; the points by proportion | OpenCV < 5, whose wheel holds the cascades (extra `faces`) |
| precomputed | nothing: landmarks are given | – |
| centre | nothing: the clip shows a mouth already | – |
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from espnet_vivit.errors import MissingDependencyError, unknown_name

DETECTORS = {
    "auto": "the best that works here: mediapipe, else haar; centre for square pictures of up to 128 pixels",
    "mediapipe": "MediaPipe's face mesh",
    "haar": "OpenCV's cascades",
    "precomputed": "landmarks that are given",
    "centre": "none: the clip shows a mouth already",
}


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


def choose_detector(name: str) -> str:
    """The name, if it can be had here; for "auto", the best one. Raises ConfigError and MissingDependencyError."""
    from espnet_vivit.media.faces.detectors import haar, mediapipe

    if name not in DETECTORS and not name.endswith(".task"):
        raise unknown_name("detector", name, DETECTORS)
    if name == "auto":
        reasons = {"mediapipe": mediapipe.missing(), "haar": haar.missing()}
        for candidate, reason in reasons.items():
            if reason is None:
                return candidate
        raise MissingDependencyError("no face detector works here", found="; ".join(map(str, reasons.values())))
    reason = None
    if name == "mediapipe" or name.endswith(".task"):
        reason = mediapipe.missing(name)
    elif name == "haar":
        reason = haar.missing()
    if reason is not None:
        raise MissingDependencyError(f"detector {name} does not work here ({reason})")
    return name


def open_detector(name: str) -> Detector:
    """A detector for one clip, to be closed. Not for `precomputed` and `centre`, which look at no picture."""
    from espnet_vivit.media.faces.detectors.haar import HaarDetector
    from espnet_vivit.media.faces.detectors.mediapipe import MediapipeDetector

    name = choose_detector(name)
    return HaarDetector() if name == "haar" else MediapipeDetector(name)
