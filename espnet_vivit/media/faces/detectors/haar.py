"""Faces by OpenCV's Haar cascade, whose file lies in the wheel (OpenCV < 5): the fallback that always works.

The cascade gives a box; eyes, nose and mouth are taken at PROPORTIONS of it (means over GRID's nine speakers), so the
mouth is wrong by a few pixels and its opening is unknown. A whole picture is searched every SEARCH_EVERY pictures and
where the face was lost; between them only around the last boxes, on a picture reduced to what the cascade needs.
Source of the method: Viola & Jones 2001; the cascade is OpenCV's (haarcascade_frontalface_alt2, Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from espnet_vivit.media.faces.detectors.face import Face

CASCADE = "haarcascade_frontalface_alt2.xml"
PROPORTIONS = np.array([(0.323, 0.395), (0.683, 0.395), (0.511, 0.679), (0.513, 0.837)])  # of the box: LANDMARKS
SEARCH_EVERY = 12  # pictures: about half a second until another face is seen
_SEARCH_SIDE = 240  # pixels to which the shorter side of a picture is reduced for a whole search
_FACE_SIDE = 64  # pixels to which a known face is reduced
_SMALLEST = 1 / 8  # of the shorter side: smaller faces have too few pixels for a mouth


def missing() -> str | None:
    """Why this detector does not work here; None if it does."""
    try:
        import cv2
    except ImportError:
        return "haar: OpenCV is not installed: pip install 'espnet-vivit[media]'"
    if not hasattr(cv2, "CascadeClassifier") or not Path(_cascade_path()).is_file():
        return f"haar: OpenCV {cv2.__version__} has no cascades: pip install 'opencv-python-headless<5'"
    return None


def _cascade_path() -> str:
    import cv2

    return str(Path(cv2.__file__).parent / "data" / CASCADE)


class HaarDetector:
    """See `Detector`; remembers the boxes of the last picture."""

    name = "haar"

    def __init__(self):
        import cv2

        self._cascade = cv2.CascadeClassifier(_cascade_path())
        self._boxes: list[np.ndarray] = []
        self._pictures = 0

    def detect(self, picture: np.ndarray) -> list[Face]:
        import cv2

        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes: list[np.ndarray] = []
        if self._boxes and self._pictures % SEARCH_EVERY:
            for last in self._boxes:
                boxes += self._search_near(gray, last)
        if len(boxes) < max(1, len(self._boxes)):
            boxes = self._search(gray)
        self._pictures += 1
        self._boxes = boxes
        return [Face((box[:2] + PROPORTIONS * box[2:]).astype(np.float32)) for box in boxes]

    def reset(self) -> None:
        self._boxes, self._pictures = [], 0

    def close(self) -> None:
        self.reset()

    def _search(self, gray: np.ndarray) -> list[np.ndarray]:
        """(4,) boxes x, y, width, height in pixels, of the whole picture."""
        side = min(gray.shape)
        scale = min(1.0, _SEARCH_SIDE / side)
        return self._run(gray, scale, round(side * scale * _SMALLEST), round(side * scale), neighbours=5, step=1.1)

    def _search_near(self, gray: np.ndarray, last: np.ndarray) -> list[np.ndarray]:
        """The face around the last box, searched alone; none or one."""
        margin = 0.25 * last[2:]
        left, top = np.maximum(0, last[:2] - margin).astype(int)
        right, bottom = (last[:2] + last[2:] + margin).astype(int)
        scale = min(1.0, _FACE_SIDE / last[2])
        smallest, largest = round(0.8 * last[2] * scale), round(1.25 * last[2] * scale)
        found = self._run(gray[top:bottom, left:right], scale, smallest, largest, neighbours=2, step=1.05)
        return [np.add(max(found, key=lambda box: box[2]), [left, top, 0, 0])] if found else []

    def _run(self, gray: np.ndarray, scale: float, smallest: int, largest: int, *, neighbours: int, step: float):
        import cv2

        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self._cascade.detectMultiScale(
            gray, step, neighbours, minSize=(smallest, smallest), maxSize=(largest, largest)
        )
        return [np.asarray(box, np.float64) / scale for box in found]
