"""How many optimizer steps a training has: `total_steps` may be left out, and is doubted where it cannot be right.

    scheduler: cosine_with_warmup
    scheduler_conf: {warmup_share: 0.1}       total_steps: those of this training; a tenth of them is warm-up

In: the factory of the training batches. Out: the sum over all epochs of their batches divided by accum_grad, rounded
down in each, since gradients that are left over at the end of an epoch are dropped; a curriculum's first epochs have
fewer. ESPnet builds the schedule before the batches; here the batches come first where the schedule waits for them.
What was counted goes into the log and, as `total_steps` and `warmup_steps`, into the experiment's config.yaml.
"""

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import quiet_espnet_import
from espnet_vivit.tasks.loading.curriculum import EpochIterFactory
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup, waits_for_batches

if TYPE_CHECKING:
    from espnet2.tasks.asr import ASRTask
    from espnet2.train.distributed_utils import DistributedOption

FAR = (0.5, 1.5)  # steps of the training, as shares of total_steps: what is outside of them is warned of


def training_steps(factory: Any, *, max_epoch: int, accum_grad: int) -> int | None:
    """Optimizer steps of a whole training; None if `factory` (espnetez takes any) makes batches without a number."""
    counts = [batches_of(factory, epoch) for epoch in range(1, max_epoch + 1)]
    known = [count // accum_grad for count in counts if count is not None]
    return sum(known) if len(known) == max_epoch else None


def batches_of(factory: Any, epoch: int) -> int | None:
    """How many batches this process has in an epoch; None if that is not known. The preprocessing is not told of it."""
    if isinstance(factory, EpochIterFactory):
        factory = factory.of_epoch(epoch)
    batches = factory.build_iter(epoch)
    try:
        return len(batches)
    except TypeError:
        return None


class TrainingBatches:
    """The factory of one training's batches: counted before ESPnet builds its schedule, and given out afterwards."""

    def __init__(self):
        self._factory: Any = None

    def plan(self, task: "type[ASRTask]", args: argparse.Namespace) -> None:
        """Build the factory and complete `args` by it, where the schedule waits for the number of batches."""
        if not waits_for_batches(args):
            return
        without_data = args.dry_run and not args.train_data_path_and_name_and_type
        if args.collect_stats or without_data:  # nothing is trained, and there are no batches
            args.scheduler, args.scheduler_conf = None, {}
            return
        self._factory = task.build_iter_factory(args, _distributed_option(), mode="train")
        plan_schedule(args, self._factory)

    def take(self) -> Any:
        """The factory, the first time after `plan`; else None."""
        factory, self._factory = self._factory, None
        return factory


def _distributed_option() -> "DistributedOption":
    """As the training's own is by the time that its model is built."""
    with quiet_espnet_import():
        from espnet2.train.distributed_utils import DistributedOption

    return DistributedOption(distributed=torch.distributed.is_available() and torch.distributed.is_initialized())


def plan_schedule(args: argparse.Namespace, factory: Any) -> None:
    """Write `total_steps` and `warmup_steps` into scheduler_conf of `args`, which becomes config.yaml.

    Raises ConfigError if the number of batches is not known, if they make no step, or if warmup_steps are more.
    """
    steps = training_steps(factory, max_epoch=args.max_epoch, accum_grad=args.accum_grad)
    if steps is None:
        fix = "Say scheduler_conf: {total_steps: …}, in optimizer steps"
        raise ConfigError("scheduler_conf has no total_steps, and the training batches have no number", fix=fix)
    batches = batches_of(factory, args.max_epoch)
    found = f"max_epoch: {args.max_epoch}, {batches} batches in the last epoch, accum_grad: {args.accum_grad}"
    if steps == 0 and args.max_epoch > 0:
        raise ConfigError("no batches for one optimizer step", found=found, fix="Lower accum_grad, or give more clips")
    conf = {**args.scheduler_conf, "total_steps": max(steps, 2)}  # with one step alone the rate would be its last, zero
    if args.max_epoch == 0:  # an experiment without training: any length serves
        conf["total_steps"] += conf.get("warmup_steps") or 0
    stand_in = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    conf["warmup_steps"] = CosineWithWarmup(stand_in, **conf).warmup_steps
    conf.pop("warmup_share", None)
    args.scheduler_conf = conf
    logging.info("schedule: %d optimizer steps (%s), %d of them warm-up", steps, found, conf["warmup_steps"])


def warn_of_length(schedulers: Sequence, factory: Any, *, max_epoch: int, accum_grad: int) -> None:
    """Warn of a schedule that is far shorter or longer than the training: its `total_steps` were meant for others."""
    for scheduler in schedulers:
        total = getattr(scheduler, "total_steps", None)
        if not total:
            continue
        steps = training_steps(factory, max_epoch=max_epoch, accum_grad=accum_grad)
        if steps is None:
            logging.info("schedule: the batches have no number to compare with its total_steps: %d", total)
        elif steps < FAR[0] * total or steps > FAR[1] * total:
            short = "ends long before the learning rate has fallen" if steps < total else "goes on long after its end"
            advice = "leave total_steps out" if isinstance(scheduler, CosineWithWarmup) else f"say total_steps: {steps}"
            logging.warning(
                "schedule: total_steps is %d, and this training of %d optimizer steps %s; %s in scheduler_conf",
                total,
                steps,
                short,
                advice,
            )
