"""Clips for the page as .mp4 files that any browser plays: synthetic ones to try a model with, and what a model saw."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from espnet_vivit.units import AUDIO_RATE_HZ, MOUTH_SIZE, VIDEO_RATE_HZ

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_SEED, _SPEAKER, _PIXELS, _VARIATION = 7, "m01", MOUTH_SIZE, 0.1


def render_examples(folder: Path, *, count: int = 3) -> list[Path]:
    """`count` clips of sentences of mini_av, named by what is said; none where espeak-ng's loader is missing."""
    if importlib.util.find_spec("espeakng_loader") is None:
        return []
    from espnet_vivit.corpora.mini_av.clip import ClipPlan, draw_clip, speak_clip
    from espnet_vivit.corpora.mini_av.grammar import draw_sentences

    paths = []
    for text in draw_sentences([count], np.random.default_rng(_SEED))[0]:
        plan = ClipPlan(text, _SPEAKER, text, seed=_SEED, size=_PIXELS, variation=_VARIATION)
        spoken = speak_clip(plan)
        path = folder / f"{text.replace(' ', '_')}.mp4"
        write_spoken_video(path, draw_clip(plan, spoken), spoken.samples)
        paths.append(path)
    return paths


def write_spoken_video(path: Path, frames: np.ndarray, samples: np.ndarray | None = None) -> None:
    """(T, H, W) gray or (T, H, W, 3) RGB uint8, H and W even, 25 per second, as H.264; (N,) at 16 kHz as AAC."""
    import av

    form = "gray" if frames.ndim == 3 else "rgb24"
    with av.open(f"file:{path}", "w") as container:
        video = container.add_stream("libx264", rate=VIDEO_RATE_HZ, options={"crf": "14"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        video.codec_context.color_range = _FULL_RANGE
        audio = None if samples is None else container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format=form)
            container.mux(video.encode(frame.reformat(format="yuv420p", dst_color_range=_FULL_RANGE)))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            sound = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
            sound.sample_rate = AUDIO_RATE_HZ
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
