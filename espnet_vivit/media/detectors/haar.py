"""Faces by OpenCV's Haar cascade, whose file lies inside the wheel: the detector that always works.

The cascade gives a box; the points are taken at the places where they lie in it on average, measured on 120 frames of
48 GRID clips with known landmarks (mouth centre: standard deviation 1.4 and 2.5 % of the box). For upright faces seen
from the front. Viola & Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from espnet_vivit.media.detectors import Face, missing

_PLACES = np.array([(0.319, 0.395), (0.669, 0.395), (0.502, 0.671), (0.505, 0.824)], np.float32)  # shares of the box
_HEIGHT = 160  # pixels to which a picture is shrunk before searching
_SMALLEST = 0.2  # of the picture's height: the smallest face worth reading lips from
_REACH = 0.3  # of the last box, on each side: how far a face may move between two pictures
_SIZES = (0.75, 1.35)  # of the last box: how much it may shrink or grow


class HaarDetector:
    """See the module. With a hint only the surroundings of the last face are searched; without, all of the picture."""

    name = "haar"

    def __init__(self):
        if not haar_available():
            raise missing("OpenCV before version 5", "pip install 'espnet-vivit[faces]'")
        import cv2

        self._cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"))

    def __call__(self, picture: np.ndarray, near=None) -> list[Face]:
        import cv2

        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _HEIGHT / gray.shape[0])
        if near is not None:
            # a face that fills a small part of the picture is searched at a size at which the cascade still sees it
            scale = min(1.0, max(scale, 64 / near[3]))
            return self._search_near(gray, near, scale)
        smallest = round(_SMALLEST * gray.shape[0] * scale)
        return self._search(gray, scale, (0, 0), (smallest, gray.shape[0]))

    def _search_near(self, gray: np.ndarray, near, scale: float) -> list[Face]:
        x, y, width, height = near
        left, top = max(0, int(x - _REACH * width)), max(0, int(y - _REACH * height))
        right, bottom = int(x + (1 + _REACH) * width) + 1, int(y + (1 + _REACH) * height) + 1
        sizes = [round(factor * height * scale) for factor in _SIZES]
        return self._search(gray[top:bottom, left:right], scale, (left, top), sizes)

    def _search(self, gray: np.ndarray, scale: float, corner, sizes) -> list[Face]:
        import cv2

        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small, large = (max(20, int(size)) for size in sizes)  # 20 pixels: what the cascade was trained on
        boxes = self._cascade.detectMultiScale(gray, 1.1, 4, minSize=(small, small), maxSize=(large, large))
        faces = []
        for box in boxes:
            x, y, width, height = (float(value) / scale for value in box)
            origin = np.array([x + corner[0], y + corner[1]], np.float32)
            points = origin + _PLACES * np.array([width, height], np.float32)
            faces.append(Face(points, (float(origin[0]), float(origin[1]), width, height)))
        return faces


def haar_available() -> bool:
    """Whether OpenCV is here with its cascades (version 5 has none)."""
    spec = importlib.util.find_spec("cv2")
    if spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parent / "data" / "haarcascade_frontalface_alt2.xml").is_file()
