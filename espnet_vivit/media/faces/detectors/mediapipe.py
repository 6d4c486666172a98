"""Faces by MediaPipe's face landmarker (extra `faces`) and its model file, `face_landmarker.task`.

The model file is looked for at the path given as the detector's name (`…/face_landmarker.task`), at the one that
ESPNET_VIVIT_FACE_LANDMARKER names, and where `espnet-vivit face-model` puts it (face_model.py).

Why MediaPipe 0.10.30 or 0.10.31: they are the only plain wheels, for every Python and NumPy 2, that ask for nothing
that harms. From 0.10.32 on MediaPipe asks for opencv-contrib-python, which overwrites the `cv2` of the extra `media`;
from 0.10.35 on its library has a client that reports its use to Google. A newer one that is installed works as well:
the positions of 1.2.3 differ by less than 0.01 pixels.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import atexit
import importlib.util
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from espnet_vivit.base.installation import clone
from espnet_vivit.errors import MediaError
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.faces.detectors.face_model import own_file

MODEL_VARIABLE = "ESPNET_VIVIT_FACE_LANDMARKER"
MAX_FACES = 4
# Vertices of the mesh; the mean of each group is the point. Right is the speaker's. Eyes: corners and lids; nose:
# below, and the wings; mouth: corners, outer and inner rim of the lips. (GRID's given landmarks are these, too.)
RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
NOSE_BASE, MOUTH = (2, 98, 327), (61, 291, 0, 17, 13, 14)
UPPER_LIP, LOWER_LIP = 13, 14


def how_to_install() -> str:
    """The command that brings MediaPipe and its model file."""
    return "make faces" if clone() is not None else "pip install 'espnet-vivit[faces]', then espnet-vivit face-model"


def model_file(name: str = "mediapipe") -> Path:
    """The `.task` file given as the detector's name or by the variable; without, that of this environment."""
    return Path(name) if name.endswith(".task") else Path(os.environ.get(MODEL_VARIABLE) or own_file())


def missing(name: str = "mediapipe") -> str | None:
    """Why this detector does not work here; None if it does. Looks at files only: nothing is imported."""
    if importlib.util.find_spec("mediapipe") is None:
        return "mediapipe: not installed"
    model = model_file(name)
    return None if model.is_file() else f"mediapipe: there is no model file {model}"


class MediapipeDetector:
    """See `Detector`; it remembers nothing. A process opens a model file once, for all its detectors.

    Followed from picture to picture, one face would tremble half as much (0.18 instead of 0.32 pixels), which the mean
    over 13 pictures does not leave (landmarks.py); of several faces MediaPipe follows none.
    """

    name = "mediapipe"

    def __init__(self, name: str = "mediapipe"):
        self._model = model_file(name)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Raises MediaError if MediaPipe cannot be loaded, refuses the model file, or fails."""
        height, width = picture.shape[:2]
        try:
            import mediapipe

            landmarker = _landmarker(self._model)
            # The copy of a picture whose rows are apart: in such a one MediaPipe finds nothing, without an error.
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
            meshes = landmarker.detect(image).face_landmarks
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MediaError(
                f"MediaPipe fails with the model file {self._model} ({reason})",
                fix=f"Try detector='haar', or install MediaPipe again: {how_to_install()}",
            ) from error
        return [face_of(mesh, height, width) for mesh in meshes]

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def face_of(mesh: Sequence[Any], height: int, width: int) -> Face:
    """A face from its 478 vertices, whose x and y are shares of the picture's sides."""

    def place(*vertices: int) -> tuple[float, float]:
        """Mean place in pixels."""
        corners = [mesh[vertex] for vertex in vertices]
        x, y = sum(corner.x for corner in corners), sum(corner.y for corner in corners)
        return x * width / len(vertices), y * height / len(vertices)

    points = [place(*vertices) for vertices in (RIGHT_EYE, LEFT_EYE, NOSE_BASE, MOUTH)]
    eyes, lips = math.dist(points[0], points[1]), math.dist(place(LOWER_LIP), place(UPPER_LIP))
    return Face(np.array(points, np.float32), lips / max(eyes, 1e-3))


_opened: dict[tuple[int, Path], Any] = {}  # (process, model file) -> landmarker; its thread does not survive a fork
_one_at_a_time = Lock()


def _landmarker(model: Path) -> Any:
    key = os.getpid(), model
    with _one_at_a_time:
        if key not in _opened:
            _opened[key] = _open_landmarker(model)
        return _opened[key]


@atexit.register
def _close_landmarkers() -> None:
    for (process, _), landmarker in _opened.items():
        if process == os.getpid():
            landmarker.close()


def _open_landmarker(model: Path) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=MAX_FACES,
    )
    with _stderr_closed():
        return vision.FaceLandmarker.create_from_options(options)


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Keep from the terminal what MediaPipe's library prints about itself: four lines, whatever its log level.

    Its errors are exceptions. The descriptor is the whole process's, for the 25 ms that opening takes.
    """
    terminal = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
