"""The sound of a clip: absent, silent, faint, clipped, shorter than the pictures, or out of step with the mouth.

The offset from the mouth is the shift in time at which the two tell most about each other. In: (T, H, W) gray mouth
crops at 25 per second (or lip openings), speech at 16 kHz. Out: the offset in pictures, and how sure that is. Nothing
is trained. For every shift up to ±0.48 s, three correlations are taken: between the mouth's shapes (6 principal
components) and the sound's spectrum (5 bands), by canonical correlation; between the speeds at which the two change;
and between the mouth's speed and the loudness. With r for each, -½ log(1 - r²) is what two Gaussian signals tell about
each other, in nats per picture; the sum of the three is the evidence for a shift.

Canonical correlation for this purpose: Slaney and Covell, "FaceSync", NIPS 2000. Ours adds the speeds and the loudness.
On GRID's 3-s clips the evidence is highest within ±80 ms of the truth for 94 % of 817; see LIMITS in verdict.py
for what is asked before it is believed.
"""

from __future__ import annotations

import numpy as np

from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames, seconds_of_samples

MAX_SHIFT = 12  # pictures: 0.48 s; offsets beyond are another clip's sound
IN_STEP = 2  # pictures: shifts up to ±80 ms are not told apart by such short clips
MIN_PICTURES = 50  # 2 s: below, chance correlates as well as speech
BANDS_HZ = ((80, 500), (500, 1200), (1200, 2500), (2500, 4000), (4000, 7500))  # as vowels and fricatives divide it
SHAPES = 6  # principal components of the mouth
_WINDOW = 2 * SAMPLES_PER_FRAME
_RIDGE = 0.02  # directions with less than a seventh of the strongest are played down
_FLOOR = 1e-6  # power at which sound counts as silence: -60 dB


def measure_offset(gray: np.ndarray, speech: np.ndarray, opening: np.ndarray | None = None) -> dict[str, float]:
    """`av_offset_ms` and `av_evidence` as in MEASURES of verdict.py; NaN where nothing can be said.

    gray: (T, H, W) uint8 mouth crops; speech: (N,) float32 at 16 kHz from the same start; opening: (T,) lip opening,
    NaN where unknown, taken as one more shape where a detector gives it. A positive offset: the sound comes late.
    The evidence says how much better that shift explains the clip than any within ±80 ms, in nats (0 inside).
    """
    nothing = {"av_offset_ms": float("nan"), "av_evidence": float("nan")}
    if len(gray) < MIN_PICTURES:
        return nothing
    shapes, spectrum, loudness = mouth_shapes(gray, opening), band_levels(speech, len(gray)), levels(speech, len(gray))
    if shapes is None or np.ptp(loudness) < 6 or not spectrum.std(axis=0).all():  # 6 dB: nobody speaks
        return nothing
    evidence = shift_evidence(shapes, spectrum, loudness)
    offset = int(evidence.argmax()) - MAX_SHIFT
    in_step = evidence[MAX_SHIFT - IN_STEP : MAX_SHIFT + IN_STEP + 1].max()
    return {
        "av_offset_ms": 1000 * offset / VIDEO_RATE_HZ,
        "av_evidence": float(evidence.max() - in_step) * len(gray),
    }


def mouth_shapes(gray: np.ndarray, opening: np.ndarray | None = None) -> np.ndarray | None:
    """(T, K) float: the strongest principal components of the crop's middle, and the opening; None without motion."""
    height, width = gray.shape[1:]
    mouth = gray[:, height * 5 // 16 : height * 3 // 4, width * 5 // 24 : width * 19 // 24 : 3].astype(np.float32)
    rows = mouth.shape[1] // 3 * 3
    mouth = mouth[:, :rows].reshape(len(gray), rows // 3, 3, -1).mean(axis=2).reshape(len(gray), -1)  # (T, pixels / 9)
    mouth -= mouth.mean(axis=0)
    left, sizes, _ = np.linalg.svd(mouth, full_matrices=False)
    if sizes[0] < 1:
        return None
    shapes = left[:, :SHAPES] * sizes[:SHAPES]
    if opening is not None and np.isfinite(opening).all() and np.ptp(opening) > 0:
        centred = opening - opening.mean()
        shapes = np.column_stack([shapes, centred * (sizes[0] / np.linalg.norm(centred))])
    return shapes


def levels(speech: np.ndarray, pictures: int) -> np.ndarray:
    """(T,) float: loudness of each picture's 40 ms, in dB of full scale, not below -60."""
    blocks = _fit(speech, pictures * SAMPLES_PER_FRAME).reshape(pictures, SAMPLES_PER_FRAME)
    return 10 * np.log10(np.square(blocks, dtype=np.float64).mean(axis=1) + _FLOOR)


def band_levels(speech: np.ndarray, pictures: int) -> np.ndarray:
    """(T, 5) float: level of each band of BANDS_HZ in dB, in a window of 80 ms around each picture's 40."""
    margin = (_WINDOW - SAMPLES_PER_FRAME) // 2
    padded = np.pad(_fit(speech, pictures * SAMPLES_PER_FRAME), margin)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::SAMPLES_PER_FRAME] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    hertz = np.fft.rfftfreq(_WINDOW, 1 / AUDIO_RATE_HZ)
    bands = [power[:, (hertz >= low) & (hertz < high)].mean(axis=1) for low, high in BANDS_HZ]
    return 10 * np.log10(np.stack(bands, axis=1) + _FLOOR * _WINDOW)


def shift_evidence(shapes: np.ndarray, spectrum: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """(2 * MAX_SHIFT + 1,) nats per picture for shifts -MAX_SHIFT .. MAX_SHIFT of the sound against the mouth."""
    pictures = len(shapes)
    mouth_speed, sound_speed = speed(shapes), speed(spectrum)
    evidence = []
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        seen = slice(max(0, -shift), pictures - max(0, shift))
        heard = slice(seen.start + shift, seen.stop + shift)
        correlations = np.array(
            [
                _canonical_correlation(shapes[seen], spectrum[heard]),
                _correlation(mouth_speed[seen], sound_speed[heard]),
                _correlation(mouth_speed[seen], loudness[heard]),
            ]
        )
        evidence.append(-0.5 * np.log(1 - np.clip(correlations, 0, 0.999) ** 2).sum())
    return np.array(evidence)


def speed(signal: np.ndarray) -> np.ndarray:
    """(T,) how fast (T, K) values change, over all K together."""
    return np.linalg.norm(np.gradient(signal, axis=0), axis=1)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9))


def _canonical_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The largest correlation that any mix of one's columns has with any mix of the other's, weak mixes damped."""
    return float(np.linalg.svd(_whitened(one).T @ _whitened(other), compute_uv=False)[0])


def _whitened(columns: np.ndarray) -> np.ndarray:
    left, sizes, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    return left * (sizes / np.sqrt(sizes**2 + _RIDGE * sizes[0] ** 2 + 1e-12))


def _fit(speech: np.ndarray, samples: int) -> np.ndarray:
    """(samples,) float64: cut or filled with silence at its end; some tracks end 22 ms before their pictures."""
    return np.pad(speech[:samples].astype(np.float64), (0, max(0, samples - len(speech))))


NAMES = ("sound_s", "level_db", "clipped")
LOUDEST = 0.1  # share of the clip's 40-ms blocks, the loudest ones, whose level counts: pauses say nothing
FULL_SCALE = 0.985  # of 1: resampling rounds what was cut off flat


def measure_sound(speech: np.ndarray | None, pictures: int) -> dict[str, float]:
    """The clip's numbers, named as in MEASURES of verdict.py; NaN without sound. speech: (N,) float at 16 kHz."""
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
