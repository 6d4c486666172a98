"""The people of `mini_av`: a name gives a face, a camera, a way of moving the lips and a voice, drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from espnet_vivit.base.random_state import rng_for
from espnet_vivit.corpora.mini_av.mouth import Look
from espnet_vivit.corpora.mini_av.speech import Voice

SEEN_SPEAKERS = tuple(f"m{number:02d}" for number in range(1, 11))
UNSEEN_SPEAKERS = tuple(f"m{number:02d}" for number in range(11, 16))
# Variants of espeak-ng, in the order of the speakers. None that breathes (f2, f3, f5, whisper): breath is drawn from a
# generator that espeak-ng seeds with the time of day.
_VARIANTS = (
    "m1",
    "f1",
    "m3",
    "linda",
    "m4",
    "f4",
    "m7",
    "Annie",
    "m8",
    "steph",
    "m2",
    "Andrea",
    "m6",
    "belinda",
    "Andy",
)


@dataclass(frozen=True)
class Speaker:
    name: str
    look: Look
    voice: Voice
    gain: dict[str, float]  # parameter of the mouth -> how far this speaker goes


def make_speaker(name: str, seed: int) -> Speaker:
    """The speaker of that name; another seed makes other faces, the voice variant stays with the name."""
    rng = rng_for(seed, "speaker", name)
    index = (SEEN_SPEAKERS + UNSEEN_SPEAKERS).index(name)
    skin = rng.uniform(95, 195)
    look = Look(
        skin=skin,
        lip=skin * rng.uniform(0.50, 0.68),
        teeth=float(np.clip(skin * rng.uniform(1.15, 1.35), 165, 235)),
        cavity=rng.uniform(18, 40),
        half_width=rng.uniform(0.245, 0.295),
        upper_lip=rng.uniform(0.042, 0.070),
        lower_lip=rng.uniform(0.060, 0.092),
        bow=rng.uniform(0.1, 0.45),
        droop=rng.uniform(-0.012, 0.02),
        light_side=rng.uniform(-1, 1),
        light_top=rng.uniform(-0.2, 0.8),
        texture=rng.uniform(1, 4),
        blur_px=rng.uniform(0.35, 0.75),
        noise=rng.uniform(2, 4.5),
    )
    voice = Voice(
        variant=_VARIANTS[index],
        rate_wpm=int(rng.integers(138, 159)),
        pitch=int(rng.integers(35, 66)),
        pitch_range=int(rng.integers(35, 66)),
    )
    gain = {"opening": rng.uniform(0.88, 1.14), "width": rng.uniform(0.85, 1.15), "rounding": rng.uniform(0.9, 1.1)}
    return Speaker(name, look, voice, gain)
