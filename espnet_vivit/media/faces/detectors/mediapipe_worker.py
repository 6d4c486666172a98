"""The process that runs MediaPipe: `python mediapipe_worker.py FOLDER MODEL`, pictures in, points out.

FOLDER (may be empty) is put before all other places to import from; it holds MediaPipe and its protobuf.
MODEL (may be empty) is a `face_landmarker.task`. In, on standard input, little endian: height, width (uint32), then
height × width × 3 bytes RGB; 0, 0 means: forget the faces followed so far. Out: number of faces (uint32), then
9 float32 each: x, y of the four LANDMARKS in pixels, lip opening / eye distance.
This file imports nothing of ours, so that it starts quickly and needs nothing but NumPy and MediaPipe.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# MediaPipe stands in a folder of its own, if it is there at all, and makes its names while it is imported.

import gc
import math
import os
import struct
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

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
    gc.freeze()  # what the imports left behind would be searched for rubbish again and again
    buffer = bytearray()
    while header := pictures.read(8):
        height, width = struct.unpack("<II", header)
        if not height:
            find.reset()
            continue
        if len(buffer) != height * width * 3:
            buffer = bytearray(height * width * 3)
        if pictures.readinto(buffer) < len(buffer):
            return  # whoever asked is gone
        answers.write(answer(find, buffer, height, width))
        answers.flush()


def answer(find: Callable[[Any], list], buffer: bytearray, height: int, width: int) -> bytes:
    """Number of faces and 9 float32 of each, for the picture in the buffer."""
    import numpy as np

    picture = np.frombuffer(buffer, np.uint8).reshape(height, width, 3)
    rows = [describe(mesh, height, width) for mesh in find(picture)]
    return struct.pack("<I", len(rows)) + b"".join(struct.pack("<9f", *row) for row in rows)


def describe(mesh: Sequence[Any], height: int, width: int) -> list[float]:
    """9 numbers of a face from its 468 or 478 vertices, whose x and y are shares of the picture's sides."""

    def place(*vertices: int) -> tuple[float, float]:
        """Mean place in pixels."""
        corners = [mesh[vertex] for vertex in vertices]
        x, y = sum(corner.x for corner in corners), sum(corner.y for corner in corners)
        return x * width / len(vertices), y * height / len(vertices)

    points = [place(*vertices) for vertices in (RIGHT_EYE, LEFT_EYE, NOSE_BASE, MOUTH)]
    eyes, lips = math.dist(points[0], points[1]), math.dist(place(LOWER_LIP), place(UPPER_LIP))
    return [*chain.from_iterable(points), lips / max(eyes, 1e-3)]


class SolutionMesh:
    """What the "solutions" of MediaPipe up to 0.10.21 do, with the graphs and models of its wheel.

    Asked for several faces, the mesh searches for more in every picture; so one face is followed, and whether there are
    more is looked up now and then.
    """

    def __init__(self):
        self._counter = Graph("face_detection/face_detection_short_range_cpu", "detections")
        self._meshes = {}
        self.reset()

    def __call__(self, picture: Any) -> list:
        if self._pictures % COUNT_EVERY == 0:
            self._faces = MAX_FACES if len(self._counter(picture)) > 1 else 1
        self._pictures += 1
        if self._faces not in self._meshes:
            self._meshes[self._faces] = face_mesh(self._faces)
        return [face.landmark for face in self._meshes[self._faces](picture)]

    def reset(self) -> None:
        self._pictures, self._faces = 0, 1
        for mesh in self._meshes.values():
            mesh.reset()


def face_mesh(faces: int) -> "Graph":
    """The graph behind `solutions.face_mesh.FaceMesh(max_num_faces=faces)`."""
    from mediapipe.python.packet_creator import create_bool, create_int

    options = {
        "num_faces": create_int(faces),
        "with_attention": create_bool(False),  # another model, finer at eyes and lips, of twice the time
        "use_prev_landmarks": create_bool(True),
    }
    return Graph("face_landmark/face_landmark_front_cpu", "multi_face_landmarks", options)


class Graph:
    """A graph of MediaPipe's wheel: a picture in, a list of messages out.

    `solutions` run the same graphs, but make a new class of results for each picture, which takes a sixth of the time.
    """

    def __init__(self, name: str, output: str, options: dict | None = None):
        import mediapipe
        from mediapipe.python import packet_creator, packet_getter

        root = os.path.dirname(os.path.dirname(os.path.abspath(mediapipe.__file__)))
        mediapipe.resource_util.set_resource_dir(root)  # the graph names its models from there
        path = os.path.join(root, "mediapipe", "modules", f"{name}.binarypb")
        self._graph = mediapipe.CalculatorGraph(binary_graph_path=path)
        self._graph.observe_output_stream(output, self._take, True)
        self._packet, self._format = packet_creator.create_image_frame, mediapipe.ImageFormat.SRGB
        self._content = packet_getter.get_proto_list
        self._options, self._time_us, self._found = options or {}, 0, None
        self._graph.start_run(self._options)

    def __call__(self, picture: Any) -> list:
        self._time_us += 40_000
        self._found = None
        packet = self._packet(picture, image_format=self._format).at(self._time_us)
        self._graph.add_packet_to_input_stream("image", packet)
        self._graph.wait_until_idle()
        return [] if self._found is None else self._content(self._found)

    def _take(self, _stream, packet):
        self._found = None if packet.is_empty() else packet

    def reset(self) -> None:
        self._graph.close()
        self._graph.start_run(self._options)


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

    def __call__(self, picture: Any) -> list:
        self._time_ms += 40
        image = self._image(image_format=self._format, data=picture)
        return self._landmarker.detect_for_video(image, self._time_ms).face_landmarks

    def reset(self) -> None:
        self._landmarker.close()
        self._landmarker, self._time_ms = self._make(), 0


if __name__ == "__main__":
    main()
