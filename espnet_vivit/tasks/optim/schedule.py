"""`scheduler: cosine_with_warmup`: linear warm-up to the optimizer's learning rate, then half a cosine down.

The schedule of Auto-AVSR and of most lip-reading recipes (Loshchilov and Hutter 2017, without restarts). ESPnet's own
cosine restarts, and warms up from a separate minimum. Its length is `total_steps`; where a training's scheduler_conf
leaves it out, it is that of the training (espnet_vivit.tasks.optim.schedule_length).
"""

import argparse
import math
from collections.abc import Mapping
from typing import Any

import torch

from espnet_vivit.base.option_types import OPTIONS
from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import AbsBatchStepScheduler, add_scheduler

NAME = "cosine_with_warmup"
WARMUP_SHARE = 0.1


class CosineWithWarmup(torch.optim.lr_scheduler.LRScheduler, AbsBatchStepScheduler):
    """One step per optimizer step; after `total_steps` the rate stays at `final_ratio` of its peak.

    The warm-up is `warmup_steps` long, or `warmup_share` of `total_steps`, a tenth where neither is given.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int | None = None,
        total_steps: int | None = None,
        final_ratio: float = 0.0,
        last_epoch: int = -1,
        warmup_share: float | None = None,
    ):
        where = f"scheduler_conf of {NAME}"
        if total_steps is None:
            fix = "Give the optimizer steps of the whole training; avsr_train counts them itself"
            raise ConfigError(f"{where} has no total_steps", fix=fix)
        if warmup_share is not None and warmup_steps is not None:
            found = f"warmup_steps={warmup_steps}, warmup_share={warmup_share}"
            raise ConfigError(where, found=found, expected="one of the two")
        if not (shares := OPTIONS["scheduler_conf"]["warmup_share"]).hold(warmup_share):
            raise ConfigError(where, found=f"warmup_share={warmup_share}", expected=str(shares))
        if warmup_steps is None:
            warmup_steps = int(total_steps * (WARMUP_SHARE if warmup_share is None else warmup_share))
        if not 0 <= warmup_steps < total_steps:
            raise ConfigError(
                where,
                found=f"warmup_steps={warmup_steps}, total_steps={total_steps}",
                expected="0 <= warmup_steps < total_steps, both in optimizer steps",
                fix="Say warmup_share: 0.1 in place of warmup_steps, or train longer",
            )
        self.warmup_steps, self.total_steps, self.final_ratio = warmup_steps, total_steps, final_ratio
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | torch.Tensor]:
        return [rate * self._factor(self.last_epoch + 1) for rate in self.base_lrs]

    def _factor(self, step: int) -> float:
        if step <= self.warmup_steps:
            return step / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.final_ratio + (1 - self.final_ratio) * 0.5 * (1 + math.cos(math.pi * done))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on at the step of `state_dict`, with the lengths that this schedule has: config.yaml says those."""
        lengths = ("warmup_steps", "total_steps", "final_ratio")
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in lengths})


def waits_for_batches(args: argparse.Namespace) -> bool:
    """Whether the schedule of a training is to be as long as it is: scheduler_conf says no total_steps."""
    return args.scheduler == NAME and (args.scheduler_conf or {}).get("total_steps") is None


add_scheduler(NAME, CosineWithWarmup)
