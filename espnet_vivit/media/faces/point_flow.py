"""Points of a face followed from one picture to the next by optical flow (Lucas & Kanade 1981, pyramids, OpenCV's).

The flow of a grid over the face is taken, there and back; the points move with the similarity that most of the grid
agrees on (RANSAC), so a blink or the lips' own motion does not carry them away.
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.media.faces.detectors.face import Face

_GRID = 6  # points a side
_SCALE_SIZE = 40  # pixels from eyes to mouth to which larger faces are reduced
_LEAST = 12  # of 36 points that agree
_BACK = 1.0  # pixels by which a point may miss its origin on the way back


def flow_points(last: np.ndarray, gray: np.ndarray, face: Face) -> np.ndarray | None:
    """(4, 2) float32 points in `gray` of the face seen in `last`, both (H, W) uint8; None where flow does not agree."""
    import cv2

    scale = min(1.0, _SCALE_SIZE / max(face.size, 1e-3))
    low, high = face.points.min(axis=0) - face.size, face.points.max(axis=0) + face.size
    left, top = np.maximum(0, low).astype(int)
    right, bottom = np.maximum(0, high).astype(int)
    before, after = last[top:bottom, left:right], gray[top:bottom, left:right]
    if min(before.shape) < 16:
        return None
    if scale < 1:
        before, after = (
            cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for one in (before, after)
        )
    corner = np.array([left, top], np.float32)
    inside = (face.points - corner) * scale
    near, far = inside.min(axis=0), inside.max(axis=0)
    grid = np.stack(np.meshgrid(*np.linspace(near, far, _GRID).T), axis=-1).reshape(-1, 1, 2).astype(np.float32)
    moved, found = _follow(before, after, grid)
    back, found_back = _follow(after, before, moved)
    good = (found & found_back).ravel().astype(bool) & (np.linalg.norm(back - grid, axis=2).ravel() < _BACK)
    if good.sum() < _LEAST:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(grid[good], moved[good], ransacReprojThreshold=1.0)
    if matrix is None or agree.sum() < _LEAST:
        return None
    return ((inside @ matrix[:, :2].T + matrix[:, 2]) / scale + corner).astype(np.float32)


def _follow(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where (N, 1, 2) float32 points are in the other picture, and whether each was found, (N, 1) uint8."""
    import cv2

    nowhere: np.ndarray = None  # pyright: ignore[reportAssignmentType]  OpenCV takes it, its stubs do not
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, nowhere, winSize=(15, 15), maxLevel=2)
    return moved, found
