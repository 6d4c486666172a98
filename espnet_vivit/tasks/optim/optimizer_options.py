"""`optim_conf`, `scheduler_conf`, `exclude_weight_decay_conf`: mistakes are errors before a model is built.

In: parsed options. ESPnet gives them to the classes that `optim` and `scheduler` name after minutes of building, and a
misspelt key ends the training with a TypeError that does not say which file it came from. Here the same classes are
tried on a stand-in of one weight.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping

import torch

from espnet_vivit.base.option_types import is_number
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.espnet_compat import add_optimizer_hooks, optim_classes, scheduler_classes
from espnet_vivit.tasks.optim.muon import NAME as MUON
from espnet_vivit.tasks.optim.optimizer import LEVELING_SCHEDULERS
from espnet_vivit.tasks.optim.schedule import waits_for_batches

_GIVEN_BY_ESPNET = ("params", "optimizer", "model")


def check_optimizer_options(args: argparse.Namespace) -> None:
    """Raise ConfigError for an unknown optimizer or scheduler, or options that it does not take.

    MissingDependencyError: a torch without the optimizer. A mapping that the YAML leaves empty becomes one in `args`.
    """
    for name in ("optim_conf", "scheduler_conf", "exclude_weight_decay_conf"):
        if getattr(args, name) is None:
            setattr(args, name, {})
    _check_keys("exclude_weight_decay_conf", args.exclude_weight_decay_conf, add_optimizer_hooks)
    optimizer_class = _choice("optim", args.optim, optim_classes)
    stand_in = torch.nn.Parameter(torch.zeros(1, 1))
    optimizer = _made("optim_conf", args.optim, optimizer_class, [stand_in], args.optim_conf)
    if args.scheduler is None:
        return
    scheduler_class = _choice("scheduler", args.scheduler, scheduler_classes)
    later = {"total_steps": sys.maxsize} if waits_for_batches(args) else {}  # counted when the batches are known
    _made("scheduler_conf", args.scheduler, scheduler_class, optimizer, {**args.scheduler_conf, **later})
    if args.optim == MUON and args.scheduler in LEVELING_SCHEDULERS and "muon_lr_scale" in args.optim_conf:
        fix = "Use cosine_with_warmup or warmuplr, which scale the rate of each"
        raise ConfigError(f"scheduler {args.scheduler} sets one learning rate for muon and AdamW", fix=fix)


def _choice(option: str, name: str, table: Mapping[str, type]) -> type:
    if name not in table:
        raise unknown_name(option, name, table)
    return table[name]


def _made(option: str, name: str, made: type, of: object, conf: Mapping):
    """The optimizer or scheduler that `conf` describes."""
    _check_keys(f"{option} of {name}", conf, made)
    for key, value in conf.items():
        if isinstance(value, str) and is_number(value):
            expected = f"a number, as {float(value)!r}"
            fix = "YAML takes 1e-3 for text, and 1.0e-3 for a number"
            raise ConfigError(f"{key} in {option}", found=f"the text {value!r}", expected=expected, fix=fix)
    try:
        return made(of, **conf)
    except ConfigError:
        raise
    except (TypeError, ValueError, LookupError) as error:
        raise ConfigError(f"{option} of {name} is refused ({error})", found=dict(conf)) from error


def _check_keys(where: str, conf: Mapping, taker: Callable) -> None:
    known = inspect.signature(taker).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    names = [name for name in known if name not in _GIVEN_BY_ESPNET]
    for key in conf:
        if key not in names:
            raise unknown_name(f"option in {where}", key, names)
