"""One clip of `mini_av`: a sentence, a speaker and an utterance id → samples, pictures and word times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import resample_poly

from espnet_vivit.base.random_state import rng_for
from espnet_vivit.corpora.mini_av.mouth import render_mouth
from espnet_vivit.corpora.mini_av.speakers import make_speaker
from espnet_vivit.corpora.mini_av.speech import Speech, speak
from espnet_vivit.corpora.mini_av.visemes import mouth_shapes, vary, viseme_spans
from espnet_vivit.data.data_dir import WordTime
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME

_LEVEL = 0.08  # root mean square of the speech, full scale is 1
_ROOM_NOISE = 10 ** (-50 / 20)  # of that level


@dataclass(frozen=True)
class ClipPlan:
    """All that a clip depends on. The text gives what is said; what else is random comes from seed and utterance id."""

    utt_id: str
    speaker: str
    text: str
    seed: int
    size: int
    variation: float


@dataclass(frozen=True)
class SpokenClip:
    """`samples` (640 T,) float32 at 16 kHz; `speech` begins `lead_s` after the clip."""

    samples: np.ndarray
    num_frames: int
    word_times: tuple[WordTime, ...]
    speech: Speech
    lead_s: float


def speak_clip(plan: ClipPlan) -> SpokenClip:
    """The sound of a clip, with a little silence before and after; takes milliseconds."""
    rng = rng_for(plan.seed, "speech", plan.utt_id)
    voice = make_speaker(plan.speaker, plan.seed).voice
    rate_wpm, pitch = voice.rate_wpm + int(rng.integers(-6, 7)), voice.pitch + int(rng.integers(-4, 5))
    voice = replace(voice, rate_wpm=rate_wpm, pitch=pitch)
    speech = speak(plan.text, voice)
    lead_s, trail_s = rng.uniform(0.08, 0.18, 2)
    wave = resample_poly(speech.samples / 32768, AUDIO_RATE_HZ // 50, speech.rate_hz // 50)
    lead = round(lead_s * AUDIO_RATE_HZ)
    end_s = lead_s + speech.words[-1].end_s
    num_frames = int(np.ceil((end_s + trail_s) * AUDIO_RATE_HZ / SAMPLES_PER_FRAME))
    samples = np.zeros(num_frames * SAMPLES_PER_FRAME)
    wave = wave[: len(samples) - lead]
    samples[lead : lead + len(wave)] = wave * (_LEVEL / np.sqrt(np.mean(wave**2)))
    samples += _LEVEL * _ROOM_NOISE * rng.standard_normal(len(samples))
    samples *= 10 ** (rng.uniform(-3, 3) / 20) * min(1.0, 0.7 / np.abs(samples).max())
    times = tuple(WordTime(lead_s + word.start_s, lead_s + word.end_s, word.name) for word in speech.words)
    return SpokenClip(samples.astype(np.float32), num_frames, times, speech, lead_s)


def draw_clip(plan: ClipPlan, spoken: SpokenClip) -> np.ndarray:
    """The pictures of a clip, (T, size, size) uint8."""
    speaker = make_speaker(plan.speaker, plan.seed)
    spans = viseme_spans(spoken.speech.phonemes, spoken.lead_s)
    spans, offsets = vary(spans, rng_for(plan.seed, "mouth", plan.utt_id), plan.variation)
    shapes = mouth_shapes(spans, spoken.num_frames, gain=speaker.gain, offsets=offsets)
    return render_mouth(shapes, speaker.look, rng_for(plan.seed, "picture", plan.utt_id), size=plan.size)
