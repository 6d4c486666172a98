"""`lr_scale`, `layer_decay`, `freeze_until`: how fast each part of the model learns, as groups of one optimizer.

    lr_scale: {vision_encoder: 0.1, encoder: 0.5}       the part's share of optim_conf's learning rate
    layer_decay: {vision_encoder: 0.75}                 each layer learns at 0.75 of the rate of the one above it
    freeze_until: {vision_encoder: 5000}                the part does not learn in the first 5000 optimizer steps

What is pretrained is named, and what is new behind it is not slowed: of a `vivit` tower all three mean ViViT itself,
not its projection. Layer decay as in ELECTRA and BEiT (Clark et al., ICLR 2020; Bao et al., ICLR 2022): of L layers,
layer i learns at decay^(L+1-i), what comes before the first at decay^(L+1), what comes after the last at the full rate.
ESPnet's schedulers scale the rate of every group; those that set one rate for all are refused.
"""

import argparse
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from espnet_vivit.base.option_types import check_value
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.model.adapters.attach import base_of
from espnet_vivit.tasks.optim.freezing import FreezeUntil, refuse_other_groups

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

PARTS = ("vision_encoder", "audio_encoder", "fusion", "encoder", "decoder", "ctc", "frame_head")
LEVELING_SCHEDULERS = ("cycliclr", "onecyclelr", "cosineannealingwarmuprestarts", "exponentialdecaywarmup")
LEVELING_SCHEDULERS += ("piecewiselinearwarmuplr",)
REST = "all else"
_LAYER = re.compile(r"(?:^|\.)(?:layers?|encoders|decoders)\.(\d+)\.|(?:^|\.)layer(\d+)\.")
_BELOW = re.compile(r"(?:^|\.)(?:embeddings|embed|frontend3D|conv1|bn1)\.")  # what the first layer reads


@dataclass(frozen=True)
class Rates:
    """The three options, checked; each maps a part of the model to its value."""

    lr_scale: Mapping[str, float] = field(default_factory=dict)
    layer_decay: Mapping[str, float] = field(default_factory=dict)
    freeze_until: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        for option, values in vars(self).items():
            _check(option, values)

    def __bool__(self) -> bool:
        return bool(self.lr_scale or self.layer_decay or self.freeze_until)


def read_rates(args: argparse.Namespace) -> Rates:
    """The options of a training. Raises ConfigError for a value, a scheduler or a length that cannot be meant."""
    rates = Rates(*(getattr(args, name, None) or {} for name in ("lr_scale", "layer_decay", "freeze_until")))
    if (rates.lr_scale or rates.layer_decay) and args.scheduler in LEVELING_SCHEDULERS:
        raise ConfigError(
            f"scheduler {args.scheduler} sets one learning rate for all parts",
            found="lr_scale or layer_decay beside it",
            fix="Use cosine_with_warmup or warmuplr, which scale the rate of each",
        )
    total = args.scheduler_conf.get("total_steps") if args.scheduler == "cosine_with_warmup" else None
    for part, steps in rates.freeze_until.items():
        if total is not None and steps >= total:
            raise ConfigError(
                f"freeze_until of {part} is not over when the schedule is",
                found=f"{steps} steps",
                expected=f"fewer than scheduler_conf's total_steps={total}",
                fix=f"To keep it as it is for good: freeze_param: [{part}]",
            )
    return rates


def build_optimizer(args: argparse.Namespace, model: "E2E", default: Optimizer) -> Optimizer:
    """The optimizer of a training: `default`, which is ESPnet's, or one of its class with a group per rate.

    Raises ConfigError for options that do not fit the model or each other.
    """
    check_frozen_names(model, args.freeze_param)
    model.held_towers |= {name for name, tower in model.towers().items() if tower is not None and _is_frozen(tower)}
    rates = read_rates(args)
    optimizer = default
    if rates:
        if args.sharded_ddp:
            raise ConfigError("sharded_ddp has one group of parameters", found="lr_scale, layer_decay or freeze_until")
        optimizer = type(default)(parameter_groups(model, rates), **args.optim_conf)
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        logging.info("learning rates:\n%s", group_table(optimizer))
        FreezeUntil(model, optimizer)
    refuse_other_groups(optimizer)
    return optimizer


def parameter_groups(model: nn.Module, rates: Rates) -> list[dict]:
    """One group per part, layer and weight decay: `name`, `lr_scale`, `frozen_until` (0: never was), and `params`.

    Raises ConfigError for a part that the model does not have, or one without layers to decay over.
    """
    parts = {name: part for name, part in model.named_children() if name in PARTS}
    for option, values in vars(rates).items():
        for name in values:
            if name not in parts:
                raise unknown_name(f"part in {option} (this model has {', '.join(parts)})", name, parts)
    depths = {name: _depths(name, base_of(parts[name])) for name in rates.layer_decay}
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        part = _part_of(name, parts)
        group = {"name": REST, "lr_scale": 1.0, "frozen_until": 0}
        if part is not None and any(part in values for values in vars(rates).values()):
            group = {"name": part, "lr_scale": float(rates.lr_scale.get(part, 1.0))}
            group["frozen_until"] = rates.freeze_until.get(part, 0)
        if part in depths:
            depth, top = depths[part][name.removeprefix(_prefix(part, parts))]
            group["name"] += ", below its layers" if depth == 0 else f", layer {depth}" if depth < top else ""
            group["lr_scale"] *= rates.layer_decay[part] ** (top - depth)
        group |= getattr(parameter, "_optim", {})  # ESPnet's exclude_weight_decay
        members = groups.setdefault(tuple(group.items()), {"params": [], **group})
        members["params"].append(parameter)
    return sorted(groups.values(), key=lambda group: group["name"] != REST)


def _part_of(name: str, parts: Mapping[str, nn.Module]) -> str | None:
    """The part whose base holds the parameter `name`; None for all that is new behind a tower's base."""
    part = name.partition(".")[0]
    return part if part in parts and name.startswith(_prefix(part, parts)) else None


def _prefix(part: str, parts: Mapping[str, nn.Module]) -> str:
    base = base_of(parts[part])
    return f"{part}." + next((f"{name}." for name, child in parts[part].named_children() if child is base), "")


def _depths(part: str, base: nn.Module) -> dict[str, tuple[int, int]]:
    """parameter -> (depth, L + 1): 0 below the layers, 1…L in them, L + 1 above."""
    numbers = {}
    for name, _ in base.named_parameters():
        match = _LAYER.search(name)
        behind = name.startswith("temporal.")  # of a factorised ViViT: its layers over time follow those over space
        numbers[name] = (behind, int(match.group(1) or match.group(2))) if match else None
    layers = sorted({number for number in numbers.values() if number is not None})
    if not layers:
        raise ConfigError(f"{part} has no layers for layer_decay", found=type(base).__name__, fix="Use lr_scale")
    top = len(layers) + 1
    depth = {number: rank for rank, number in enumerate(layers, start=1)}
    return {
        name: (depth[number] if number is not None else 0 if _BELOW.search(name) else top, top)
        for name, number in numbers.items()
    }


def group_table(optimizer: Optimizer) -> str:
    """A line per group for the log: how many parameters it has, its peak learning rate, until when it is frozen."""
    lines = []
    for group in optimizer.param_groups:
        count = sum(parameter.numel() for parameter in group["params"] if parameter.requires_grad)
        frozen = f", frozen until step {group['frozen_until']}" if group["frozen_until"] else ""
        method = f", {group['method']}" if "method" in group else ""
        lines.append(f"{group['name']}{method}: {count:,} trained parameters, learning rate {group['lr']:.3g}{frozen}")
    return "\n".join(lines)


def check_frozen_names(model: nn.Module, names: list[str]) -> None:
    """Raise ConfigError for an entry of ESPnet's `freeze_param` that is no parameter: ESPnet would freeze nothing."""
    known = set()
    for name, _ in model.named_parameters():
        parts = name.split(".")
        known |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    for name in names:
        if name not in known:
            level = [other for other in known if other.count(".") == name.count(".")]
            raise unknown_name("name in freeze_param", name, level)


def _is_frozen(tower: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in base_of(tower).parameters())


def _check(option: str, values: object) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(option, found=repr(values), expected="a mapping such as {vision_encoder: …}")
    for part, value in values.items():
        if part not in PARTS:
            raise unknown_name(f"part in {option}", part, PARTS)
        check_value("rates", option, value, where=f"{option} of {part}")
