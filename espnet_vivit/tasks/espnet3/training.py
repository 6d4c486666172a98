"""ESPnet3's stage train: a training.yaml in, an experiment that decoding and packing read like one of ESPnet2 out.

    exp_dir/config.yaml           the arguments (arguments.py), tokens and tower sizes in them
    exp_dir/last.ckpt             Lightning's checkpoint; a training that was stopped goes on from it
    exp_dir/valid.acc.ave.pth     the average of the best epochs, as decoding asks for it
    exp_dir/train.log             a line per epoch

Lightning's trainer does the rest: devices, DDP, mixed precision, accumulation, clipping, loggers.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from espnet_vivit.base.torch_file import check_numbers, data_only, read_torch_file
from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.errors import WeightsError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.arguments import training_arguments
from espnet_vivit.tasks.espnet3.module import AVSRModule, EpochResults
from espnet_vivit.tasks.espnet3.names import ESPnet3LightningTrainer

LAST = "last.ckpt"
log = logging.getLogger(__name__)


def train(config: DictConfig) -> None:
    """Train what `config` describes, or go on with it. Raises ConfigError or DataError before anything is built."""
    experiment = Path(config.exp_dir)
    experiment.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(int(config.get("seed") or 0), workers=True)
    torch.set_float32_matmul_precision("high")  # as ESPnet3's own stage
    args = training_arguments(config)
    trainer = build_trainer(config, args)
    first = trainer.trainer.is_global_zero
    if first:
        write_config(args, experiment / "config.yaml")
    with data_only():
        trainer.fit(**_fit_options(config, experiment))
    if first:
        write_averages(trainer.trainer, experiment)


def build_trainer(config: DictConfig, args: argparse.Namespace) -> Any:
    """ESPnet3's trainer over the model that the arguments describe, before `fit`."""
    trainer = ESPnet3LightningTrainer(
        model=AVSRModule(AVSRTask.build_model(args), config, args),
        exp_dir=str(config.exp_dir),
        config=config.trainer,
        best_model_criterion=config.best_model_criterion,
    )
    trainer.trainer.callbacks.append(EpochResults())
    return trainer


def write_config(args: argparse.Namespace, path: Path) -> None:
    """The experiment's config.yaml, as ESPnet2's training writes it."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(args).items()}
    write_whole(path, yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))


def write_averages(trainer: lightning.Trainer, experiment: Path) -> None:
    """`valid.acc.ave.pth` and its like: the mean of each criterion's best epochs, as ESPnet2 makes it.

    ESPnet3 writes averages itself, before Lightning has saved the epoch that has just ended: the last one is never in
    them. Raises WeightsError where no epoch was kept.
    """
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.monitor is None:  # that of last.ckpt has no criterion
            continue
        stem = callback.monitor.replace("/", ".")
        paths = sorted(callback.best_k_models)
        if not paths:
            raise WeightsError(
                f"the training in {experiment} kept no epoch by {callback.monitor}",
                fix="Was there a validation? trainer.check_val_every_n_epoch must not exceed trainer.max_epochs",
            )
        torch.save(average([_weights(path) for path in paths]), experiment / f"{stem}.ave.pth")
        log.info("%s.ave.pth: the mean of %s", stem, ", ".join(Path(path).name for path in paths))


def average(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of weights of one model; whole numbers, which count batches, are added up."""
    total = {name: cast(torch.Tensor, sum(state[name] for state in states)) for name in states[0]}
    return {name: value / len(states) if value.is_floating_point() else value for name, value in total.items()}


def _weights(path: str) -> dict[str, torch.Tensor]:
    state = read_torch_file(path)["state_dict"]
    check_numbers(state, path)
    return state


def _fit_options(config: DictConfig, experiment: Path) -> dict[str, Any]:
    """Of Lightning's `fit`: those of the section `fit`, and the checkpoint of a training that was stopped."""
    options: Any = OmegaConf.to_container(config.fit, resolve=True) if config.get("fit") else {}
    if (experiment / LAST).exists():
        options.setdefault("ckpt_path", str(experiment / LAST))
    return options
