"""Mix noise at a chosen signal-to-noise ratio, and make babble of other speakers' sentences.

The ratio is that of mean powers over the whole utterance: 0 dB is 0 dB, not "no noise asked for".
`python -m espnet_vivit.bin.avsr_babble` makes noisy test sets with it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from espnet_vivit.base.progress_bar import progress_bar
from espnet_vivit.base.random_state import rng_for
from espnet_vivit.data.data_dir import Utterance, read_data_dir, write_data_dir
from espnet_vivit.errors import DataError, InputError
from espnet_vivit.media.files.audio_file import read_wav, write_wav

MIN_TALKERS = 6  # fewer are heard as single voices
_PEAK = 0.98  # of full scale: a louder mixture is turned down as a whole, which leaves its ratio alone


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mix `noise`, scaled to the ratio, into `speech` (N,); (N,) float32. Shorter noise is looped, longer noise is
    cut.

    Both are waveforms in the same unit. Raises InputError for other ranks, values that are not finite, or silence on
    either side, because then no ratio exists.
    """
    speech, noise = _waveform("speech", speech), _waveform("noise", noise)
    if not np.isfinite(snr_db):
        raise InputError("bad signal-to-noise ratio", found=snr_db, expected="a finite number of dB")
    noise = np.resize(noise, len(speech))  # repeats as often as needed
    speech_power, noise_power = np.mean(speech**2), np.mean(noise**2)
    for name, power in (("speech", speech_power), ("noise", noise_power)):
        if power == 0:
            raise InputError(f"the {name} is silent", fix="No signal-to-noise ratio exists; leave the clip clean.")
    scale = np.sqrt(speech_power / noise_power * 10 ** (-snr_db / 10))
    return (speech + scale * noise).astype(np.float32)


def make_babble(voices: Sequence[np.ndarray], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mix voices at equal power, each looped from a random point: (num_samples,) float32. Raises InputError for
    silent voices.
    """
    babble = np.zeros(num_samples)
    for voice in voices:
        voice = _waveform("voice", voice)
        power = np.mean(voice**2)
        if power == 0:
            raise InputError("a voice of the babble is silent", fix="Leave that utterance out.")
        babble += np.resize(np.roll(voice, -int(rng.integers(len(voice)))), num_samples) / np.sqrt(power)
    return (babble / np.sqrt(len(voices))).astype(np.float32)


def add_babble(
    source_dir: str | os.PathLike,
    train_dir: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    snr_db: float = 0.0,
    seed: int = 0,
    num_talkers: int = MIN_TALKERS,
    wav_dir: str | os.PathLike | None = None,
    progress: bool = True,
) -> None:
    """Write the data directory `out_dir`: `source_dir` with babble of `train_dir`'s talkers under every wav.

    Videos, texts and times stay the same files and words. New waveforms go to `wav_dir` (default `out_dir`/wav). The
    noise of an utterance depends on the seed, its id and the training set. Each voice is another speaker's, and nobody
    babbles under their own sentence where enough others exist; a training set of fewer speakers than voices gives
    several sentences of one speaker. Raises DataError for fewer other sentences than voices, or a set without audio.
    """
    source, train = read_data_dir(source_dir), read_data_dir(train_dir)
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in train:
        _wav_of(utterance, train_dir)
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    sentences = len({utterance.utt_id for utterance in train} - {utterance.utt_id for utterance in source})
    if num_talkers < 1 or sentences < num_talkers:
        raise DataError(
            f"{train_dir} cannot give babble of {num_talkers} voices",
            found=f"{sentences} sentences that are not in {source_dir}",
            expected=f"at least {max(1, num_talkers)}, from as many speakers if they are to sound like a crowd",
        )
    wav_dir = Path(wav_dir) if wav_dir is not None else Path(out_dir) / "wav"
    wav_dir.mkdir(parents=True, exist_ok=True)
    noisy = []
    with progress_bar(len(source), f"babble {snr_db:g} dB", shown=progress) as bar:
        for utterance in source:
            rng = rng_for(seed, "babble", f"{snr_db:g}", utterance.utt_id)
            talkers = _pick_talkers(utterance, by_speaker, num_talkers, rng)
            voices = [read_wav(_wav_of(other, train_dir)) for other in talkers]
            speech = read_wav(_wav_of(utterance, source_dir))
            mixture = mix_at_snr(speech, make_babble(voices, len(speech), rng), snr_db)
            path = (wav_dir / f"{utterance.utt_id}.flac").resolve()
            write_wav(path, mixture * min(1.0, _PEAK / np.abs(mixture).max()))
            noisy.append(replace(utterance, wav=str(path)))
            bar.update()
    write_data_dir(out_dir, noisy)


def _pick_talkers(utterance: Utterance, by_speaker: dict[str, list[Utterance]], count: int, rng) -> list[Utterance]:
    """Pick one random sentence of each of `count` speakers, different from the utterance's speaker where there are
    enough.

    With fewer speakers, `count` different sentences of all of them.
    """
    if len(by_speaker) < count:
        pool = [other for name in sorted(by_speaker) for other in by_speaker[name] if other.utt_id != utterance.utt_id]
        return [pool[index] for index in rng.permutation(len(pool))[:count]]
    others = sorted(set(by_speaker) - {utterance.speaker})
    names = others if len(others) >= count else sorted(by_speaker)
    talkers = [by_speaker[names[index]] for index in rng.permutation(len(names))[:count]]
    return [sentences[int(rng.integers(len(sentences)))] for sentences in talkers]


def _wav_of(utterance: Utterance, directory: str | os.PathLike) -> str:
    if utterance.wav is None:
        raise DataError(f"{directory}: utterance {utterance.utt_id} has no audio")
    return utterance.wav


def _waveform(name: str, samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or not len(samples):
        raise InputError(f"bad {name}", found=f"shape {samples.shape}", expected="a waveform (N,), N >= 1")
    if not np.isfinite(samples).all():
        raise InputError(f"the {name} holds NaN or infinite samples")
    return samples
