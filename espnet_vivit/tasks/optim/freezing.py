"""Freeze-then-unfreeze: parts that do not learn until the optimizer has made so many steps.

In: a model and the optimizer of `espnet_vivit.tasks.optim.optimizer`, whose groups say `frozen_until`. Out: hooks on
both; ESPnet's trainer needs to know nothing. Steps are counted in the groups, and so saved and resumed with the
optimizer.

Until its step a part has no gradient: no share in the clipped norm, no moments, no weight decay, and BatchNorm in it
keeps its statistics. Without distributed training its parameters ask for none, and its backward pass is not computed.
DDP settles at its start which gradients it exchanges; there they are computed, and set to zero.
"""

import logging
from typing import TYPE_CHECKING

import torch
from torch import nn

from espnet_vivit.errors import ConfigError

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E


class FreezeUntil:
    """Freezes at once, and unfreezes a part at its step; also right after the optimizer's state was loaded."""

    def __init__(self, model: "E2E", optimizer: torch.optim.Optimizer):
        self.model, self.optimizer = model, optimizer
        self.in_ddp = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.trainable = {id(p) for p in model.parameters() if p.requires_grad}  # freeze_param's others stay frozen
        self._zeroing: dict[str, list] = {}  # group -> hooks
        self._waiting: set[str] = set()  # parts that stand still
        self._held: set[str] = set()  # those of them whose statistics were not held before: adapters hold their base's
        learning = {_part(group) for group in self._groups() if self._parameters(group)}
        for group in self._groups():
            group["steps_done"] = 0
            part = _part(group)
            if part not in learning:
                raise ConfigError(
                    f"freeze_until names {part}, of which nothing would ever train",
                    fix=f"Is {part} also in freeze_param, or its frozen true? Leave one of the two out",
                )
            self._freeze(group)
        model.train(model.training)  # statistics are held from now on
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)
        optimizer.register_load_state_dict_post_hook(self._after_loading)

    def _groups(self) -> list[dict]:
        return [group for group in self.optimizer.param_groups if group.get("frozen_until")]

    def _parameters(self, group: dict) -> list[nn.Parameter]:
        return [parameter for parameter in group["params"] if id(parameter) in self.trainable]

    def _freeze(self, group: dict) -> None:
        for parameter in self._parameters(group):
            if self.in_ddp:
                self._zeroing.setdefault(group["name"], []).append(parameter.register_hook(torch.zeros_like))
            else:
                parameter.requires_grad_(False)
        part = _part(group)
        if part not in self._waiting and part not in self.model.held_towers:
            self._held.add(part)
        self._waiting.add(part)
        self.model.held_towers.add(part)

    def _unfreeze(self, group: dict) -> None:
        for hook in self._zeroing.pop(group["name"], []):
            hook.remove()
        for parameter in self._parameters(group):
            parameter.requires_grad_(True)
        self._waiting.discard(_part(group))
        if _part(group) in self._held:
            self.model.held_towers.discard(_part(group))
        self.model.train(self.model.training)

    def _before_step(self, optimizer, args, kwargs) -> None:
        for group in self._groups():
            if group["steps_done"] < group["frozen_until"]:
                for parameter in group["params"]:
                    parameter.grad = None  # with zeros Adam would keep moments, and decay the weights

    def _after_step(self, optimizer, args, kwargs) -> None:
        for group in self._groups():
            group["steps_done"] += 1
            if group["steps_done"] == group["frozen_until"]:
                part = _part(group)
                if part in self._waiting:  # not yet said of another of its groups
                    logging.info("%s learns from here on, after %d steps", part, group["frozen_until"])
                self._unfreeze(group)

    def _after_loading(self, optimizer) -> None:
        for group in self._groups():
            if group["steps_done"] >= group["frozen_until"]:
                self._unfreeze(group)


def _part(group: dict) -> str:
    return group["name"].partition(",")[0]


def refuse_other_groups(optimizer: torch.optim.Optimizer) -> None:
    """Let loading a state raise ConfigError if it was saved with other groups: its rates would win, silently."""
    optimizer.register_load_state_dict_pre_hook(_compare_groups)


def _compare_groups(optimizer: torch.optim.Optimizer, state: dict) -> None:
    with_muon = ["method" in group for group in (state["param_groups"][0], optimizer.param_groups[0])]
    if with_muon == [True, False]:
        raise ConfigError("the training to be resumed had optim: muon", fix="Say optim: muon again")
    saved, own = _describe(state["param_groups"]), _describe(optimizer.param_groups)
    if saved != own:
        raise ConfigError(
            "the training to be resumed had other lr_scale, layer_decay or freeze_until",
            found="; ".join(line for line in saved if line not in own) or "none of them",
            expected="; ".join(line for line in own if line not in saved) or "none of them",
            fix="Resume with what it had, or begin a new experiment from its weights with init_param",
        )


def _describe(groups: list[dict]) -> list[str]:
    return [
        f"{group['name']}: {group['lr_scale']:g} of the rate, frozen until step {group['frozen_until']}"
        for group in groups
        if "lr_scale" in group
    ]
