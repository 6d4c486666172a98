"""The middle of a mouth crop, shrunk: a small model sees the lips at more pixels for the same work."""

from __future__ import annotations

import numpy as np

from espnet_vivit.errors import InputError


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
