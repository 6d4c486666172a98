"""`mini_av`: an audio-visual corpus that is rendered on the spot, so that everything can be tried without a download.

Out: four data directories (train, dev, test_seen, test_unseen) with their clips. Drawn mouths (mouth.py) move
to the phonemes of espeak-ng's speech (speech.py); what they say is in grammar.py. Same versions and
seed, same frames and samples, for any number of jobs.

    python -m espnet_vivit.bin.avsr_mini_av --out data --nj 2
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from espnet_vivit.base.processes import run_in_processes
from espnet_vivit.base.progress_bar import progress_bar
from espnet_vivit.corpora.mini_av.clip import ClipPlan, draw_clip, speak_clip
from espnet_vivit.corpora.mini_av.plan import Config, claim_folder, plan_clips
from espnet_vivit.corpora.mini_av.speech import espeak_version
from espnet_vivit.data.data_dir import Utterance, check_disjoint, validate_data_dir, write_data_dir
from espnet_vivit.errors import ConfigError, MediaError, unknown_name
from espnet_vivit.media.files.audio_file import read_wav, write_wav
from espnet_vivit.media.files.video_file import probe_video, write_gray_video

SIZES = (48, 64, 96)
VIDEO_FORMATS = {"npy": ".npy", "ffv1": ".mkv", "h264": ".mp4"}  # npy is read 20 times faster than the other two


def prepare(
    out_dir: str | os.PathLike,
    *,
    seed: int = 0,
    num_train: int = 1200,
    num_dev: int = 60,
    num_test_seen: int = 150,
    num_test_unseen: int = 100,
    size: int = 48,
    variation: float = 0.1,
    nj: int = 2,
    video_format: str = "npy",
    media_dir: str | os.PathLike | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Render the corpus; returns split -> data directory `out_dir`/split. Clips go to `media_dir` (`out_dir`/clips).

    `variation` is how much a sound's shape and timing differ from one utterance to the next (mini_av_visemes.vary): 0
    is the easiest to read, 0.2 hard. A run that was stopped is finished by the same call; clips that are there are
    kept. Raises ConfigError for options that differ from those of the clips in `media_dir`, MissingDependencyError
    without espeak-ng.
    """
    out_dir = Path(out_dir)
    media_dir = (Path(media_dir) if media_dir is not None else out_dir / "clips").resolve()
    _check_options(size=size, variation=variation, nj=nj, video_format=video_format)
    config = Config(
        seed, num_train, num_dev, num_test_seen, num_test_unseen, size, variation, video_format, espeak=espeak_version()
    )
    plans = plan_clips(config)
    media_dir.mkdir(parents=True, exist_ok=True)
    claim_folder(media_dir, config)
    directories = {split: out_dir / split for split in plans}
    with progress_bar(sum(map(len, plans.values())), "mini_av", shown=progress) as bar:
        for split, utterances in _make_all(plans, media_dir, video_format, nj, bar):
            write_data_dir(directories[split], utterances)
    for directory in directories.values():
        validate_data_dir(directory)
    check_disjoint(directories, texts=True)
    return directories


def corpus_hash(directories: dict[str, Path]) -> str:
    """A short hash over ids, texts, times, samples and pictures: equal hashes, equal corpora."""
    digest = hashlib.sha256()
    for split, directory in sorted(directories.items()):
        for utterance in validate_data_dir(directory):
            digest.update(repr((split, utterance.utt_id, utterance.text, utterance.word_times)).encode())
            assert utterance.wav is not None and utterance.video is not None  # mini_av has both
            digest.update(Path(utterance.wav).read_bytes())
            digest.update(Path(utterance.video).read_bytes())
    return digest.hexdigest()[:16]


def _check_options(*, size: int, variation: float, nj: int, video_format: str) -> None:
    if size not in SIZES:
        raise ConfigError("bad size", found=size, expected=f"one of {', '.join(map(str, SIZES))} pixels")
    if not 0 <= variation <= 0.5:
        raise ConfigError("bad variation", found=variation, expected="0 (always the same) to 0.5")
    if nj < 1:
        raise ConfigError("bad number of jobs", found=nj, expected="at least 1")
    if video_format not in VIDEO_FORMATS:
        raise unknown_name("video format", video_format, VIDEO_FORMATS)


def _make_all(plans, media_dir: Path, video_format: str, nj: int, bar: tqdm) -> Iterator[tuple[str, list[Utterance]]]:
    jobs = []
    for split, split_plans in plans.items():
        (media_dir / split).mkdir(exist_ok=True)
        jobs += [(plan, media_dir / split, video_format) for plan in split_plans]
    results = _run(jobs, nj)
    for split, split_plans in plans.items():
        utterances = []
        for _ in split_plans:
            utterances.append(next(results))
            bar.update()
        yield split, utterances


def _run(jobs: list, nj: int) -> Iterator[Utterance]:
    """`_make_clip` over the jobs, in their order."""
    if nj == 1:
        yield from map(_make_clip, jobs)
        return
    for _, utterance in run_in_processes(_make_clip, jobs, nj=nj, lost=_refuse, in_order=True):
        yield utterance


def _refuse(job: tuple[ClipPlan, Path, str], why: str) -> Utterance:
    raise MediaError(f"{job[0].utt_id} was not made: {why}", fix="Is there memory enough? Run again with fewer jobs.")


def _make_clip(job: tuple[ClipPlan, Path, str]) -> Utterance:
    """Write what is missing of one clip; speech is always made again, because it carries the times and costs little."""
    plan, folder, video_format = job
    spoken = speak_clip(plan)
    wav = folder / f"{plan.utt_id}.flac"
    video = folder / f"{plan.utt_id}{VIDEO_FORMATS[video_format]}"
    if not _has_samples(wav, spoken.samples):
        write_wav(wav, spoken.samples)
    if not _has_frames(video, spoken.num_frames):
        write_gray_video(video, draw_clip(plan, spoken), codec="h264" if video_format == "h264" else "ffv1")
    return Utterance(
        utt_id=plan.utt_id,
        speaker=plan.speaker,
        text=plan.text,
        wav=str(wav),
        video=str(video),
        num_frames=spoken.num_frames,
        num_samples=len(spoken.samples),
        word_times=spoken.word_times,
    )


def _has_samples(path: Path, samples: np.ndarray) -> bool:
    try:
        kept = read_wav(path)
    except MediaError:  # missing or unreadable: it is made again
        return False
    return kept.shape == samples.shape and np.abs(kept - samples).max() < 1e-4  # 16 bits are kept


def _has_frames(path: Path, num_frames: int) -> bool:
    try:
        return probe_video(path).num_frames == num_frames
    except MediaError:  # missing or unreadable: it is made again
        return False
