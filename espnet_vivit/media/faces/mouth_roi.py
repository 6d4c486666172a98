"""LANDMARKS → MOUTH ROI: turned, scaled and cut out in one warp, so that pixels are interpolated once.

The least-squares similarity (rotation, scale, shift; Umeyama 1991, in closed form for the plane) takes the four points
to REFERENCE, the mean face of 256×256 that lip-reading corpora use; the crop lies around the *own* mouth point of each
picture, warped, not around the reference's. Interpolation is bilinear, beyond the picture its edge is repeated; gray is
made after the warp, from RGB, with ITU-R 601 weights (OpenCV's RGB2GRAY). On GRID's twelve lossless reference crops,
which were grayed before the warp, this differs by 0.12 gray levels on average.
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.errors import InputError, unknown_name
from espnet_vivit.units import MOUTH_SIZE

REFERENCE = np.array([(101, 94), (155, 94), (128, 135), (128, 158)], np.float64)  # LANDMARKS in a face of 256×256
REFERENCE_SIZE = 256
COLORS = {"gray": "(T, H, W)", "rgb": "(T, H, W, 3)"}


def check_color(color: str) -> str:
    if color not in COLORS:
        raise unknown_name("color", color, COLORS)
    return color


def similarity(points: np.ndarray, reference: np.ndarray = REFERENCE) -> np.ndarray:
    """(2, 3) float64: the similarity that takes (N, 2) points nearest to the reference's, in least squares."""
    # the plane as complex numbers; plain Python is quicker than NumPy for four of them
    source, target = ([complex(x, y) for x, y in corners.tolist()] for corners in (points, reference))
    middle, target_middle = sum(source) / len(source), sum(target) / len(target)
    centred = [point - middle for point in source]
    spread = sum(abs(point) ** 2 for point in centred)
    agreement = sum(point.conjugate() * goal for point, goal in zip(centred, target, strict=True))
    turn = agreement / spread if spread > 0 else 1.0 + 0j
    shift = target_middle - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop_matrix(points: np.ndarray, size: int = MOUTH_SIZE) -> np.ndarray:
    """(2, 3) float64: from pixels of the picture to those of the crop, whose pixel (size/2, size/2) is the mouth."""
    matrix = similarity(points) * (size / MOUTH_SIZE)
    matrix[:, 2] = size / 2 - matrix[:, :2] @ points[3]
    return matrix


def crop_mouth(picture: np.ndarray, points: np.ndarray, *, size: int = MOUTH_SIZE, color: str = "gray") -> np.ndarray:
    """(size, size) uint8 gray, or (size, size, 3) RGB, from an RGB picture and its (4, 2) smoothed points."""
    import cv2  # late: OpenCV is an extra

    matrix = crop_matrix(points, size)
    crop = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if color == "gray" else crop


def center_points(height: int, width: int) -> np.ndarray:
    """(4, 2) float64 points where no face is known: the mouth in the middle, the face as high as the picture."""
    scale = min(height, width) / REFERENCE_SIZE
    return (REFERENCE - REFERENCE[3]) * scale + [width / 2, height / 2]


def crop_center(picture: np.ndarray, *, size: int = MOUTH_SIZE, color: str = "gray") -> np.ndarray:
    """The largest square in the middle of a picture that is a mouth already, resized to (size, size)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = picture[top : top + side, left : left + side]
    if side != size or color == "gray":
        import cv2

        if side != size:
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
        if color == "gray":
            crop = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(crop)


def middle(video: np.ndarray, view: int) -> np.ndarray:
    """The `view` x `view` pixels in the middle of (T, H, W), as a view. Raises InputError if there are fewer."""
    _, height, width = video.shape
    if view > min(height, width):
        raise InputError("a clip that is too small", found=f"{height} x {width} pixels", expected=f"{view} or more")
    top, left = (height - view) // 2, (width - view) // 2
    return video[:, top : top + view, left : left + view]


def shrink(video: np.ndarray, size: int) -> np.ndarray:
    """(T, S, S) uint8 -> (T, size, size) uint8: each new pixel is the mean over the area that it covers."""
    sums = _area_weights(video.shape[1], size)  # (size, S)
    shrunk = sums @ video.astype(np.float32) @ sums.T
    return np.rint(shrunk).astype(np.uint8)


def _area_weights(old: int, new: int) -> np.ndarray:
    """(new, old) float32: the share of each old pixel in each new one; rows sum to 1."""
    edges = np.linspace(0, old, new + 1)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)  # (new, old)
    return (np.clip(overlap, 0, None) * new / old).astype(np.float32)
