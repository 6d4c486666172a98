"""What is wrong with the pictures of a mouth clip: black, gray, foreign and frozen ones; blur; a mouth out of place.

In: (T, H, W) uint8 mouth crops at 25 per second. Out: a verdict on each picture, and numbers on the clip.

Decoders hand out garbage without a word: a file whose first group of pictures is broken starts with gray pictures that
fill with fragments. Such a picture has next to no contrast, or does not resemble the clip's typical picture (their
correlation; on 817 good mouth crops of GRID it is never below 0.76, on garbage never above 0.3). Where the mouth is,
and which way up, is told by what moves: most at the lips, and below them (jaw, chin) more than above (nose, cheeks).
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.units import VIDEO_RATE_HZ

GOOD, BLACK, FLAT, FOREIGN, FROZEN = range(5)  # what `judge_pictures` says of each picture

BLACK_LEVEL = 20  # gray levels of 255: a picture below it on average, and without contrast, is black
FLAT_SHARE = 0.35  # of the contrast (standard deviation) that the clip's better pictures have; garbage has up to 0.25
FLAT_CONTRAST = (3, 10)  # gray levels between which that bound is kept; good GRID crops have 20 and more
FOREIGN_CORRELATION = 0.4  # with the clip's median picture
FROZEN_CHANGE = 0.009  # mean change from a picture to the next against the contrast; an encoded still is below
FROZEN_S = 0.2  # a mouth at rest stands still for a few pictures; that alone is no fault
_MOTION_BLUR = 10 / 96  # width of the smoothing of the motion's map, as a share of the picture's side
_NEAR, _FAR = 8 / 96, 30 / 96  # rows that far above and below the lips are compared, as a share of the height


def as_gray(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 from (T, H, W) or (T, H, W, 3) RGB uint8, by the luma weights of BT.601."""
    if frames.ndim == 3:
        return frames
    return np.rint(frames @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)


def judge_pictures(gray: np.ndarray, change: np.ndarray | None = None) -> np.ndarray:
    """(T,) int8: GOOD, BLACK, FLAT, FOREIGN (unlike the clip's typical picture) or FROZEN, for (T, H, W) uint8.

    change: (T,) how much each picture of the source differs from the one before (media/source_change.py). The crops of
    a frozen source still move a little where a detector's points tremble; without `change`, or where it is NaN all over
    (clips that are mouths already), theirs is taken.
    """
    pictures = gray.reshape(len(gray), -1).astype(np.float32)
    mean, contrast = pictures.mean(axis=1), pictures.std(axis=1)
    usual = float(np.percentile(contrast, 90))
    shown = contrast >= np.clip(FLAT_SHARE * usual, *FLAT_CONTRAST)
    verdicts = np.full(len(gray), GOOD, np.int8)
    change = measure_change(gray) if change is None or np.isnan(change).all() else change[1:]
    for first, last in runs(change < FROZEN_CHANGE):
        if (last - first) / VIDEO_RATE_HZ >= FROZEN_S:
            verdicts[first + 1 : last + 1] = FROZEN  # the first of equal pictures is no repetition
    verdicts[_resemblance(pictures, mean, contrast, shown) < FOREIGN_CORRELATION] = FOREIGN
    verdicts[~shown] = FLAT
    verdicts[(mean < BLACK_LEVEL) & ~shown] = BLACK
    return verdicts


def measure_change(gray: np.ndarray) -> np.ndarray:
    """(T - 1,) mean difference of each of (T, H, W) pictures from the one before, against the clip's contrast."""
    pictures = gray.reshape(len(gray), -1).astype(np.float32)
    usual = max(float(np.percentile(pictures.std(axis=1), 90)), 1e-3)
    return np.abs(np.diff(pictures, axis=0)).mean(axis=1) / usual


def _resemblance(pictures: np.ndarray, mean: np.ndarray, contrast: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(T,) correlation of each of (T, H * W) pictures with the median of those that are `shown`."""
    if not shown.any():
        return np.zeros(len(pictures))
    typical = np.median(pictures[shown], axis=0)
    typical = (typical - typical.mean()) / max(float(typical.std()), 1e-3)
    return (pictures - mean[:, None]) @ typical / (typical.size * np.maximum(contrast, 1e-3))


def runs(marks: np.ndarray) -> list[tuple[int, int]]:
    """(first, one past the last) of each unbroken stretch of true marks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def longest_run_s(marks: np.ndarray) -> float:
    """Seconds of the longest unbroken stretch of true marks, one for each picture."""
    return max((last - first for first, last in runs(marks)), default=0) / VIDEO_RATE_HZ


def measure_pictures(gray: np.ndarray, verdicts: np.ndarray) -> dict[str, float]:
    """The clip's numbers, named as in MEASURES of verdict.py; NaN where no good picture is left to judge by."""
    shown = gray[np.isin(verdicts, (GOOD, FROZEN))].astype(np.float32)
    measures = {
        "black_pictures": int(np.sum(verdicts == BLACK)),
        "gray_pictures": int(np.sum(verdicts == FLAT)),
        "foreign_pictures": int(np.sum(verdicts == FOREIGN)),
        "frozen_s": longest_run_s(verdicts == FROZEN),
        **dict.fromkeys(("brightness", "contrast", "sharpness"), float("nan")),
        **measure_motion(gray[verdicts == GOOD]),
    }
    if len(shown):
        contrast = float(np.median(shown.std(axis=(1, 2))))
        measures["brightness"] = float(np.median(shown.mean(axis=(1, 2))))
        measures["contrast"] = contrast
        measures["sharpness"] = measure_sharpness(shown) / max(contrast, 1e-3)
    return measures


def measure_sharpness(pictures: np.ndarray) -> float:
    """Standard deviation of the Laplacian of (T, H, W) float pictures in gray levels, without what is only noise.

    Noise is new in each picture: half of what the difference of two has of it is taken off (in a typical pair, so that
    lips which move in some do not count).
    """
    edges = _laplacian(pictures)
    variance = float(np.median(edges.var(axis=(1, 2))))
    noise = float(np.median(np.diff(edges, axis=0).var(axis=(1, 2)))) / 2 if len(edges) > 1 else 0.0
    return float(np.sqrt(max(0.0, variance - noise)))


def _laplacian(pictures: np.ndarray) -> np.ndarray:
    """(T, H - 2, W - 2): each pixel's distance from its four neighbours' mean, times four."""
    centre = pictures[:, 1:-1, 1:-1]
    sides = pictures[:, :-2, 1:-1] + pictures[:, 2:, 1:-1] + pictures[:, 1:-1, :-2] + pictures[:, 1:-1, 2:]
    return 4 * centre - sides


def measure_motion(gray: np.ndarray) -> dict[str, float]:
    """Where in the picture it moves most, and whether below that more than above; NaN for a clip without motion.

    `mouth_off_centre`: distance of that place from the crop's centre, in percent of its side. `motion_below`: log of
    the motion below over that above; 817 upright GRID crops have -0.48 .. 2.7 (median 1.3), upside down the negative.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d  # late: loading it takes longer than most clips

    nothing = {"mouth_off_centre": float("nan"), "motion_below": float("nan")}
    if len(gray) < 10:
        return nothing
    height, width = gray.shape[1:]
    smooth = gaussian_filter(gray.astype(np.float32), (0, 1.5 * height / 96, 1.5 * width / 96))
    change = np.diff(smooth, axis=0)  # to the next picture: lips are quicker than heads
    change -= np.median(change, axis=(1, 2), keepdims=True)  # light that flickers is not motion
    motion = np.sqrt((change**2).mean(axis=0))  # (H, W) gray levels
    if motion.max() < 0.5:
        return nothing
    blurred = gaussian_filter(motion, _MOTION_BLUR * height, mode="constant")  # a collar at the edge counts less
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    distance = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)

    above_rest = np.maximum(0, motion - np.median(motion))
    rows = above_rest[:, width // 4 : width * 3 // 4].mean(axis=1)  # (H,)
    profile = gaussian_filter1d(rows, 4 * height / 96)
    third = height // 3
    lips = third + int(profile[third : height - third].argmax())
    near, far = round(_NEAR * height), round(_FAR * height)
    below, above = rows[lips + near : lips + far].mean(), rows[max(0, lips - far) : lips - near].mean()
    return {
        "mouth_off_centre": float(100 * distance),
        "motion_below": float(np.log((below + 0.01) / (above + 0.01))),
    }
