"""`curriculum: {max_frames: 100, epochs: 10}`: short clips alone in the first epochs, all of them afterwards.

In: ESPnet's factory of a training set's batches. Out: one that leaves long clips out of the batches of the first
epochs, and tells the preprocessing which epoch it is, for noise that grows with it. Beginning with long clips keeps lip
readers at 100 % errors for long: Auto-AVSR (Ma et al., ICASSP 2023) trains on up to 100 frames before it trains on all.

Several processes share each batch. What is left of one may be too little for all of them, and ESPnet ends the epoch of
all with the first that has no batch left: short clips are dealt out anew, so that each is seen and none waits.

A corpus of long clips alone has nothing to begin with: it is trained on whole, after a warning. A preset's curriculum
is for any corpus, and a few long clips do no harm.
"""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

import torch

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.espnet_compat import AbsIterFactory
from espnet_vivit.tasks.loading.batches import read_frames


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Clips of at most `max_frames` video frames in epochs 1 to `epochs`."""

    max_frames: int
    epochs: int

    def __post_init__(self):
        check_values("curriculum", vars(self), where="{name} of curriculum")


def read_curriculum(option: Mapping | None) -> Curriculum | None:
    """The checked option; None: all clips in every epoch. Raises ConfigError for unknown, missing or bad values."""
    if not option:
        return None
    names = [field.name for field in fields(Curriculum)]
    for name in option:
        if name not in names:
            raise unknown_name("option in curriculum", name, names)
    missing = [name for name in names if name not in option]
    if missing:
        raise ConfigError(
            f"curriculum lacks {missing[0]}", found=dict(option), expected="{max_frames: 100, epochs: 10}"
        )
    return Curriculum(**option)


class EpochIterFactory(AbsIterFactory):
    """`build_iter(epoch)` gives the batches of that epoch, as ESPnet's `factory` makes them of what is left."""

    def __init__(
        self, factory: Any, curriculum: Curriculum | None, shape_files: Sequence[str], *, distributed: bool = False
    ):
        self.factory, self.early_epochs, self.short = factory, 0, factory
        if curriculum is not None:
            short = _short(factory, curriculum, read_frames(shape_files), distributed=distributed)
            if short is not None:
                self.early_epochs, self.short = curriculum.epochs, short

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterable:
        preprocess = self.factory.dataset.preprocess
        if preprocess is not None:  # before the loader's processes copy it
            preprocess.set_epoch(epoch)
        return self.of_epoch(epoch).build_iter(epoch, shuffle)

    def of_epoch(self, epoch: int) -> Any:
        """ESPnet's factory with the batches of this epoch."""
        return self.short if epoch <= self.early_epochs else self.factory


def _short(factory: Any, curriculum: Curriculum, frames: Mapping[str, int], *, distributed: bool) -> Any | None:
    """A copy of ESPnet's factory over the same dataset, with this process's part of batches of short clips alone.

    None, and a warning, where there are no short clips, or fewer than processes.
    """
    processes, rank = 1, 0
    batches = list(factory.sampler)
    if distributed:
        processes, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        batches = _of_all_processes(batches, processes)
    left = [tuple(key for key in batch if frames[key] <= curriculum.max_frames) for batch in batches]
    left = at_least([batch for batch in left if batch], processes)
    if not left or len(left[0]) < processes:
        logging.warning(
            "curriculum: %d of %d clips have at most %d frames (the shortest has %d), too few to begin with: "
            "all clips are trained on from the first epoch on",
            sum(map(len, left)),
            len(frames),
            curriculum.max_frames,
            min(frames.values()),
        )
        return None
    logging.info(
        "curriculum: %d of %d clips in epochs 1 to %d, those of at most %d frames",
        sum(map(len, left)),
        sum(map(len, batches)),
        curriculum.epochs,
        curriculum.max_frames,
    )
    short = copy.copy(factory)
    short.sampler = type(factory.sampler)([batch[rank::processes] for batch in left])
    return short


def _of_all_processes(own: list[Sequence[str]], processes: int) -> list[tuple[str, ...]]:
    """Batches as they were before clip i of each went to process i modulo `processes`; `own` is this one's part."""
    parts: list = [None] * processes
    torch.distributed.all_gather_object(parts, [tuple(batch) for batch in own])
    whole = []
    for batch in zip(*parts, strict=True):
        rows = zip_longest(*batch)  # one clip of each process in a row
        whole.append(tuple(key for row in rows for key in row if key is not None))
    return whole


def at_least(batches: Sequence[tuple[str, ...]], size: int) -> list[tuple[str, ...]]:
    """The same clips in the same order; a batch of fewer than `size` is joined with its neighbour."""
    joined: list[tuple[str, ...]] = []
    for batch in batches:
        if joined and len(joined[-1]) < size:
            joined[-1] += batch
        else:
            joined.append(batch)
    if len(joined) > 1 and len(joined[-1]) < size:
        last = joined.pop()
        joined[-1] += last
    return joined
