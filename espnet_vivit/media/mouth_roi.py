"""One picture and its smoothed landmarks in, one aligned mouth picture out, in a single warp.

The four points are laid on those of a mean face by a similarity (rotation, scale, shift; least squares), and the
square around the mouth is sampled from the source straight away, bilinear, edges repeated. The mean face, in a picture
of 256 x 256: eyes (101, 94) and (155, 94), nose base (128, 135), mouth (128, 158); a mouth is 40 to 50 pixels wide.

Similarity: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.errors import unknown_name

MOUTH_SIZE = 96  # pixels
COLORS = ("gray", "rgb")
MEAN_FACE = np.array([(101, 94), (155, 94), (128, 135), (128, 158)], np.float64)  # in the order of LANDMARKS
_MOUTH = 3


def crop_mouth(picture: np.ndarray, points: np.ndarray, *, size: int = MOUTH_SIZE) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 and (4, 2) smoothed points -> (size, size) or (size, size, 3) uint8.

    `size` other than 96 shows the same part of the face at another resolution.
    """
    import cv2

    return cv2.warpAffine(
        picture,
        mouth_transform(points, size=size),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def mouth_transform(points: np.ndarray, *, size: int = MOUTH_SIZE) -> np.ndarray:
    """(2, 3) float64: source pixels to pixels of the crop, the mouth in its middle."""
    points = np.asarray(points, np.float64)
    centred, target = points - points.mean(axis=0), MEAN_FACE - MEAN_FACE.mean(axis=0)
    power = (centred**2).sum()
    cosine = (centred * target).sum() / power
    sine = (centred[:, 0] * target[:, 1] - centred[:, 1] * target[:, 0]).sum() / power
    turn = np.array([[cosine, -sine], [sine, cosine]]) * size / MOUTH_SIZE
    shift = size / 2 - turn @ points[_MOUTH]
    return np.column_stack([turn, shift])


def centre_crop(picture: np.ndarray, *, size: int = MOUTH_SIZE) -> np.ndarray:
    """The largest square in the middle of a picture that shows a mouth alone, brought to `size`."""
    import cv2

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def check_color(color: str) -> None:
    """Raise ConfigError for anything but "gray" and "rgb"."""
    if color not in COLORS:
        raise unknown_name("color", color, COLORS)


def in_color(picture: np.ndarray, color: str) -> np.ndarray:
    """(H, W, 3) RGB as "gray" (H, W), by ITU-R BT.601's weights, or as it is."""
    import cv2

    return picture if color == "rgb" else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
