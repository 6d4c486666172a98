"""SEVERAL FACES + SOUND → WHO SPEAKS: the one whose mouth moves with the sound.

From the first picture with several faces, up to SPAN_S seconds are looked at: each face is followed, its mouth's motion
(mean change of gray levels in the crop) is correlated with the level of the sound, the better of shifts up to ±2
pictures. One face must be ahead of all others by MARGIN; otherwise nobody is named.
"""

from __future__ import annotations

import os

import numpy as np

from espnet_vivit.media.faces.detectors import open_detector
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.faces.mouth_roi import crop_mouth
from espnet_vivit.media.faces.tracking import same_face
from espnet_vivit.media.files.source import open_source, read_speech
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.units import SAMPLES_PER_FRAME

SPAN_S = 4.0
MARGIN = 0.1
_LEAST = 0.2  # correlation; chance reaches 0.2 in four seconds
_SHORTEST = 25  # pictures
_STEADY = 0.8  # share of the last position in the new one: a detector's jitter is no motion of the mouth
_SHIFT = 2


def speaking_face(
    path: str | os.PathLike, faces: list[Face], *, start_s: float, detector: str, tracks: Tracks = AS_PLAYERS
) -> Face | None:
    """That of `faces` (seen at `start_s`) whose mouth moves with the sound; None where it cannot be told."""
    speech = read_speech(path, start_s=start_s, end_s=start_s + SPAN_S, tracks=tracks)
    if speech is None:
        return None
    motions = mouth_motions(path, faces, start_s=start_s, detector=detector, tracks=tracks)  # (faces, T)
    frames = min(motions.shape[1], len(speech) // SAMPLES_PER_FRAME)
    if frames < _SHORTEST:
        return None
    power = np.square(speech[: frames * SAMPLES_PER_FRAME]).reshape(frames, -1).mean(axis=1)
    level = _smooth(10 * np.log10(power + 1e-6))
    scores = np.array([_agreement(_smooth(motion[:frames]), level) for motion in motions])
    first, second = np.argsort(scores)[::-1][:2]
    return faces[first] if scores[first] >= max(_LEAST, scores[second] + MARGIN) else None


def mouth_motions(
    path: str | os.PathLike, faces: list[Face], *, start_s: float, detector: str, tracks: Tracks = AS_PLAYERS
) -> np.ndarray:
    """(faces, T) float64: mean change of each mouth's crop since the picture before, in gray levels; 0 where unseen."""
    last, points = list(faces), [face.points.astype(np.float64) for face in faces]
    crops: list[np.ndarray | None] = [None] * len(faces)
    motions = []
    looking = open_detector(detector)
    try:
        with open_source(path, tracks=tracks) as source:
            for picture in source.frames(start_s=start_s, end_s=start_s + SPAN_S):
                seen = looking.detect(picture)
                moved = []
                for index, face in enumerate(last):
                    found = same_face(seen, face)
                    before = crops[index]
                    if found is not None:
                        last[index] = found
                        points[index] = _STEADY * points[index] + (1 - _STEADY) * found.points
                    crops[index] = crop_mouth(picture, points[index], size=48)[12:36, 8:40].astype(np.float64)
                    moved.append(0.0 if before is None else np.abs(crops[index] - before).mean())
                motions.append(moved)
    finally:
        looking.close()
    return np.array(motions).T


def _agreement(motion: np.ndarray, level: np.ndarray) -> float:
    """The largest correlation over shifts of the sound by up to ±2 pictures; 0 where one of the two stands still."""
    best = 0.0
    for shift in range(-_SHIFT, _SHIFT + 1):
        one = motion[max(0, -shift) : len(motion) - max(0, shift)]
        other = level[max(0, shift) : len(level) - max(0, -shift)]
        if one.std() > 1e-6 and other.std() > 1e-6:
            best = max(best, float(np.corrcoef(one, other)[0, 1]))
    return best


def _smooth(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.full(5, 0.2), mode="same")
