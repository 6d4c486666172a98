"""A batch that the device's memory cannot hold: named, with what to change, or trained in halves.

    on_out_of_memory: stop      (the default) one sentence with the utterances and frames of the batch, and what to do
    on_out_of_memory: halve     the batch is computed again in two halves, and later ones as large from the start

Halved means: forward and backward pass of one half after the other, the losses weighted by their utterances, then one
step of the optimizer, as if the batch had fitted. The same gradient, but for BatchNorm, which sees halves, and for
means over frames or tokens instead of utterances: the frame loss, and all with `length_normalized_loss`. Each half is
computed twice (see espnet_vivit.tasks.training.recompute). What was accumulated (accum_grad) before the batch that did
not fit is lost. On one device only: the others would wait for each other.
"""

import gc
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from espnet_vivit.errors import BatchTooLargeError
from espnet_vivit.model.nonfinite import NonFiniteLosses
from espnet_vivit.tasks.training.progress import Batches
from espnet_vivit.tasks.training.recompute import recomputed
from espnet_vivit.units import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

WAYS = ("stop", "halve")
_CPU_MESSAGES = ("can't allocate memory", "not enough memory")  # PyTorch has no class for these


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch's allocator, on a GPU or in main memory, has refused."""
    cpu = isinstance(error, RuntimeError) and any(message in str(error) for message in _CPU_MESSAGES)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or cpu


def padded_frames(batch: Mapping) -> tuple[int, int]:
    """(utterances, frames of the longest) of a batch as it lies in memory."""
    if "video" in batch:
        return batch["video"].shape[0], batch["video"].shape[1]
    return batch["speech"].shape[0], batch["speech"].shape[1] // SAMPLES_PER_FRAME


def too_large(utt_ids: list[str], batch: Mapping, reason: str) -> BatchTooLargeError:
    """The error that says which batch it was and what to change."""
    count, frames = padded_frames(batch)
    what = ", ".join(utt_ids[:5]) + (f" and {len(utt_ids) - 5} more" if len(utt_ids) > 5 else "")
    return BatchTooLargeError(
        f"out of memory in a batch of {count} utterances × {frames} frames ({what}): {reason}",
        fix=f"Lower batch_frames (or batch_bins) below {count * frames}, with accum_grad raised to make up for it; or "
        "gradient_checkpointing: [vision_encoder, encoder]; amp_dtype: bfloat16; tower_adapters with type: qlora; "
        f"leave out clips beyond {max(frames - 1, 1)} frames; or let on_out_of_memory: halve split such batches",
    )


class BatchStream:
    """Batches on their way to the trainer: the last one is remembered, and can be given back. `len` is the source's."""

    def __init__(self, batches: Batches):
        self.length = len(batches)
        self.source = iter(batches)
        self.returned: list[tuple[list[str], dict]] = []
        self.last: tuple[list[str], dict] | None = None  # also while the next one is being loaded

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> tuple[list[str], dict]:
        self.last = None
        self.last = self.returned.pop() if self.returned else next(self.source)
        return self.last

    def give_back(self) -> None:
        assert self.last is not None
        self.returned.append(self.last)


class Halving(nn.Module):
    """Trains `model` (E2E) in its place, and splits what has been found too large for it; one for a whole training."""

    def __init__(self, model: "E2E"):
        super().__init__()
        self.model = model
        self.limit: int | None = None  # frames, padding included, of what is computed at once

    def learn(self, utt_ids: list[str], batch: Mapping, reason: str) -> None:
        """After an out of memory with this batch. Raises BatchTooLargeError if a single utterance was too large."""
        count, frames = padded_frames(batch)
        pieces = self.pieces(batch)
        if pieces >= count:
            raise too_large(utt_ids, batch, f"{reason}; it was computed one utterance at a time already")
        self.limit = -(-count // (2 * pieces)) * frames
        logging.warning(
            "out of memory in a batch of %d utterances × %d frames: from here on at most %d frames at once",
            count,
            frames,
            self.limit,
        )
        gc.collect()  # graphs hang together in circles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def pieces(self, batch: Mapping) -> int:
        count, frames = padded_frames(batch)
        if self.limit is None:
            return 1
        return -(-count // max(1, self.limit // frames))

    def forward(self, **batch: Any) -> Any:
        """As `model(**batch)`: (loss, stats, weight), of large batches from their pieces one after the other."""
        pieces = self.pieces(batch)
        if pieces == 1:
            return self.model(**batch)
        count = padded_frames(batch)[0]
        size = -(-count // pieces)
        answers = []
        for start in range(0, count, size):
            part = cut(batch, start, start + size)
            answers.append(recomputed(_Counted(self.model), self.model, **part))
        return weighted_sum(answers)


class _Counted:
    """`model(**part)`, where losses that are not finite are counted in the first run only."""

    def __init__(self, model: "E2E"):
        self.model, self.ran = model, False

    def __call__(self, **part: Any) -> Any:
        counted, first = self.model.non_finite, not self.ran
        self.ran = True
        if not first:
            self.model.non_finite = NonFiniteLosses(limit=counted.limit + 1)
        try:
            return self.model(**part)
        finally:
            self.model.non_finite = counted


def cut(batch: Mapping, start: int, end: int) -> dict:
    """Utterances start…end of a batch, their tensors no longer than the longest of them needs."""
    part = {name: value[start:end] for name, value in batch.items()}
    for name, lengths in part.items():
        stream = name.removesuffix("_lengths")
        if name.endswith("_lengths") and stream in part:
            part[stream] = part[stream][:, : int(lengths.max())]
    return part


def weighted_sum(answers: list[tuple]) -> tuple[torch.Tensor, dict, torch.Tensor]:
    """ESPnet's (loss, stats, weight) of a batch from those of its pieces, each counted by its utterances.

    A number that a piece does not have (the frame accuracy of clips without word times) is the mean of the others.
    """
    weights = torch.cat([weight.flatten() for _, _, weight in answers])
    losses = torch.cat([loss.flatten() for loss, _, _ in answers])
    stats = {}
    for name in answers[0][1]:
        known = [(piece[name], weight) for (_, piece, _), weight in zip(answers, weights, strict=True)]
        known = [(value, weight) for value, weight in known if value is not None]
        total = sum(weight for _, weight in known)
        stats[name] = sum(value * weight for value, weight in known) / total if known else None
    return (losses * weights).sum(0, keepdim=True) / weights.sum(), stats, weights.sum(0, keepdim=True)
