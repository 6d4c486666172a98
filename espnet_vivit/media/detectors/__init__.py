"""Who finds faces in a picture: one interface, several finders, and `auto`, which takes the best that works here.

A detector is asked with an RGB picture (H, W, 3) uint8 and the box where the face was last (or None), and answers with
all the faces that it sees. "mediapipe" measures landmarks and lip opening (see `make faces`); "haar" finds a box and
takes the points by proportion, and always works; "centre" is for files that show a mouth alone, where nothing is
searched. Points found elsewhere go into `read_mouth_clip(landmarks=…)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from espnet_vivit.errors import MissingDependencyError, unknown_name

DETECTORS = ("auto", "mediapipe", "haar", "centre")
MOUTH_PICTURE_PIXELS = 128  # a square picture up to this side is a mouth already: no detector finds a face in it


@dataclass(frozen=True)
class Face:
    """points: (4, 2) float32 pixels, in the order of LANDMARKS; box: x, y, width, height; opening: see MouthClip."""

    points: np.ndarray
    box: tuple[float, float, float, float]
    opening: float = float("nan")


class FaceDetector(Protocol):
    """What a detector of your own has to look like."""

    name: str

    def __call__(self, picture: np.ndarray, near: tuple[float, float, float, float] | None) -> list[Face]:
        """All faces of (H, W, 3) uint8 RGB; `near` is the box of the last face, a hint that may be ignored."""
        ...


def make_detector(name: str, height: int, width: int) -> FaceDetector | None:
    """The detector of that name for pictures of this size, None for "centre"; "auto" chooses.

    Raises MissingDependencyError, which says what to install; ConfigError for an unknown name.
    """
    if name not in DETECTORS:
        raise unknown_name("detector", name, DETECTORS)
    if name == "auto":
        name = choose_detector(height, width)
    if name == "centre":
        return None
    if name == "mediapipe":
        from espnet_vivit.media.detectors.mediapipe_mesh import MediaPipeDetector

        return MediaPipeDetector()
    from espnet_vivit.media.detectors.haar import HaarDetector

    return HaarDetector()


def choose_detector(height: int, width: int) -> str:
    """The name that "auto" stands for: "centre" for small square pictures, else the best one that is installed."""
    if height == width <= MOUTH_PICTURE_PIXELS:
        return "centre"
    return "mediapipe" if "mediapipe" in available_detectors() else "haar"


def available_detectors() -> tuple[str, ...]:
    """The detectors that work here, without loading them."""
    from espnet_vivit.media.detectors.haar import haar_available
    from espnet_vivit.media.detectors.mediapipe_mesh import mediapipe_available

    found = [name for name, works in (("mediapipe", mediapipe_available), ("haar", haar_available)) if works()]
    return (*found, "centre")


def missing(package: str, extra: str) -> MissingDependencyError:
    return MissingDependencyError(f"{package} is not installed", fix=f"Type: {extra}")
