"""The process that runs MediaPipe: `python mediapipe_worker.py FOLDER MODEL`, pictures in, points out.

FOLDER (may be empty) is put before all other places to import from; it holds MediaPipe and its protobuf.
MODEL (may be empty) is a `face_landmarker.task`. In, on standard input, little endian: height, width (uint32), then
height × width × 3 bytes RGB; 0, 0 means: forget the faces followed so far. Out: number of faces (uint32), then
9 float32 each: x, y of the four LANDMARKS in pixels, lip opening / eye distance.
This file imports nothing of ours, so that it starts quickly and needs nothing but NumPy and MediaPipe.
"""

import os
import struct
import sys

MAX_FACES = 4
COUNT_EVERY = 12  # pictures: how often it is looked whether there is more than one face
# Vertices of the mesh; the mean of each group is the point. Right is the speaker's. Eyes: corners and lids; nose:
# below, and the wings; mouth: corners, outer and inner rim of the lips. (GRID's given landmarks are these.)
RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
NOSE_BASE, MOUTH = (2, 98, 327), (61, 291, 0, 17, 13, 14)
UPPER_LIP, LOWER_LIP = 13, 14


def main() -> None:
    folder, model = sys.argv[1], sys.argv[2]
    sys.path.pop(0)  # this file's own folder: `mediapipe.py` beside it is not MediaPipe
    if folder:
        sys.path.insert(0, folder)
    pictures, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print must not get between the answers
    find = TaskMesh(model) if model else SolutionMesh()
    while header := pictures.read(8):
        answer(find, pictures, answers, *struct.unpack("<II", header))


def answer(find, pictures, answers, height: int, width: int) -> None:
    import numpy as np

    if not height:
        find.reset()
        return
    picture = np.frombuffer(pictures.read(height * width * 3), np.uint8).reshape(height, width, 3)
    rows = [describe(np.array([(p.x * width, p.y * height) for p in mesh], np.float32)) for mesh in find(picture)]
    answers.write(struct.pack("<I", len(rows)) + np.array(rows, "<f4").tobytes())
    answers.flush()


def describe(mesh) -> list[float]:
    """9 numbers of a face from its (468 or 478, 2) float32 vertices in pixels."""
    import numpy as np

    points = np.stack([mesh[list(vertices)].mean(axis=0) for vertices in (RIGHT_EYE, LEFT_EYE, NOSE_BASE, MOUTH)])
    eyes = np.linalg.norm(points[1] - points[0])
    return [*points.reshape(-1), np.linalg.norm(mesh[LOWER_LIP] - mesh[UPPER_LIP]) / max(eyes, 1e-3)]


class SolutionMesh:
    """The "solutions" of MediaPipe up to 0.10.21, with the models of its wheel.

    Asked for several faces, the mesh searches for more in every picture; so one face is followed, and whether there are
    more is looked up now and then.
    """

    def __init__(self):
        from mediapipe.python.solutions import face_detection, face_mesh

        self._face_mesh = face_mesh
        self._counter = face_detection.FaceDetection(model_selection=0, min_detection_confidence=0.5)
        self._meshes = {}
        self.reset()

    def __call__(self, picture):
        if self._pictures % COUNT_EVERY == 0:
            counted = self._counter.process(picture).detections
            self._faces = MAX_FACES if counted and len(counted) > 1 else 1
        self._pictures += 1
        if self._faces not in self._meshes:
            self._meshes[self._faces] = self._face_mesh.FaceMesh(max_num_faces=self._faces)
        found = self._meshes[self._faces].process(picture).multi_face_landmarks
        return [face.landmark for face in found or ()]

    def reset(self):
        self._pictures, self._faces = 0, 1
        for mesh in self._meshes.values():
            mesh.reset()


class TaskMesh:
    """The "tasks" of MediaPipe, with a model file given."""

    def __init__(self, model: str):
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._image, self._format = mediapipe.Image, mediapipe.ImageFormat.SRGB
        self._make = lambda: vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=model),
                running_mode=vision.RunningMode.VIDEO,
                num_faces=MAX_FACES,
            )
        )
        self._landmarker, self._time_ms = self._make(), 0

    def __call__(self, picture):
        self._time_ms += 40
        image = self._image(image_format=self._format, data=picture)
        return self._landmarker.detect_for_video(image, self._time_ms).face_landmarks

    def reset(self):
        self._landmarker.close()
        self._landmarker, self._time_ms = self._make(), 0


if __name__ == "__main__":
    main()
