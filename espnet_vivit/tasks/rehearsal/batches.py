"""The batches of a training without the training: what the trainer would be given, unaugmented and not shuffled.

In: the arguments of a training. Out: lists of utterance ids, and any of them as the tensors that the model takes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_vivit.espnet_compat import quiet_espnet_import
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.batches import read_frames


@dataclass(frozen=True)
class TrainingBatches:
    """`ids`: the utterances of every batch of an epoch; `frames`: video frames of each utterance."""

    ids: list[list[str]]
    frames: dict[str, int]
    factory: Any  # ESPnet's iterator factory, with the dataset

    def padded(self, utt_ids: Sequence[str]) -> int:
        """Video frames of these utterances as one batch, padding included: what memory and time go with."""
        return len(utt_ids) * max(self.frames[utt_id] for utt_id in utt_ids)

    @property
    def largest(self) -> list[str]:
        """The batch with most padded frames, its longest utterance first."""
        batch = max(self.ids, key=self.padded)
        return sorted(batch, key=self.frames.__getitem__, reverse=True)

    @property
    def padded_frames(self) -> int:
        """Of a whole epoch."""
        return sum(map(self.padded, self.ids))

    def load(self, utt_ids: Sequence[str], device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
        """The batch of these utterances, with `text`, `speech_lengths` and so on, as `E2E.forward` takes it."""
        _, batch = self.factory.collate_fn([self.factory.dataset[utt_id] for utt_id in utt_ids])
        return {name: tensor.to(device) for name, tensor in batch.items()}


def training_batches(args: argparse.Namespace) -> TrainingBatches:
    """Of the validation set's data options, but the training set's batch options, of `args`.

    Validation data are those that ESPnet reads without augmentation.
    """
    with quiet_espnet_import():
        from espnet2.train.distributed_utils import DistributedOption
    options = AVSRTask.build_iter_options(args, DistributedOption(), mode="valid")
    for name in ("batch_type", "batch_size", "batch_bins"):
        setattr(options, name, getattr(args, name))
    factory = AVSRTask.build_sequence_iter_factory(args, options, mode="valid")
    return TrainingBatches([list(batch) for batch in factory.sampler], read_frames(options.shape_files), factory)
