"""Who of several people speaks: the one whose mouth moves with the sound.

In: a file. Out: the box of that face at the beginning, from which a tracker goes on. Each face of the first seconds is
followed; the pictures around its mouth are compared from one to the next, and this movement is correlated with the
rise and fall of the sound's energy, both at 25 per second and with the best shift of up to 160 ms either way.
"""

from __future__ import annotations

import os

import numpy as np

from espnet_vivit.errors import ConfigError
from espnet_vivit.media.detectors import Face, FaceDetector, make_detector
from espnet_vivit.media.mouth_roi import crop_mouth, in_color
from espnet_vivit.media.source import open_source, read_speech
from espnet_vivit.media.tracking import overlap
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ

LISTEN_S = 8.0  # how much of the file decides
_SHIFTS = range(-4, 5)  # frames
_SAME_FACE = 0.3  # intersection over union
_MOUTH_PIXELS = 32


def find_speaker(
    path: str | os.PathLike, detector: str | FaceDetector, *, start_s: float = 0.0
) -> tuple[float, float, float, float] | None:
    """(x, y, width, height) of the speaker's face where it is first seen; None if there is no face.

    Raises ConfigError for a file without sound; MediaError.
    """
    end_s = start_s + LISTEN_S
    speech = read_speech(path, start_s=start_s, end_s=end_s)
    if speech is None:
        raise ConfigError(f"face: speaking needs sound, and {path} has none", fix="Use face: auto, left or right.")
    tracks: list[_Track] = []
    with open_source(path) as source:
        finder = detector
        if isinstance(detector, str):
            finder = make_detector(detector, source.info.height, source.info.width)
        if finder is None:
            raise ConfigError("face: speaking needs a detector", found="detector centre")
        for number, picture in enumerate(source.pictures(start_s=start_s, end_s=end_s)):
            gray = in_color(picture, "gray")
            for face in finder(picture, None):
                _track_of(face, tracks).add(number, face, gray)
    energy = _energy(speech)
    return max(tracks, key=lambda track: track.agreement(energy)).first_box if tracks else None


class _Track:
    """One face through time, and how much its mouth moves."""

    def __init__(self, face: Face):
        self.first_box = self.box = face.box
        self._movement: dict[int, float] = {}
        self._mouth: np.ndarray | None = None
        self._points = face.points.astype(np.float64)

    def add(self, number: int, face: Face, gray: np.ndarray) -> None:
        self.box = face.box
        self._points += 0.2 * (face.points - self._points)  # steadier than the detector's box
        mouth = crop_mouth(gray, self._points, size=_MOUTH_PIXELS).astype(np.float32)
        if self._mouth is not None:
            self._movement[number] = float(np.abs(mouth - self._mouth).mean())
        self._mouth = mouth

    def agreement(self, energy: np.ndarray) -> float:
        """The best correlation of movement and energy over all shifts; -1 for a face too short to tell."""
        frames = np.array([n for n in self._movement if 4 <= n < len(energy) - 4], dtype=int)
        if len(frames) < VIDEO_RATE_HZ:
            return -1.0
        movement = np.array([self._movement[n] for n in frames])
        return max(_correlation(movement, energy[frames + shift]) for shift in _SHIFTS)


def _track_of(face: Face, tracks: list[_Track]) -> _Track:
    nearest = max(tracks, key=lambda track: overlap(track.box, face.box), default=None)
    if nearest is None or overlap(nearest.box, face.box) < _SAME_FACE:
        nearest = _Track(face)
        tracks.append(nearest)
    return nearest


def _energy(speech: np.ndarray) -> np.ndarray:
    """(T,) energy per video frame in dB above the faintest hundred-thousandth of full scale."""
    frames = speech[: len(speech) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    return 10 * np.log10((frames.astype(np.float64) ** 2).mean(axis=1) + 1e-10)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size else 0.0
