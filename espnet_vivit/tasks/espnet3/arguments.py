"""A training.yaml of ESPnet3 in, the arguments of a training on AVSRTask out, checked as avsr_train checks them.

    dataset.train, dataset.valid        one data directory each; dataset.preprocessor.augmentation: preprocessor_conf
    model                               modality, token_list, vision_encoder, encoder_conf, …; freeze_param
    optimizer, scheduler                targets of Hydra; beside them lr_scale, layer_decay and freeze_until
    trainer.precision                   amp_dtype: bf16-mixed or 16-mixed; E2E computes its losses in float32

The arguments become the experiment's config.yaml, from which packing, transcribing and decoding build the model: it is
the same file that a training by ESPnet2 leaves.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.model_options import add_model_arguments
from espnet_vivit.tasks.options import check_config
from espnet_vivit.tasks.streams import train_options, view_options
from espnet_vivit.tasks.training_facts import NOTE, noted_facts

RATES = ("lr_scale", "layer_decay", "freeze_until")
PRECISIONS = {"bf16-mixed": "bfloat16", "16-mixed": "float16", "32-true": None, "32": None}
_ELSEWHERE = {  # options of a model that stand in another place of ESPnet3's YAML, or nowhere -> what to do
    "amp_dtype": "Say trainer: {precision: bf16-mixed}",
    "curriculum": "ESPnet3 makes its batches once for all epochs; use the recipe in egs/",
    "preprocessor_conf": "Say dataset: {preprocessor: {augmentation: …}}",
    **dict.fromkeys(RATES, "It stands beside optimizer, not in model"),
}
_HYDRA = ("_target_", "_convert_", "_recursive_", "_partial_")


def data_dir_of(config: DictConfig, split: str) -> Path:
    """The data directory of `split`, "train" or "valid". Raises ConfigError unless there is exactly one."""
    entries = config.dataset.get(split) or []
    if len(entries) != 1:
        raise ConfigError(
            f"dataset.{split} of the training configuration",
            found=f"{len(entries)} entries",
            expected="one data directory",
            fix="Join several into one beforehand",
        )
    return Path(entries[0].data_src_args.data_dir)


def training_arguments(config: DictConfig) -> argparse.Namespace:
    """The arguments of the training that `config` describes; the stage collect_stats has been run.

    Raises ConfigError for an option that does not exist or that ESPnet3 has in another place, DataError for data that
    do not fit the model.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    options = _options(plain)
    parser = AVSRTask.get_parser()
    check_config(options, parser, where="in the training configuration")
    train, valid, stats = data_dir_of(config, "train"), data_dir_of(config, "valid"), Path(plain["stats_dir"])
    if not (stats / "train").is_dir():
        raise DataError("no lengths of the clips", found=f"no {stats / 'train'}", fix="Run the stage collect_stats")
    words = train_options(options, train=train, valid=valid, stats=stats)
    words += view_options(options, train.parent)
    words += ["--output_dir", str(plain["exp_dir"]), "--ngpu", str(min(1, torch.cuda.device_count()))]
    parser.set_defaults(**options)
    args = parser.parse_args(words)
    AVSRTask.check_required_command_args(args)
    args.optim, args.optim_conf = _target(plain, "optimizer")
    args.scheduler, args.scheduler_conf = _target(plain, "scheduler")
    setattr(args, NOTE, noted_facts(vars(args)))
    return args


def _options(plain: Mapping) -> dict[str, Any]:
    """AVSRTask's options, as a YAML for avsr_train would have them."""
    model = {name: value for name, value in plain["model"].items() if value is not None}  # null: ESPnet's default
    _check_model_keys(model)
    trainer = plain["trainer"]
    criteria = [[*name.split("/"), mode] for name, _, mode in plain["best_model_criterion"]]
    options = {
        **model,
        "preprocessor_conf": (plain["dataset"].get("preprocessor") or {}).get("augmentation") or {},
        "amp_dtype": _amp_dtype(trainer.get("precision")),
        "max_epoch": trainer["max_epochs"],
        "accum_grad": trainer.get("accumulate_grad_batches", 1),
        "grad_clip": float(trainer.get("gradient_clip_val") or math.inf),
        "best_model_criterion": criteria,
        "keep_nbest_models": max(count for _, count, _ in plain["best_model_criterion"]),
        "seed": plain.get("seed") or 0,
        "use_tensorboard": False,
    }
    return options | {name: plain[name] for name in RATES if plain.get(name)}


def _check_model_keys(model: Mapping) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.set_defaults(required=[])
    add_model_arguments(parser, AVSRTask.class_choices_list)
    known = {action.dest for action in parser._actions} - set(_ELSEWHERE) | {"freeze_param", "gradient_checkpointing"}
    for name in model:
        if name in _ELSEWHERE:
            raise ConfigError(f"{name} in model", fix=_ELSEWHERE[name])
        if name not in known:
            raise unknown_name("option in model", name, known)


def _amp_dtype(precision: Any) -> str | None:
    if precision is None:
        return None
    if str(precision) not in PRECISIONS:
        raise unknown_name("trainer.precision", precision, PRECISIONS)
    return PRECISIONS[str(precision)]


def _target(plain: Mapping, section: str) -> tuple[str, dict]:
    """(Hydra's target, its arguments) of the optimizer or the scheduler."""
    given = plain.get(section) or {}
    if not given.get("_target_"):
        raise ConfigError(f"the training configuration has no {section}", expected="{_target_: …, …}")
    return given["_target_"], {name: value for name, value in given.items() if name not in _HYDRA}
