"""Phonemes with times → the six numbers that shape the drawn mouth in every frame.

Every phoneme is one or two of 16 visemes; a viseme is a target for six parameters. Targets overlap by dominance
functions (M. M. Cohen and D. W. Massaro, "Modeling coarticulation in synthetic visual speech", 1993): each segment
pulls on each parameter with a strength that falls off with the distance in time, and a frame shows the weighted mean.
Closures of the lips dominate what is around them, rounding reaches far ahead, tongue sounds leave the lips to their
neighbours.

Differences from the paper: the fall-off is Gaussian and starts at the edge of a segment's core rather than at its
centre, so that closures reach their target although a frame lasts 40 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from espnet_vivit.corpora.mini_av.speech import Span
from espnet_vivit.errors import DataError
from espnet_vivit.units import VIDEO_RATE_HZ

PARAMETERS = ("opening", "width", "rounding", "teeth", "tongue", "tuck")


@dataclass(frozen=True)
class Viseme:
    """Targets (opening, rounding, teeth, tongue, tuck 0..1; width -1..1), their strength, and the reach in seconds."""

    targets: tuple[float, float, float, float, float, float]
    dominance: tuple[float, float, float, float, float, float]
    reach_s: float


_TONGUE = (0.8, 0.3, 0.25, 1.6, 2.5, 1.0)  # made behind the lips: their shape is the neighbours'

#          targets: opening width rounding teeth tongue tuck
VISEMES: dict[str, Viseme] = {
    "rest": Viseme((0.03, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.07),
    "p": Viseme((0.0, 0.05, 0.0, 0.0, 0.0, 0.0), (9.0, 0.5, 0.3, 4.0, 2.0, 3.0), 0.035),
    "f": Viseme((0.17, 0.1, 0.0, 1.0, 0.0, 1.0), (6.0, 0.8, 0.6, 6.0, 2.0, 9.0), 0.040),
    "th": Viseme((0.28, 0.2, 0.0, 0.75, 1.0, 0.0), (3.0, 0.6, 0.5, 3.0, 7.0, 1.5), 0.040),
    "t": Viseme((0.20, 0.2, 0.0, 0.75, 0.45, 0.0), _TONGUE, 0.040),
    "l": Viseme((0.36, 0.1, 0.0, 0.45, 0.85, 0.0), (1.4, 0.4, 0.3, 1.6, 4.5, 1.0), 0.045),
    "s": Viseme((0.15, 0.5, 0.0, 1.0, 0.0, 0.0), (3.0, 1.5, 0.6, 4.0, 2.0, 1.5), 0.045),
    "sh": Viseme((0.30, -0.2, 0.75, 0.95, 0.0, 0.0), (3.0, 1.2, 3.5, 3.5, 1.5, 1.5), 0.055),
    "k": Viseme((0.30, 0.0, 0.0, 0.3, 0.2, 0.0), (0.7, 0.25, 0.25, 0.6, 0.7, 1.0), 0.040),
    "r": Viseme((0.25, -0.2, 0.60, 0.4, 0.15, 0.0), (1.6, 1.0, 2.2, 1.0, 1.0, 1.0), 0.055),
    "w": Viseme((0.13, -0.3, 1.0, 0.0, 0.0, 0.0), (2.8, 1.5, 4.0, 2.0, 1.0, 1.0), 0.070),
    "ee": Viseme((0.30, 1.0, 0.0, 0.75, 0.15, 0.0), (1.2, 2.0, 1.2, 1.2, 1.0, 1.0), 0.055),
    "eh": Viseme((0.58, 0.5, 0.0, 0.55, 0.20, 0.0), (1.3, 1.3, 1.0, 1.0, 1.0, 1.0), 0.055),
    "ah": Viseme((1.0, 0.1, 0.0, 0.40, 0.10, 0.0), (1.6, 1.0, 1.0, 1.0, 1.0, 1.0), 0.060),
    "aw": Viseme((0.70, -0.2, 0.65, 0.05, 0.0, 0.0), (1.5, 1.2, 1.8, 1.2, 1.0, 1.0), 0.060),
    "uh": Viseme((0.38, 0.0, 0.10, 0.30, 0.10, 0.0), (0.7, 0.6, 0.6, 0.6, 0.7, 1.0), 0.045),
}

_PHONEMES: dict[str, str] = {  # espeak-ng's mnemonics without stress marks -> visemes in order
    **dict.fromkeys(("p", "b", "m"), "p"),
    **dict.fromkeys(("f", "v"), "f"),
    **dict.fromkeys(("T", "D"), "th"),
    **dict.fromkeys(("t", "d", "t#", "t2", "d#", "?"), "t"),
    **dict.fromkeys(("l", "n", "l#"), "l"),
    **dict.fromkeys(("s", "z"), "s"),
    **dict.fromkeys(("S", "Z", "tS", "dZ"), "sh"),
    **dict.fromkeys(("k", "g", "N", "h", "x"), "k"),
    **dict.fromkeys(("r", "r-", "r/"), "r"),
    **dict.fromkeys(("w", "u:", "u", "U"), "w"),
    **dict.fromkeys(("i:", "i", "I", "I2", "j", ";"), "ee"),
    **dict.fromkeys(("E", "e"), "eh"),
    **dict.fromkeys(("a", "A:", "A@", "V", "aa"), "ah"),
    **dict.fromkeys(("0", "O:", "O", "o@", "O2"), "aw"),
    **dict.fromkeys(("@", "@2", "3", "3:", "a#", "@5"), "uh"),
    "@L": "uh l",
    "eI": "eh ee",
    "aI": "ah ee",
    "aU": "ah w",
    "OI": "aw ee",
    "oU": "aw w",
    **dict.fromkeys(("i@", "i@3"), "ee uh"),
    "e@": "eh uh",
    "U@": "w uh",
}


def visemes_of(phoneme: str) -> tuple[str, ...]:
    """The visemes of one espeak-ng phoneme, stress marks ignored. Raises DataError for one that is not in the table."""
    name = phoneme.lstrip("',%=|")
    if name not in _PHONEMES:
        raise DataError(f"no mouth shape for espeak-ng's phoneme {phoneme!r}", fix="Add it to visemes.py.")
    return tuple(_PHONEMES[name].split())


def viseme_spans(phonemes: Iterable[Span], lead_s: float) -> list[Span]:
    """Viseme segments on the clip's time axis, which begins `lead_s` before the speech; rest before and after it."""
    spans = [Span(-1.0, lead_s, "rest")]
    for phoneme in phonemes:
        names = visemes_of(phoneme.name)
        share_s = (phoneme.end_s - phoneme.start_s) / len(names)
        for place, name in enumerate(names):
            start_s = lead_s + phoneme.start_s + place * share_s
            spans.append(Span(start_s, start_s + share_s, name))
    return [*spans, Span(spans[-1].end_s, spans[-1].end_s + 1.0, "rest")]


def vary(spans: list[Span], rng: np.random.Generator, variation: float) -> tuple[list[Span], np.ndarray]:
    """Nobody says a sound twice in the same way: the segments with their times shifted, and (S, 6) to add to targets.

    `variation` is the standard deviation of a target, in units of a parameter's range; a tenth of it, in seconds, is
    that of the shift: at 0.1 a target errs by a tenth of the range and a segment by 10 ms.
    """
    shifts_s = 0.1 * variation * rng.standard_normal(len(spans))
    moved = [Span(s.start_s + shift_s, s.end_s + shift_s, s.name) for s, shift_s in zip(spans, shifts_s, strict=True)]
    return moved, variation * rng.standard_normal((len(spans), len(PARAMETERS)))


def mouth_shapes(
    spans: list[Span],
    num_frames: int,
    *,
    gain: Mapping[str, float] | None = None,
    offsets: np.ndarray | float = 0.0,
) -> np.ndarray:
    """(T, 6) float64: PARAMETERS at the middle of every frame.

    `gain` scales a speaker's targets by parameter name, `offsets` (S, 6) is added to the targets (see `vary`).
    """
    times_s = (np.arange(num_frames) + 0.5)[:, None] / VIDEO_RATE_HZ
    starts_s = np.array([span.start_s for span in spans])
    ends_s = np.array([span.end_s for span in spans])
    table = [VISEMES[span.name] for span in spans]
    targets = np.array([viseme.targets for viseme in table]) + offsets  # (S, 6)
    dominance = np.array([viseme.dominance for viseme in table])  # (S, 6)
    reach_s = np.array([viseme.reach_s for viseme in table])
    margin_s = 0.25 * np.minimum(ends_s - starts_s, 0.12)  # the core is what remains between the margins
    outside_s = np.maximum(np.maximum(starts_s + margin_s - times_s, times_s - ends_s + margin_s), 0.0)  # (T, S)
    pull = np.exp(-((outside_s / reach_s) ** 2))[:, :, None] * dominance + 1e-9 * dominance  # (T, S, 6)
    shapes = (pull * targets).sum(1) / pull.sum(1)
    scale = np.array([(gain or {}).get(name, 1.0) for name in PARAMETERS])
    return np.clip(shapes * scale, [0, -1.2, 0, 0, 0, 0], [1.3, 1.2, 1.2, 1, 1, 1])
