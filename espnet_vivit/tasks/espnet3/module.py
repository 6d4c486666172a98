"""E2E as Lightning trains it: ESPnet3's module, with what our trainer does beside ESPnet2's.

In: the model, the training.yaml and its arguments (arguments.py). Out: a LightningModule. What is scheduled by epoch
follows it, errors name the clips of a batch, `join_prob` finds other clips, the optimizer has the groups of lr_scale,
layer_decay and freeze_until, and Muon knows which matrices are its own.
"""

import argparse
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import lightning
from omegaconf import DictConfig

from espnet_vivit.data.scp import read_scp
from espnet_vivit.tasks.espnet3.names import ESPnetLightningModule
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from espnet_vivit.tasks.optim.muon import Muon, mark_hidden_matrices
from espnet_vivit.tasks.optim.optimizer import build_optimizer

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

log = logging.getLogger(__name__)


class AVSRModule(ESPnetLightningModule):
    """`AVSRModule(model, config, args)`; the loss, the data loaders and the checkpoints are ESPnet3's."""

    def __init__(self, model: "E2E", config: DictConfig, args: argparse.Namespace):
        super().__init__(model, config)
        self.args = args
        load, utt_ids = _raw_loader(self.train_dataset.datasets), list(read_scp(args.train_shape_file[0]))
        for preprocessor in self._preprocessors():
            preprocessor.join_from(load, utt_ids)

    def configure_optimizers(self) -> dict[str, Any]:
        if resolve_name(self.args.optim) is Muon:
            mark_hidden_matrices(self.args, self.model)
        optimizer = resolve_name(self.args.optim)(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad], **self.args.optim_conf
        )
        optimizer = build_optimizer(self.args, self.model, optimizer)
        scheduler = resolve_name(self.args.scheduler)(optimizer, **self.args.scheduler_conf)
        interval = {"scheduler": scheduler, "interval": self.config.get("scheduler_interval") or "step"}
        if self.config.get("scheduler_monitor"):
            interval["monitor"] = self.config.scheduler_monitor
        return {"optimizer": optimizer, "lr_scheduler": interval}

    def train_dataloader(self) -> Any:
        for preprocessor in self._preprocessors():  # before the loader's processes copy it
            preprocessor.set_epoch(self.current_epoch + 1)
        return super().train_dataloader()

    def on_train_epoch_start(self) -> None:
        self.model.set_epoch(self.current_epoch + 1)

    def training_step(self, batch: tuple[list[str], dict], batch_idx: int) -> Any:
        return super().training_step(_with_names(batch), batch_idx)

    def validation_step(self, batch: tuple[list[str], dict], batch_idx: int) -> Any:
        return super().validation_step(_with_names(batch), batch_idx)

    def _preprocessors(self) -> Iterator[AVSRPreprocessor]:
        for _, preprocessor in self.train_dataset.transforms:
            if isinstance(preprocessor, AVSRPreprocessor):
                yield preprocessor


def _with_names(batch: tuple[list[str], dict]) -> tuple[list[str], dict]:
    utt_ids, tensors = batch
    return utt_ids, {**tensors, "utt_id": list(utt_ids)}


def _raw_loader(datasets: list) -> Callable[[str], Mapping]:
    """utterance -> its data before preprocessing, from whichever of the data sets has it."""
    owner = {utt_id: dataset for dataset in datasets for utt_id in dataset}
    return lambda utt_id: owner[utt_id][utt_id]


class EpochResults(lightning.Callback):
    """A line per epoch in train.log, in the form in which evaluation/training_log.py reads those of ESPnet2.

    Numbers of the training are means over its batches, those of the validation ESPnet3's.
    """

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.batches, self.begun_s, self.validation_s = 0, time.perf_counter(), 0.0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.batches += 1
        for name, value in _measured(trainer, "train").items():
            self.sums[name] += value

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.validation_begun_s = time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.validation_s = time.perf_counter() - self.validation_begun_s

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        training_s = time.perf_counter() - self.begun_s - self.validation_s
        train = {name: value / self.batches for name, value in self.sums.items()}
        log.info(
            "%depoch results: [train] %s, [valid] %s",
            trainer.current_epoch + 1,
            _line(train, training_s),
            _line(_measured(trainer, "valid"), self.validation_s),
        )


def _measured(trainer: lightning.Trainer, phase: str) -> dict[str, float]:
    prefix = f"{phase}/"
    found = trainer.callback_metrics.items()
    return {name.removeprefix(prefix): float(value) for name, value in found if name.startswith(prefix)}


def _line(values: Mapping[str, float], seconds: float) -> str:
    numbers = [f"{name}={value:.4g}" for name, value in sorted(values.items())]
    return ", ".join([*numbers, f"time={seconds:.2f} seconds"])
