"""Faces by MediaPipe's face mesh: 468 points a face, tracked from picture to picture, and the lips' opening.

Two ways in, the same points:
* MediaPipe 0.10.21 and before carry the model in the wheel (`make faces` installs it without its pins, which ask for
  older numpy and protobuf). Its Python layer breaks on protobuf 6 and later, so the graph is started by its base class,
  without options that would have to be edited.
* Later ones carry no model: FACE_LANDMARKER names a `face_landmarker.task` file that was downloaded by hand.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", arXiv:1907.06724; Apache-2.0.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.detectors import Face, missing

FACE_LANDMARKER = "ESPNET_VIVIT_FACE_LANDMARKER"  # environment variable: path of a `face_landmarker.task`
MAX_FACES = 4
# Numbers in the mesh of what LANDMARKS names; where there are two, their middle.
_POINTS = ((33, 133), (263, 362), (94, 94), (13, 14))
_LIPS = (13, 14)  # inner edge of the upper and of the lower lip
_GRAPH = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"


class MediaPipeDetector:
    """See the module. Follows faces by itself: pictures have to come in order."""

    name = "mediapipe"

    def __init__(self, *, max_faces: int = MAX_FACES):
        if not mediapipe_available():
            raise missing("MediaPipe with its model", f"make faces, or set {FACE_LANDMARKER} to a face_landmarker.task")
        os.environ.setdefault("GLOG_minloglevel", "2")  # what it says about itself on every start
        self._meshes = _model_in_wheel(max_faces) if _has_model() else _model_in_file(max_faces)

    def __call__(self, picture: np.ndarray, near=None) -> list[Face]:
        height, width = picture.shape[:2]
        return [_face(mesh * np.array([width, height], np.float32)) for mesh in self._meshes(picture)]


def mediapipe_available() -> bool:
    """Whether MediaPipe is here and has a model: in its wheel, or the file that FACE_LANDMARKER names."""
    if importlib.util.find_spec("mediapipe") is None:
        return False
    return _has_model() or Path(os.environ.get(FACE_LANDMARKER, "")).is_file()


def _has_model() -> bool:
    spec = importlib.util.find_spec("mediapipe")
    return any((Path(folder).parent / _GRAPH).is_file() for folder in spec.submodule_search_locations or ())


def _model_in_wheel(max_faces: int):
    from mediapipe.python.solution_base import SolutionBase

    inputs = {"num_faces": max_faces, "with_attention": False, "use_prev_landmarks": True}
    graph = SolutionBase(binary_graph_path=_GRAPH, side_inputs=inputs, outputs=["multi_face_landmarks"])

    def meshes(picture: np.ndarray) -> list[np.ndarray]:
        found = graph.process(np.ascontiguousarray(picture)).multi_face_landmarks or []
        return [np.array([(point.x, point.y) for point in face.landmark], np.float32) for face in found]

    return meshes


def _model_in_file(max_faces: int):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    path = os.environ[FACE_LANDMARKER]
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=path),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=max_faces,
    )
    try:
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise MediaError(f"{FACE_LANDMARKER}: MediaPipe cannot use {path} ({error})") from error
    clock = iter(range(0, 2**62, 40))  # milliseconds; it wants them to rise

    def meshes(picture: np.ndarray) -> list[np.ndarray]:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        found = landmarker.detect_for_video(image, next(clock)).face_landmarks
        return [np.array([(point.x, point.y) for point in face], np.float32) for face in found]

    return meshes


def _face(mesh: np.ndarray) -> Face:
    """(468 or more, 2) points in pixels -> a face."""
    points = np.stack([mesh[list(pair)].mean(axis=0) for pair in _POINTS])
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    eyes = float(np.linalg.norm(points[0] - points[1]))
    opening = float(np.linalg.norm(mesh[_LIPS[0]] - mesh[_LIPS[1]])) / eyes if eyes else float("nan")
    return Face(points, (float(low[0]), float(low[1]), *map(float, high - low)), opening)
