"""How much goes on in each video frame: 0 silence and a still mouth, 1 the loudest and the most moved.

In: mouth pictures (T, H, W) uint8 and/or samples (640 T,). Out: (T,) float32. Levels are taken relative to the stretch
that is looked at, so that neither the recording's gain nor its noise matters; what differs too little to tell speech
from silence counts as going on all the time.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

from espnet_vivit.units import SAMPLES_PER_FRAME

SMOOTHED_FRAMES = 5  # 0.2 s: shorter than a pause between sentences, longer than a stop consonant
SHOT_CHANGE = 20.0  # mean change in gray levels within 40 ms; a mouth in one shot of GRID changes by 8 at most
_LEVELS = (5, 95)  # percentiles that stand for silence and for speech
_LEAST_SOUND_DB, _LEAST_MOTION = 12.0, 1.5  # between them: decibels; gray levels per frame


def sound_level_db(speech: np.ndarray) -> np.ndarray:
    """(T,) float32: root mean square of each frame's 640 samples, in decibels of full scale."""
    frames = len(speech) // SAMPLES_PER_FRAME
    power = np.square(speech[: frames * SAMPLES_PER_FRAME], dtype=np.float32).reshape(frames, -1).mean(axis=1)
    return 10 * np.log10(power + 1e-10)


def mouth_motion(frames: np.ndarray) -> np.ndarray:
    """(T,) float32: mean change of the middle of the picture since the frame before, in gray levels; the first is 0.

    Where the picture changes altogether, that is no motion: the frame has the motion of the calmer neighbour.
    """
    height, width = frames.shape[1:3]
    middle = frames[:, height // 5 : height - height // 5 : 2, width // 5 : width - width // 5 : 2].astype(np.int16)
    change = np.abs(np.diff(middle, axis=0, prepend=middle[:1]))
    motion = change.mean(axis=tuple(range(1, change.ndim)), dtype=np.float32)
    for index in shot_changes(frames):
        motion[index] = min(motion[index - 1], motion[index + 1] if index + 1 < len(motion) else np.inf)
    return motion


def shot_changes(frames: np.ndarray) -> list[int]:
    """The frames that differ altogether from the one before: another shot, another face, a decoder's garbage."""
    pixels = frames[:, ::4, ::4].astype(np.int16)
    change = np.abs(np.diff(pixels, axis=0)).mean(axis=tuple(range(1, pixels.ndim)))
    usual = np.median(change) if len(change) else 0.0
    return [int(index) + 1 for index in np.flatnonzero(change > max(SHOT_CHANGE, 3 * usual))]


def activity(frames: np.ndarray | None, speech: np.ndarray | None) -> np.ndarray:
    """(T,) float32 in 0..1, smoothed: the mean over the streams that are given, cut to the shorter one."""
    motion = None if frames is None else mouth_motion(frames)
    return activity_of(motion, None if speech is None else sound_level_db(speech))


def activity_of(motion: np.ndarray | None, level_db: np.ndarray | None) -> np.ndarray:
    """`activity`, from what `mouth_motion` and `sound_level_db` measured."""
    parts = []
    if motion is not None:
        parts.append(_relative(motion, _LEAST_MOTION))
    if level_db is not None:
        parts.append(_relative(level_db, _LEAST_SOUND_DB))
    shortest = min(map(len, parts))
    return np.asarray(np.mean([part[:shortest] for part in parts], axis=0, dtype=np.float32))


def _relative(level: np.ndarray, least: float) -> np.ndarray:
    smooth = uniform_filter1d(level, SMOOTHED_FRAMES, mode="nearest")
    low, high = np.percentile(smooth, _LEVELS)
    if high - low < least:
        return np.ones_like(smooth)
    return np.clip((smooth - low) / (high - low), 0, 1)
