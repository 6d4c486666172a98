"""PICTURES → SIGHTINGS: for each picture of a clip the points of the face that is followed, however they come about.

`open_faces` gives one of three: a detector with a tracker (and optical flow between detections), landmarks that were
computed before, or nothing, for clips that show a mouth already.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from tokenize import TokenError
from typing import Protocol

import numpy as np

from espnet_vivit.errors import ConfigError, InputError, MediaError
from espnet_vivit.media.faces.detectors import choose_detector, open_detector
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.faces.landmarks import LANDMARKS
from espnet_vivit.media.faces.speaking import speaking_face
from espnet_vivit.media.faces.tracking import FaceTracker, check_face
from espnet_vivit.media.files.source import SourceInfo
from espnet_vivit.units import VIDEO_RATE_HZ

_NOWHERE = np.full((len(LANDMARKS), 2), np.nan, np.float32)


@dataclass(frozen=True)
class Sighting:
    """What was seen in one picture: (4, 2) float32 points, NaN without a face; a new `track` number is another face."""

    points: np.ndarray
    opening: float = float("nan")
    num_faces: int = 0
    track: int = 0


class FaceStream(Protocol):
    """Looks at pictures in their order; `sees_mouths_only` says that there are no points to expect."""

    name: str
    sees_mouths_only: bool

    def look(self, picture: np.ndarray, index: int) -> Sighting:
        """index: of the picture in its file, at 25 per second."""
        ...

    def check_end(self, index: int, *, whole: bool) -> None:
        """Called after the last picture, with the index that the next would have; `whole`: the file ended there."""
        ...

    def close(self) -> None: ...


MOUTH_PICTURE_PIXELS = 128  # a square picture up to this side is a mouth crop: "auto" looks for no face in it


def open_faces(
    info: SourceInfo,
    *,
    detector: str = "auto",
    landmarks: np.ndarray | str | os.PathLike | None = None,
    detect_every: int = 1,
    face: str = "auto",
    start_s: float = 0.0,
) -> FaceStream:
    """The stream for a file. Raises ConfigError, InputError and MissingDependencyError; see `read_mouth_clip`."""
    check_face(face)
    if landmarks is not None and detector in ("auto", "precomputed"):
        return PrecomputedFaces(info.path, load_landmarks(landmarks), first=info.lead_frames)
    if landmarks is not None:
        raise ConfigError("landmarks and a detector", found=f"detector={detector!r}", expected="'precomputed'")
    if detector == "precomputed":
        raise ConfigError("detector 'precomputed' without landmarks", fix="Give landmarks=, (T, 4, 2) or a .npy.")
    if detector == "centre" or (detector == "auto" and info.height == info.width <= MOUTH_PICTURE_PIXELS):
        return MouthsOnly()
    return DetectedFaces(info, choose_detector(detector), detect_every=detect_every, face=face)


def load_landmarks(landmarks: np.ndarray | str | os.PathLike) -> np.ndarray:
    """(T, 4, 2) float32. Raises MediaError for a file that cannot be read, InputError for another shape."""
    source = "landmarks"
    if isinstance(landmarks, (str, os.PathLike)):
        source = str(landmarks)
        try:
            landmarks = np.load(landmarks, allow_pickle=False)
        except (OSError, ValueError, EOFError, TokenError) as error:  # NumPy reads the header as Python
            raise MediaError(f"cannot read the landmarks {source} ({error})", fix="Compute them again.") from error
    landmarks = np.asarray(landmarks)
    if landmarks.ndim != 3 or landmarks.shape[1:] != (len(LANDMARKS), 2) or landmarks.dtype.kind not in "fiu":
        raise InputError(
            f"{source}: not landmarks",
            found=f"{landmarks.dtype} {landmarks.shape}",
            expected=f"(T, {len(LANDMARKS)}, 2) numbers: x, y of {', '.join(LANDMARKS)}",
        )
    return landmarks.astype(np.float32)


class MouthsOnly:
    """For clips that show a mouth and nothing else."""

    name, sees_mouths_only = "centre", True

    def look(self, picture: np.ndarray, index: int) -> Sighting:
        return Sighting(_NOWHERE)

    def check_end(self, index: int, *, whole: bool) -> None:
        pass

    def close(self) -> None:
        pass


class PrecomputedFaces:
    """Landmarks given for each picture of the file at 25 per second."""

    name, sees_mouths_only = "precomputed", False

    def __init__(self, path: str, landmarks: np.ndarray, *, first: int = 0):
        self._path, self._landmarks, self._first = path, landmarks, first  # index of the file's first picture

    def look(self, picture: np.ndarray, index: int) -> Sighting:
        index -= self._first
        if index >= len(self._landmarks):
            self._refuse(f"more than {index} pictures")
        points = self._landmarks[index]
        return Sighting(points, num_faces=int(np.isfinite(points).all()))

    def check_end(self, index: int, *, whole: bool) -> None:
        if whole and index - self._first != len(self._landmarks):
            self._refuse(f"{index - self._first} pictures")

    def _refuse(self, found: str) -> None:
        raise InputError(
            f"{self._path} and its landmarks differ in length",
            found=f"{found} at 25 per second",
            expected=f"{len(self._landmarks)}, as many as landmarks",
            fix="Compute the landmarks again, on pictures at 25 per second.",
        )

    def close(self) -> None:
        pass


class DetectedFaces:
    """A detector on each k-th picture, a tracker that stays with one face, optical flow between detections."""

    sees_mouths_only = False

    def __init__(self, info: SourceInfo, detector: str, *, detect_every: int, face: str):
        self._detector = open_detector(detector)
        self.name = self._detector.name
        self._every = detect_every
        self._tracker = FaceTracker(info.height, info.width, face=face)
        self._since = 0  # pictures since the last detection
        self._gray: np.ndarray | None = None  # the last picture, for optical flow
        self._num_faces = 0
        self._info, self._name = info, detector
        self._asks = face == "auto" and info.audio_codec is not None
        self._asked: int | None = None  # the track for which it was settled who speaks
        self._seen: tuple[np.ndarray, list[Face]] | None = None  # the last picture in which faces were looked for

    def look(self, picture: np.ndarray, index: int) -> Sighting:
        followed = self._follow(picture) if self._every > 1 else None
        if followed is not None:
            return Sighting(followed.points, num_faces=self._num_faces, track=self._tracker.track)
        faces = self._faces_in(picture)
        self._since, self._num_faces = 1, len(faces)
        face = self._tracker.follow(faces)
        if self._asks and face is not None and len(faces) > 1 and self._asked != self._tracker.track:
            face = self._who_speaks(face, faces, index)
        if face is None:
            return Sighting(_NOWHERE, num_faces=len(faces), track=self._tracker.track)
        return Sighting(face.points, face.opening, len(faces), self._tracker.track)

    def _faces_in(self, picture: np.ndarray) -> list[Face]:
        """A picture that stands still in the file is the same array again: it is looked at once."""
        if self._seen is None or self._seen[0] is not picture:
            self._seen = picture, self._detector.detect(picture)
        return self._seen[1]

    def _who_speaks(self, face: Face, faces: list[Face], index: int) -> Face:
        """The face to follow of several: the tracked one, unless the sound says another. Asked once for each track."""
        speaker = speaking_face(
            self._info.path, faces, start_s=index / VIDEO_RATE_HZ, detector=self._name, tracks=self._info.tracks
        )
        if speaker is not None and speaker is not face:
            face = self._tracker.switch_to(speaker)
        self._asked = self._tracker.track
        return face

    def _follow(self, picture: np.ndarray) -> Face | None:
        """The face of the last picture, moved along; None where it is time to detect, or flow is lost."""
        import cv2

        from espnet_vivit.media.faces.point_flow import flow_points

        last, self._gray = self._gray, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if last is None or self._since == 0 or self._since >= self._every or self._tracker.last is None:
            return None
        points = flow_points(last, self._gray, self._tracker.last)
        if points is None:
            return None
        self._since += 1
        return self._tracker.follow([Face(points)])

    def check_end(self, index: int, *, whole: bool) -> None:
        pass

    def close(self) -> None:
        self._detector.close()
