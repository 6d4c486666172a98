"""What is wrong with the sound of a clip: absent, silent, faint, clipped, shorter or longer than the pictures."""

from __future__ import annotations

import numpy as np

from espnet_vivit.media.quality.sound import levels
from espnet_vivit.units import SAMPLES_PER_FRAME, seconds_of_frames, seconds_of_samples

NAMES = ("sound_s", "level_db", "clipped")
LOUDEST = 0.1  # share of the clip's 40-ms blocks, the loudest ones, whose level counts: pauses say nothing
FULL_SCALE = 0.985  # of 1: resampling rounds what was cut off flat


def measure_sound(speech: np.ndarray | None, pictures: int) -> dict[str, float]:
    """The clip's numbers, named as in MEASURES of media/quality.py; NaN without sound. speech: (N,) float at 16 kHz."""
    measures: dict[str, float] = dict.fromkeys((*NAMES, "sound_minus_pictures_s"), float("nan"))
    if speech is None or len(speech) == 0:
        return measures
    seconds = seconds_of_samples(len(speech))
    blocks = np.sort(levels(speech, max(1, len(speech) // SAMPLES_PER_FRAME)))
    loud = blocks[-max(1, round(LOUDEST * len(blocks))) :]
    return {
        "sound_s": seconds,
        "level_db": float(loud.mean()),
        "clipped": 100 * float((np.abs(speech) >= FULL_SCALE).mean()),
        "sound_minus_pictures_s": seconds - seconds_of_frames(pictures),
    }
