"""Faces by MediaPipe's face mesh, in a process of its own (detectors/mediapipe_worker.py).

Why a process: the last MediaPipe with models in its wheel (0.10.21) needs protobuf < 5, others here a newer one, and
two cannot live in one process. The command of `how_to_install` puts MediaPipe and its protobuf into a folder that only
the worker sees. A crash of its native code is an error of that clip, too, and not the end of the program. A worker
takes about two seconds to start, so it is kept for the next clip.

Where MediaPipe is looked for: the folder named by ESPNET_VIVIT_MEDIAPIPE; `mediapipe` in the environment's folder; an
installed package. A newer one (≥ 0.10.30) holds no model: it needs the file `face_landmarker.task` of its makers, as
`detector="…/face_landmarker.task"` or named by ESPNET_VIVIT_FACE_LANDMARKER.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shlex
import struct
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np

from espnet_vivit.base.installation import clone
from espnet_vivit.errors import MediaError
from espnet_vivit.media.faces.detectors.face import Face

FOLDER_VARIABLE, MODEL_VARIABLE = "ESPNET_VIVIT_MEDIAPIPE", "ESPNET_VIVIT_FACE_LANDMARKER"
WORKER = Path(__file__).with_name("mediapipe_worker.py")
# What works together, without what MediaPipe says that it needs: numpy < 2 and jax it does not.
PACKAGES = ("mediapipe==0.10.21", "protobuf>=4.25.3,<5", "absl-py", "attrs", "flatbuffers")
PYTHONS = "Python 3.10 to 3.12"  # for which there are wheels of it
PIPE_BYTES = 1 << 20  # as much as Linux gives without asking


def folder() -> Path | None:
    """The folder with MediaPipe that the variable names, or that of this environment; None if there is none in it."""
    named = os.environ.get(FOLDER_VARIABLE)
    path = Path(named) if named else own_folder()
    return path if (path / "mediapipe").is_dir() else None


def own_folder() -> Path:
    """Where this environment's MediaPipe is put, so that nothing else that is installed sees it."""
    return Path(sys.prefix) / "mediapipe"


def how_to_install() -> str:
    """The command that fills `own_folder`, and the Pythons that it works with."""
    command = ("python", "-m", "pip", "install", "--no-deps", "--target", str(own_folder()), *PACKAGES)
    return f"{shlex.join(command) if clone() is None else 'make faces'} ({PYTHONS})"


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
            return "mediapipe: not installed"
        place = Path(next(iter(spec.submodule_search_locations))).parent
    if not model and not (place / "mediapipe" / "modules" / "face_landmark" / "face_landmark.tflite").is_file():
        return f"mediapipe: the one in {place} holds no model: download face_landmarker.task, set {MODEL_VARIABLE}"
    return None


class MediapipeDetector:
    """See `Detector`. A worker is taken, or started, with the first picture, and given back by `close`."""

    name = "mediapipe"

    def __init__(self, name: str = "mediapipe"):
        self._model = model_file(name)
        self._worker: _Worker | None = None

    def detect(self, picture: np.ndarray) -> list[Face]:
        if self._worker is None:
            self._worker = _take_worker(str(folder() or ""), self._model)
        rows = self._worker.ask(picture)
        return [Face(row[:8].reshape(4, 2).copy(), float(row[8])) for row in rows]

    def reset(self) -> None:
        if self._worker is not None:
            self._worker.forget()

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker.works:
            worker.forget()
            _idle.append(worker)


class _Worker:
    """A running mediapipe_worker.py."""

    def __init__(self, place: str, model: str):
        self.key, self.owner, self.works = (place, model), os.getpid(), True
        self._said: deque[str] = deque(maxlen=20)  # last lines of its log
        self._process = process = subprocess.Popen(
            [sys.executable, "-s", str(WORKER), place, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "GLOG_minloglevel": "2", "OMP_NUM_THREADS": "1"},
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # pipes
        self._pictures, self._answers, self._log = process.stdin, process.stdout, process.stderr
        _widen(self._pictures)
        Thread(target=self._listen, daemon=True).start()

    def ask(self, picture: np.ndarray) -> np.ndarray:
        """(faces, 9) float32: points and opening. Raises MediaError if the process has ended."""
        height, width = picture.shape[:2]
        self._tell(struct.pack("<II", height, width), np.ascontiguousarray(picture).data.cast("B"))
        (num_faces,) = struct.unpack("<I", self._read(4))
        return np.frombuffer(self._read(num_faces * 36), "<f4").reshape(num_faces, 9)

    def forget(self) -> None:
        self._tell(struct.pack("<II", 0, 0))

    def stop(self) -> None:
        self.works = False
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with suppress(BrokenPipeError):  # what it has not read is of no interest any more
            self._pictures.close()

    def _tell(self, *parts) -> None:
        try:
            for part in parts:
                self._pictures.write(part)
            self._pictures.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def _read(self, size: int) -> bytes:
        data = self._answers.read(size)
        if len(data) < size:
            raise self._ended()
        return data

    def _listen(self) -> None:
        with self._log as log:
            for line in log:
                self._said.append(line.decode(errors="replace").rstrip())

    def _ended(self) -> MediaError:
        code = self._process.wait()
        self.stop()
        said = next((line for line in reversed(self._said) if line), "it said nothing")
        return MediaError(f"MediaPipe's process ended with code {code} ({said})", fix="Try detector='haar'.")


def _widen(pipe) -> None:
    """Let a pipe hold a picture, where the system lets us: the two processes then change places once for each."""
    with suppress(ImportError, AttributeError, OSError):  # not on Windows, only on Linux, and up to a user's limit
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


_idle: list[_Worker] = []  # workers that wait for the next clip


def _take_worker(place: str, model: str) -> _Worker:
    while _idle:
        worker = _idle.pop()
        if worker.owner != os.getpid():
            continue  # inherited by a fork: it belongs to the parent
        if worker.key == (place, model):
            return worker
        worker.stop()
    return _Worker(place, model)


@atexit.register
def _stop_idle() -> None:
    while _idle:
        worker = _idle.pop()
        if worker.owner == os.getpid():
            worker.stop()
