"""Mouth shapes → gray pictures: lips, teeth, tongue and the skin around them, drawn as smooth curves.

Everything is drawn in mouth coordinates (the origin is the middle of the closed lips, v runs downwards, a length of 1
is about the picture's side) and seen through a moving head: translation, rotation and scale per frame. Edges are
anti-aliased by their distance, so the same shapes are drawn at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from espnet_vivit.units import VIDEO_RATE_HZ

_OPENING_HEIGHT = 0.33  # of the picture's side, at opening 1
_JAW_SHARE = 0.68  # of the opening, made by the lower lip
_DESIGN_SIZE = 48  # pixels: blur is stated for this size
_ZOOM = 1.15  # the camera stands this much closer than mouth coordinates say


@dataclass(frozen=True)
class Look:
    """A speaker's face and camera. Lengths are shares of the picture's side, gray levels 0..255."""

    skin: float = 165.0
    lip: float = 105.0
    teeth: float = 215.0
    cavity: float = 28.0
    half_width: float = 0.27
    upper_lip: float = 0.055
    lower_lip: float = 0.075
    bow: float = 0.3  # depth of the cupid's bow
    droop: float = 0.01  # how much the corners hang
    light_side: float = 0.0  # -1 from the left .. 1 from the right
    light_top: float = 0.2
    texture: float = 3.0  # gray levels of freckles and beard
    blur_px: float = 0.5  # at 48 pixels
    noise: float = 3.0  # gray levels of sensor noise


def render_mouth(shapes: np.ndarray, look: Look, rng: np.random.Generator, *, size: int) -> np.ndarray:
    """(T, 6) shapes (mini_av_visemes.PARAMETERS) → (T, size, size) uint8."""
    num_frames = len(shapes)
    u, v = _head_motion(num_frames, rng, size)  # (T, H, W) each
    gain = _light_drift(num_frames, rng)
    picture = _draw(u, v, shapes.astype(np.float32), look, _skin_texture(u, v, look, rng), size)
    picture *= gain[:, None, None]
    sigma = look.blur_px * size / _DESIGN_SIZE
    picture = gaussian_filter(picture, sigma=(0, sigma, sigma), mode="nearest", truncate=3.0)
    picture += look.noise * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _draw(u: np.ndarray, v: np.ndarray, shapes: np.ndarray, look: Look, texture: np.ndarray, size: int) -> np.ndarray:
    opening, width, rounding, teeth, tongue, tuck = (column[:, None, None] for column in shapes.T)
    soft = np.float32(size / 1.2)  # an edge fades over 1.2 pixels

    def cover(distance):
        return np.clip(0.5 + distance * soft, 0, 1)

    # outlines, each a height over u
    half = look.half_width * (1 + 0.17 * width - 0.42 * rounding)
    height = _OPENING_HEIGHT * opening
    inner_half = half * (0.90 - 0.08 * rounding)
    line = look.droop * (u / half) ** 2 - 0.05 * tuck * _bump(u / half, 0.9)  # where closed lips meet
    rise = (1 - _JAW_SHARE) * height
    fall = _JAW_SHARE * height * (1 - 0.55 * tuck)
    arch, arch_slope = _arch(u / inner_half, 0.75 - 0.2 * rounding)
    lips, lips_slope = _arch(u / half, 0.62)
    thick = 1 + 0.45 * rounding
    notch = 1 - look.bow * np.exp(-((u / (0.22 * half)) ** 2))
    inner_top, inner_bottom = line - rise * arch, line + fall * arch
    outer_top = line - rise * arch - look.upper_lip * thick * lips * notch
    outer_bottom = line + fall * arch + look.lower_lip * thick * (1 - 0.5 * tuck) * lips
    inner_steep = np.sqrt(1 + (height * arch_slope / inner_half) ** 2)
    outer_steep = np.sqrt(1 + ((look.upper_lip + rise) * lips_slope / half) ** 2)

    picture = _skin(u, v, look, outer_bottom, fall, rounding) + texture
    # lips: the upper one lies in shade, the lower one shines
    lip_mask = cover(np.minimum(v - outer_top, outer_bottom - v) / outer_steep) * (np.abs(u) < half)
    lower = cover(v - line)
    shine_at = inner_bottom + 0.45 * look.lower_lip * thick
    shine = np.exp(-(((v - shine_at) / 0.022) ** 2) - (u / (0.45 * half)) ** 2) * (1 - 0.6 * tuck)
    lip_tone = look.lip * (0.86 + 0.16 * lower) + 38 * shine * lower
    picture += lip_mask * (lip_tone - picture)
    # the hole between them, with what is seen in it
    hole = cover(np.minimum(v - inner_top, inner_bottom - v) / inner_steep) * (np.abs(u) < inner_half)
    picture += hole * (_inside(u, v, look, inner_top, inner_bottom, inner_half, teeth, tongue, cover) - picture)
    return picture


def _inside(u, v, look, top, bottom, half, teeth, tongue, cover) -> np.ndarray:
    """Cavity, tongue and teeth; the tongue lies behind the upper teeth unless it comes out between them."""
    gap = bottom - top
    inside = np.full_like(u, look.cavity)
    round_off = 1 - 0.45 * (u / half) ** 2
    tongue_top = bottom - (0.18 + 0.72 * tongue) * gap + 0.9 * (u**2) / half * (0.3 + tongue)
    tongue_mask = cover(np.minimum(v - tongue_top, (0.80 - 0.2 * tongue) * half - np.abs(u)))
    tongue_tone = (0.55 * look.lip + 35) * (0.75 + 0.35 * tongue)
    lower_length = 0.045 * np.clip(2 * teeth - 1, 0, 1)
    lower_teeth = cover(v - (bottom - lower_length)) * cover(0.75 * half - np.abs(u)) * np.clip(2 * teeth - 1, 0, 1)
    upper_teeth = cover((top + 0.085 * teeth) - v) * cover(0.9 * half - np.abs(u)) * np.clip(4 * teeth, 0, 1)
    front = np.clip((tongue - 0.8) / 0.15, 0, 1)
    inside += tongue_mask * (tongue_tone - inside)
    inside += lower_teeth * (0.85 * look.teeth * round_off - inside)
    inside += upper_teeth * (look.teeth * round_off - inside)
    inside += front * tongue_mask * (1.25 * tongue_tone - inside)
    return inside


def _skin(u, v, look, outer_bottom, fall, rounding) -> np.ndarray:
    """Skin with the shadows of nose, groove, chin and, for pursed lips, the furrow around them."""
    light = 1 + 0.22 * look.light_side * u - look.light_top * 0.3 * v
    chin_v = outer_bottom + 0.075
    crease = np.exp(-(((v - chin_v) / 0.035) ** 2) - (u / 0.20) ** 2)
    chin = np.exp(-(((v - chin_v - 0.13) / 0.07) ** 2) - (u / 0.16) ** 2)
    nose = np.exp(-(((v + 0.45 - 0.02 * rounding) / 0.07) ** 2) - (u / 0.17) ** 2)
    nostrils = np.exp(-(((v + 0.45) / 0.028) ** 2) - ((np.abs(u) - 0.085) / 0.045) ** 2)
    groove = np.exp(-((u / 0.022) ** 2)) * np.clip(-(v + 0.13) / 0.08, 0, 1) * np.clip((v + 0.42) / 0.08, 0, 1)
    cheeks = np.exp(-(((np.abs(u) - 0.40 - 0.15 * v) / 0.03) ** 2)) * (0.6 + 0.8 * (1 - rounding))
    jaw = np.clip((v - 0.40 - 0.5 * fall) / 0.05, 0, 1)  # the chin's edge, the neck in shade below it
    shade = 1 - 0.16 * crease + 0.06 * chin - 0.12 * nose - 0.38 * nostrils - 0.07 * groove - 0.05 * cheeks - 0.30 * jaw
    return look.skin * light * shade


def _arch(x: np.ndarray, power) -> tuple[np.ndarray, np.ndarray]:
    """(1 - x²)^power, 0 outside, and the size of its slope, bounded."""
    base = np.maximum(1 - x * x, 1e-4)
    arch = base**power
    return arch * (np.abs(x) < 1), np.minimum(np.abs(2 * power * x * arch / base), 6.0)


def _bump(x: np.ndarray, radius: float) -> np.ndarray:
    return np.exp(-((x / radius) ** 2))


def _head_motion(num_frames: int, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mouth coordinates (T, H, W) of every pixel: a clip's own offset plus slow sways of the head."""
    middle = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    shift_u = _sway(num_frames, rng, offset=0.012, amplitude=0.010)
    shift_v = _sway(num_frames, rng, offset=0.012, amplitude=0.008)
    angle = _sway(num_frames, rng, offset=0.035, amplitude=0.020)
    scale = _ZOOM + _sway(num_frames, rng, offset=0.025, amplitude=0.008)
    x = middle[None, None, :] - shift_u
    y = middle[None, :, None] - 0.02 - shift_v  # mouths stand a little below the middle of a crop
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    return x * cos + y * sin, y * cos - x * sin


def _sway(num_frames: int, rng: np.random.Generator, *, offset: float, amplitude: float) -> np.ndarray:
    """(T, 1, 1) float32: an offset of that standard deviation, and two slow sinusoids of random phase."""
    times_s = np.arange(num_frames) / VIDEO_RATE_HZ
    rates_hz = rng.uniform(0.2, 0.9, 2)
    phases = rng.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * times_s[:, None] * rates_hz + phases).sum(1)
    centre = np.clip(rng.normal(), -2, 2) * offset
    return (centre + amplitude * waves).astype(np.float32)[:, None, None]


def _light_drift(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T,) float32 gains around 1: the clip's exposure, and clouds."""
    return 1 + _sway(num_frames, rng, offset=0.04, amplitude=0.02)[:, 0, 0]


def _skin_texture(u: np.ndarray, v: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W) gray levels of fine spots that move with the head."""
    waves = np.zeros_like(u)
    for _ in range(3):
        rate_u, rate_v = rng.uniform(-14, 14, 2)
        waves += np.sin(2 * np.pi * (rate_u * u + rate_v * v) + rng.uniform(0, 2 * np.pi))
    return (look.texture / 1.7) * waves
