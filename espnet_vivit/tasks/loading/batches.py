"""Batches by a budget of video frames, clips of about the same length together, little padding.

    batch_frames: 4000          at most 4000 frames in a batch, padding included, over all devices together
    max_padding: 0.2            at most this share of a batch is padding

In: utterance -> frames. Out: lists of utterances. Memory and time of a step go with the padded frames, so the budget
says how large a step is whatever the clips are; ESPnet's `batch_type: length` has the same budget and no bound on the
padding, which is large where clips of very different lengths meet in a small corpus. The share that is padding is
written into the log, for any batch type.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from espnet_vivit.base.option_types import check_values
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import DataError
from espnet_vivit.espnet_compat import SequenceIterFactory
from espnet_vivit.units import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from espnet2.tasks.abs_task import IteratorOptions

MAX_PADDING = 0.2
_LENGTHS = (("video", 1), ("speech", SAMPLES_PER_FRAME))  # how a shape file's name begins, its units in a video frame


@dataclass(frozen=True)
class Padding:
    """valid and padded frames of a list of batches; `str` is the line for the log."""

    batches: int
    valid: int
    padded: int  # valid frames included
    largest: int  # padded frames of the largest batch

    @property
    def share(self) -> float:
        return 1 - self.valid / self.padded

    def __str__(self) -> str:
        return (
            f"{self.batches} batches of {self.valid} frames, and {self.share:.1%} padding; "
            f"the largest has {self.largest} frames, padding included"
        )


def read_frames(shape_files: Sequence[str]) -> dict[str, int]:
    """utterance -> video frames, from ESPnet's shape files: that of the video, or of the sound (640 samples a frame).

    Raises DataError if none of them holds lengths.
    """
    for name, unit in _LENGTHS:
        for path in shape_files:
            if Path(path).name.startswith(name):
                return {utt_id: -(-_length(path, value) // unit) for utt_id, value in read_scp(path).items()}
    raise DataError(
        "no lengths of the clips",
        found=", ".join(map(str, shape_files)) or "no shape file",
        expected="video_shape or speech_shape",
        fix="Stage 10 of a recipe writes them",
    )


def holds_lengths(path: str) -> bool:
    """Whether a shape file is one of clips, by its name; others count tokens, or only list utterances."""
    return Path(path).name.startswith(tuple(name for name, _ in _LENGTHS))


def _length(path: str, value: str) -> int:
    try:
        return int(value.split(",")[0])
    except ValueError:
        raise DataError(f"{path} holds no lengths", found=repr(value), expected="frames, as in 75,88,88") from None


def batches_by_frames(
    frames: Mapping[str, int], budget: int, *, max_padding: float = MAX_PADDING, min_size: int = 1
) -> list[list[str]]:
    """Every utterance in one batch: the longest first in it, batches from short to long.

    A batch takes as many utterances as `budget` padded frames allow without more padding than `max_padding` of them.
    `min_size` (as many as there are devices) goes before both. A clip longer than the budget is a batch of its own and
    is told. Raises ConfigError for values that cannot be meant, DataError for too few utterances.
    """
    check_values("training", {"batch_frames": budget, "max_padding": max_padding}, where="{name}")
    if len(frames) < min_size or not frames:
        raise DataError("too few utterances for one batch", found=len(frames), expected=f"at least {max(min_size, 1)}")
    order = sorted(frames, key=lambda utt_id: (frames[utt_id], utt_id), reverse=True)
    batches: list[list[str]] = []
    valid = 0
    for utt_id in order:  # from long to short: the first of a batch says how long the batch is
        if batches:
            batch = batches[-1]
            padded = (len(batch) + 1) * frames[batch[0]]
            fits = padded <= budget and 1 - (valid + frames[utt_id]) / padded <= max_padding
            if fits or len(batch) < min_size:
                batch.append(utt_id)
                valid += frames[utt_id]
                continue
        batches.append([utt_id])
        valid = frames[utt_id]
    if len(batches) > 1 and len(batches[-1]) < min_size:
        batches[-2].extend(batches.pop())
    longer = [utt_id for utt_id in order if frames[utt_id] > budget]
    if longer:
        logging.warning(
            "%d clips are longer than batch_frames: %d allows, such as %s with %d frames; each is a batch of its own",
            len(longer),
            budget,
            longer[0],
            frames[longer[0]],
        )
    return batches[::-1]


def padding_of(batches: Sequence[Sequence[str]], frames: Mapping[str, int]) -> Padding:
    padded = [len(batch) * max(frames[utt_id] for utt_id in batch) for batch in batches]
    valid = sum(frames[utt_id] for batch in batches for utt_id in batch)
    return Padding(len(batches), valid, sum(padded), max(padded))


def frame_batches(task: Any, args: argparse.Namespace, iter_options: "IteratorOptions") -> SequenceIterFactory:
    """ESPnet's iterator over the batches of `batch_frames`, for its arguments; `task` builds the dataset.

    Distributed, each batch is dealt out to the processes, as ESPnet does: the budget is that of all of them.
    """
    processes, rank = 1, 0
    if iter_options.distributed:
        processes, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    frames = read_frames(iter_options.shape_files)
    options = {"max_padding": args.max_padding, "min_size": max(processes, args.min_batch_size)}
    batches = batches_by_frames(frames, args.batch_frames, **options)
    batches = [batch[rank::processes] for batch in batches]
    return SequenceIterFactory(
        dataset=task.build_dataset(args, iter_options, {utt_id for batch in batches for utt_id in batch}),
        batches=batches,
        seed=args.seed,
        num_iters_per_epoch=iter_options.num_iters_per_epoch,
        shuffle=iter_options.train,
        num_workers=args.num_workers,
        collate_fn=iter_options.collate_fn,
        pin_memory=args.ngpu > 0,
    )


def log_padding(mode: str, batches: Sequence[Sequence[str]], shape_files: Sequence[str]) -> None:
    """One line for the log: the share of padding in these batches, or why it is not known."""
    try:
        frames = read_frames(shape_files)
    except DataError as error:
        logging.info("[%s] the share of padding is not known (%s)", mode, error)
        return
    logging.info("[%s] %s", mode, padding_of(batches, frames))
