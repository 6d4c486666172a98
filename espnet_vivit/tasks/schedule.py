"""`scheduler: cosine_with_warmup`: linear warm-up to the optimiser's learning rate, then half a cosine down.

The schedule of Auto-AVSR and of most lip-reading recipes (Loshchilov and Hutter 2017, without restarts). ESPnet's own
cosine restarts, and warms up from a separate minimum.
"""

import math

import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import AbsBatchStepScheduler, add_scheduler


class CosineWithWarmup(torch.optim.lr_scheduler.LRScheduler, AbsBatchStepScheduler):
    """One step per optimiser step; after `total_steps` the rate stays at `final_ratio` of its peak."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int = 1000,
        total_steps: int = 10000,
        final_ratio: float = 0.0,
        last_epoch: int = -1,
    ):
        if not 0 <= warmup_steps < total_steps:
            raise ConfigError(
                "scheduler_conf of cosine_with_warmup",
                found=f"warmup_steps={warmup_steps}, total_steps={total_steps}",
                expected="0 <= warmup_steps < total_steps, both in optimiser steps",
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


add_scheduler("cosine_with_warmup", CosineWithWarmup)
