"""A drawn mouth that talks, as a mouth clip: lips that open with the loudness of a noise, a chin that follows them."""

from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

SIZE = 96
FACE = np.array([[101, 94], [155, 94], [128, 135], [128, 158]], np.float32)  # eyes, nose base, mouth in the source


@dataclass(frozen=True)
class Clip:
    """The fields of media/mouth_clip.py that quality is judged by."""

    frames: np.ndarray
    speech: np.ndarray | None
    landmarks: np.ndarray
    num_faces: np.ndarray
    mouth_opening: np.ndarray
    source_change: np.ndarray
    detector: str = "precomputed"
    start_s: float = 0.0
    source: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            rate_hz=25.0,
            height=288,
            width=360,
            codec="mpeg1video",
            rotation=0,
            reflected=False,
            transfer="",
            remarks=(),
            num_source_frames=100,
            broken_packets=0,
            audio_codec="mp2",
            audio_rate_hz=44_100,
        )
    )


@lru_cache(maxsize=32)
def talking(seconds: float = 4.0, *, seed: int = 0, lag: int = 0, with_opening: bool = False) -> Clip:
    """A clip without faults; with `lag`, its sound comes that many pictures late."""
    rng = np.random.default_rng(seed)
    pictures = round(25 * seconds)
    drive = gaussian_filter1d(rng.standard_normal(pictures + 80), 1.6)[40:-40]  # syllables of some 0.2 s
    opening = np.clip(drive / drive.std(), 0, 2)  # (T,)
    frames = np.stack([draw(value, rng) for value in opening])
    heard = np.roll(opening, lag)
    loudness = np.interp(np.arange(pictures * 640) / 640 - 0.5, np.arange(pictures), heard)
    tone = np.sin(2 * np.pi * 180 * np.arange(len(loudness)) / 16_000)
    speech = loudness * (0.1 * tone + 0.03 * rng.standard_normal(len(loudness)))
    speech += 0.0005 * rng.standard_normal(len(loudness))
    landmarks = np.repeat(FACE[None], pictures, axis=0) + rng.normal(0, 0.3, (pictures, 4, 2)).astype(np.float32)
    unknown = np.full(pictures, np.nan, np.float32)
    return Clip(
        frames,
        np.clip(speech, -1, 1).astype(np.float32),
        landmarks.astype(np.float32),
        np.ones(pictures, np.int16),
        opening.astype(np.float32) if with_opening else unknown,
        unknown,
    )


def draw(opening: float, rng: np.random.Generator) -> np.ndarray:
    """(96, 96) uint8: skin with pores and a nose's shadow, lips, the dark between them, a chin that sinks with them."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    gap = 3.0 * opening
    chin = 78 + 1.5 * gap
    skin = 170 - 0.25 * np.abs(x - 48) ** 1.3 - 50 * np.exp(-(((y - chin) / 4) ** 2))
    skin -= 60 * np.exp(-(((np.abs(x - 48) - 9) / 3) ** 2) - ((y - 20) / 3) ** 2)  # nostrils
    middle = 48 + gap / 2
    lips = ((x - 48) / 24) ** 2 + ((y - middle) / (7 + gap)) ** 2 < 1
    hole = ((x - 48) / 20) ** 2 + ((y - middle) / (0.8 + gap)) ** 2 < 1
    picture = np.where(hole, 40, np.where(lips, 110, skin)) + _PORES
    return np.clip(np.rint(gaussian_filter(picture, 0.6) + rng.normal(0, 0.7, picture.shape)), 0, 255).astype(np.uint8)


_PORES = np.random.default_rng(99).normal(0, 9, (SIZE, SIZE))
