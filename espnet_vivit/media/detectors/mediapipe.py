"""Faces by MediaPipe's face mesh, in a process of its own (detectors/mediapipe_worker.py).

Why a process: the last MediaPipe with models in its wheel (0.10.21) needs protobuf < 5, others here a newer one, and two
cannot live in one process. `make faces` puts MediaPipe and its protobuf into a folder that only the worker sees. A crash of its native code is an error of that clip, too, and not the end of the program.

Where MediaPipe is looked for: the folder named by ESPNET_VIVIT_MEDIAPIPE; `mediapipe` in the environment's folder (that
of `make faces`); an installed package. A newer one (≥ 0.10.30) holds no model: it needs the file `face_landmarker.task`
of its makers, as `detector="…/face_landmarker.task"` or named by ESPNET_VIVIT_FACE_LANDMARKER.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from threading import Thread

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.detectors import Face

FOLDER_VARIABLE, MODEL_VARIABLE = "ESPNET_VIVIT_MEDIAPIPE", "ESPNET_VIVIT_FACE_LANDMARKER"
WORKER = Path(__file__).with_name("mediapipe_worker.py")


def folder() -> Path | None:
    """The folder that `make faces` filled, or that the variable names."""
    named = os.environ.get(FOLDER_VARIABLE)
    path = Path(named) if named else Path(sys.prefix) / "mediapipe"
    return path if (path / "mediapipe").is_dir() else None


def model_file(name: str = "mediapipe") -> str:
    """The `.task` file given as the detector's name or by the variable; empty without."""
    return name if name.endswith(".task") else os.environ.get(MODEL_VARIABLE, "")


def missing(name: str = "mediapipe") -> str | None:
    """Why this detector does not work here; None if it does. Looks at files only: nothing is imported."""
    model = model_file(name)
    if model and not Path(model).is_file():
        return f"mediapipe: there is no file {model}"
    place = folder()
    if place is None:
        spec = importlib.util.find_spec("mediapipe")
        if spec is None or not spec.submodule_search_locations:
            return "mediapipe: not installed: make faces (Python 3.10 to 3.12)"
        place = Path(next(iter(spec.submodule_search_locations))).parent
    if not model and not (place / "mediapipe" / "modules" / "face_landmark" / "face_landmark.tflite").is_file():
        return f"mediapipe: the one in {place} holds no model: download face_landmarker.task, set {MODEL_VARIABLE}"
    return None


class MediapipeDetector:
    """See `Detector`. The worker starts with the first picture (about 2 s), and ends with `close`."""

    name = "mediapipe"

    def __init__(self, name: str = "mediapipe"):
        self._model = model_file(name)
        self._process: subprocess.Popen | None = None
        self._said: deque[str] = deque(maxlen=20)  # last lines of the worker's log

    def detect(self, picture: np.ndarray) -> list[Face]:
        if self._process is None:
            self._start()
        height, width = picture.shape[:2]
        try:
            self._process.stdin.write(struct.pack("<II", height, width))
            self._process.stdin.write(memoryview(np.ascontiguousarray(picture)).cast("B"))
            self._process.stdin.flush()
            (num_faces,) = struct.unpack("<I", self._read(4))
            values = np.frombuffer(self._read(num_faces * 9 * 4), "<f4").reshape(num_faces, 9)
        except BrokenPipeError as error:
            raise self._ended() from error
        return [Face(row[:8].reshape(4, 2).copy(), float(row[8])) for row in values]

    def reset(self) -> None:
        if self._process is not None:
            self._process.stdin.write(struct.pack("<II", 0, 0))

    def close(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # it had ended already: nothing is left to say to it
        process.stdout.close()
        process.wait()

    def _start(self) -> None:
        place = folder()
        command = [sys.executable, "-s", str(WORKER), str(place or ""), self._model]
        quiet = {"GLOG_minloglevel": "2", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **quiet},
        )
        Thread(target=self._listen, args=(self._process.stderr,), daemon=True).start()

    def _listen(self, log) -> None:
        with log:
            for line in log:
                self._said.append(line.decode(errors="replace").rstrip())

    def _read(self, size: int) -> bytes:
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise self._ended()
        return data

    def _ended(self) -> MediaError:
        code = self._process.wait()
        said = next((line for line in reversed(self._said) if line), "it said nothing")
        return MediaError(f"MediaPipe's process ended with code {code} ({said})", fix="Try detector='haar'.")
