"""Crops and augmentation of a clip, each a function of arrays and a random generator.

In and out: video (T, H, W) uint8, speech (N,) float32 at 16 kHz, word times in seconds. Masks and crops work on raw
pixels: the frontend normalises later, so a masked stretch is the clip's mean picture and not an impossible gray.
Crop, flip and one time mask per second up to 0.4 s: Auto-AVSR (Ma et al., ICASSP 2023). Different here: the two streams
are sped up or cut together, and the word times follow.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from espnet_vivit.data.data_dir import WordTime
from espnet_vivit.errors import InputError
from espnet_vivit.frontend.presets import VisualPreset
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ


class Streams(NamedTuple):
    """What an utterance consists of in time; each may be None, but not video and speech both."""

    video: np.ndarray | None  # (T, H, W) uint8
    speech: np.ndarray | None  # (N,) float32, 16 kHz
    times: Sequence[WordTime] | None

    @property
    def frames(self) -> int:
        """At 25 per second; without video, as many as the sound fills."""
        if self.video is not None:
            return len(self.video)
        assert self.speech is not None
        return len(self.speech) // SAMPLES_PER_FRAME


SHIFT_SHARE = 24  # a clip of the crop's own size is shifted by up to a 24th of it: 4 pixels of 96


def crop(video: np.ndarray, preset: VisualPreset, *, rng: np.random.Generator | None) -> np.ndarray:
    """The part (T, rows, columns) that the preset's frontend takes: at random with `rng`, else from the centre.

    A clip that already has this size is shifted with `rng` (its edge repeated), else left as it is. Raises InputError
    for a smaller one.
    """
    _, height, width = video.shape
    rows, columns = preset.crop_shape(height)
    if height < rows or width < columns:
        raise InputError(
            "the clip is smaller than what the vision encoder takes",
            found=f"{height} x {width} pixels",
            expected=f"at least {rows} x {columns}",
            fix="Prepare larger crops, or give a ViViT a smaller image_size",
        )
    if rng is None:
        top, left = (height - rows) // 2, (width - columns) // 2
    elif (height, width) == (rows, columns):
        down, aside = rows // SHIFT_SHARE, columns // SHIFT_SHARE
        video = np.pad(video, ((0, 0), (down, down), (aside, aside)), mode="edge")
        top, left = rng.integers(0, [2 * down + 1, 2 * aside + 1])
    else:
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    return video[:, top : top + rows, left : left + columns]


def flip(video: np.ndarray) -> np.ndarray:
    """Left and right exchanged, as a view."""
    return video[:, :, ::-1]


def mask_time(video: np.ndarray, *, masks_per_s: float, max_s: float, rng: np.random.Generator) -> np.ndarray:
    """Replace `masks_per_s` stretches per (started) second, each 0 to `max_s` long, by the clip's mean picture."""
    frames = len(video)
    masks = math.ceil(frames / VIDEO_RATE_HZ * masks_per_s)
    longest = min(round(max_s * VIDEO_RATE_HZ), frames)
    if masks == 0 or longest == 0:
        return video
    masked = video.copy()
    mean_picture = np.rint(video.mean(axis=0)).astype(video.dtype)
    for width in rng.integers(0, longest + 1, masks):
        start = rng.integers(0, frames - width + 1)
        masked[start : start + width] = mean_picture
    return masked


def change_speed(
    video: np.ndarray | None, speech: np.ndarray | None, times: Sequence[WordTime] | None, *, speed: float
) -> tuple[np.ndarray | None, np.ndarray | None, Sequence[WordTime] | None]:
    """Play both streams `speed` times as fast, kept in step; either stream and `times` may be None.

    The video is sampled at the nearest frames; beside it, the sound is first fitted to it. The true speed is that of
    the whole number of frames, and the sound gets exactly this one (its pitch changes with it, as in Kaldi's speed
    perturbation).
    """
    if video is not None:
        frames = len(video)
    else:
        assert speech is not None
        frames = max(1, round(len(speech) / SAMPLES_PER_FRAME))
    new_frames = max(1, round(frames / speed))
    if new_frames == frames:
        return video, speech, times
    if video is not None:
        centres = (np.arange(new_frames) + 0.5) * frames / new_frames
        video = video[np.minimum(centres.astype(int), frames - 1)]
    if video is not None and speech is not None:  # else a difference of a frame could grow beyond one
        whole = frames * SAMPLES_PER_FRAME
        speech = np.pad(speech[:whole], (0, max(0, whole - len(speech))))
    if speech is not None:
        shrink = math.gcd(frames, new_frames)
        samples = round(len(speech) * new_frames / frames)
        speech = resample_poly(speech, new_frames // shrink, frames // shrink)[:samples].astype(speech.dtype)
    if times is not None:
        ratio = new_frames / frames
        times = [WordTime(time.start_s * ratio, time.end_s * ratio, time.word) for time in times]
    return video, speech, times


def crop_to_words(
    video: np.ndarray | None,
    speech: np.ndarray | None,
    times: Sequence[WordTime],
    *,
    min_words: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray | None, np.ndarray | None, Sequence[WordTime]]:
    """Keep a random run of at least `min_words` words: (video, speech, times), both streams cut at the same frame.

    The cut lies in the middle of the pause to the neighbouring word, on a frame border. A clip of `min_words` or fewer
    words stays whole.
    """
    if len(times) <= min_words:
        return video, speech, times
    count = int(rng.integers(min_words, len(times) + 1))
    first = int(rng.integers(0, len(times) - count + 1))
    last = first + count - 1
    if video is not None:
        frames = len(video)
    else:
        assert speech is not None
        frames = len(speech) // SAMPLES_PER_FRAME
    start, end = 0, frames
    if first > 0:
        start = round((times[first - 1].end_s + times[first].start_s) / 2 * VIDEO_RATE_HZ)
    if last < len(times) - 1:
        end = round((times[last].end_s + times[last + 1].start_s) / 2 * VIDEO_RATE_HZ)
    if end <= start:  # a run of words shorter than half a frame: nothing would be left
        return video, speech, times
    if video is not None:
        video = video[start:end]
    if speech is not None:
        stop = len(speech) if end == frames else end * SAMPLES_PER_FRAME
        speech = speech[start * SAMPLES_PER_FRAME : stop]
    offset_s = start / VIDEO_RATE_HZ
    kept = [WordTime(time.start_s - offset_s, time.end_s - offset_s, time.word) for time in times[first : last + 1]]
    return video, speech, kept


def join(first: Streams, second: Streams) -> Streams:
    """One utterance behind the other, as in a recording: the sound of the first is cut or filled up to its frames.

    Both have the same streams and pictures of the same size.
    """
    frames = first.frames
    video = speech = times = None
    if first.video is not None and second.video is not None:
        video = np.concatenate([first.video, second.video])
    if first.speech is not None and second.speech is not None:
        whole = frames * SAMPLES_PER_FRAME
        silence = np.zeros(max(0, whole - len(first.speech)), dtype=first.speech.dtype)
        speech = np.concatenate([first.speech[:whole], silence, second.speech])
    if first.times is not None and second.times is not None:
        offset_s = frames / VIDEO_RATE_HZ
        later = [WordTime(time.start_s + offset_s, time.end_s + offset_s, time.word) for time in second.times]
        times = [*first.times, *later]
    return Streams(video, speech, times)
