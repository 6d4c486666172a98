"""ESPnet3's stage train: a training.yaml in, an experiment that decoding and packing read like one of ESPnet2 out.

    exp_dir/config.yaml           the arguments (arguments.py), tokens and tower sizes in them
    exp_dir/last.ckpt             Lightning's checkpoint; a training that was stopped goes on from it
    exp_dir/valid.acc.ave.pth     the average of the best epochs, as decoding asks for it
    exp_dir/train.log             a line per epoch

Lightning's trainer does the rest: devices, DDP, mixed precision, accumulation, clipping, loggers.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

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
    trainer.fit(**_fit_options(config, experiment))
    if first:
        for name, _, _ in config.best_model_criterion:
            name_average(experiment, name)


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


def name_average(experiment: Path, criterion: str) -> Path:
    """Link `valid.acc.ave.pth` to the newest average by "valid/acc" that ESPnet3 has written; returns the link.

    ESPnet3's name says how many epochs it had averaged by then; decoding shall not have to know how many there were.
    """
    stem = criterion.replace("/", ".")
    averages = sorted(experiment.glob(f"{stem}.ave_*best.pth"), key=lambda path: path.stat().st_mtime_ns)
    if not averages:
        raise WeightsError(
            f"the training in {experiment} left no average by {criterion}",
            fix="Was there a validation? trainer.check_val_every_n_epoch must not exceed trainer.max_epochs",
        )
    link = experiment / f"{stem}.ave.pth"
    link.unlink(missing_ok=True)
    link.symlink_to(averages[-1].name)
    log.info("%s is %s", link, averages[-1].name)
    return link


def _fit_options(config: DictConfig, experiment: Path) -> dict[str, Any]:
    """Of Lightning's `fit`: those of the section `fit`, and the checkpoint of a training that was stopped."""
    options: Any = OmegaConf.to_container(config.fit, resolve=True) if config.get("fit") else {}
    if (experiment / LAST).exists():
        options.setdefault("ckpt_path", str(experiment / LAST))
    return options
