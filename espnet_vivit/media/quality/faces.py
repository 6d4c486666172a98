"""What is wrong with the faces of a clip: missing, too small, tilted, jumping, more than one. From landmarks alone.

In: (T, 4, 2) pixels of right eye, left eye, nose base, mouth (x to the right, y down; NaN rows where no face was
found), and how many faces each picture has. "Right" is the speaker's, so it lies left in the picture.
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.media.quality.pictures import longest_run_s

RIGHT_EYE, LEFT_EYE, NOSE_BASE, MOUTH = range(4)
NAMES = ("faces_found", "longest_gap_s", "several_faces", "eye_distance_px", "tilt_deg", "face_jump")


def found_faces(landmarks: np.ndarray) -> np.ndarray:
    """(T,) bool: whether a face was found."""
    return np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))


def measure_faces(landmarks: np.ndarray, num_faces: np.ndarray) -> dict[str, float]:
    """The clip's numbers, named as in MEASURES of verdict.py; NaN for what takes a face where none is found."""
    found = found_faces(landmarks)
    measures: dict[str, float] = dict.fromkeys(NAMES, float("nan"))
    measures |= {
        "faces_found": 100 * float(found.mean()),
        "longest_gap_s": longest_run_s(~found),
        "several_faces": 100 * float((num_faces > 1).mean()),
    }
    if found.any():
        points = landmarks[found].astype(np.float64)
        eyes = points[:, LEFT_EYE] - points[:, RIGHT_EYE]
        eye_distance = float(np.median(np.linalg.norm(eyes, axis=1)))
        measures["eye_distance_px"] = eye_distance
        measures["tilt_deg"] = tilt_deg(points)
        centres = landmarks.mean(axis=1)  # (T, 2), NaN where no face was found: no jump is measured across a gap
        moves = np.linalg.norm(np.diff(centres, axis=0), axis=1)
        if np.isfinite(moves).any():
            measures["face_jump"] = float(np.nanmax(moves) / max(eye_distance, 1e-3))
    return measures


def tilt_deg(points: np.ndarray) -> float:
    """Degrees by which the face is turned in the picture plane, 0 upright, 180 upside down, from (T, 4, 2) pixels."""
    down = points[:, MOUTH] - (points[:, RIGHT_EYE] + points[:, LEFT_EYE]) / 2
    x, y = np.median(down, axis=0)
    return abs(float(np.degrees(np.arctan2(x, y))))
