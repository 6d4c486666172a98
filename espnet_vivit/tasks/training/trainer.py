"""ESPnet2's Trainer, and what it lacks: a whole start after a kill, `log.jsonl`, transcripts of each epoch, memory.

In: the parsed options. Out: the trainer's own. What is added here, each by a module of its own:

* the scaler that `amp_dtype: float16` needs. ESPnet's comes with its `use_amp`, whose autocast has a dtype that the
  machine decides; E2E opens its own inside of it, in the dtype that was chosen. bfloat16 needs no scaler;
* resuming from a folder that a kill or a disk has damaged (espnet_vivit.tasks.training.checkpoints), and not beyond an
  early stop;
* progress, a line per epoch in `log.jsonl`, and the word error rate of greedy CTC on the validation set, `wer_ctc`,
  which `best_model_criterion` can name, with warnings if the transcripts show a collapse;
* what happens to a batch that does not fit (espnet_vivit.tasks.training.out_of_memory);
* no gradients left over from the last epoch: where accum_grad does not divide an epoch's batches, ESPnet adds the rest
  to the next epoch's first step, which a resumed training could not do.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import Trainer, TrainerOptions, build_dataclass
from espnet_vivit.model.precision import check_amp_dtype
from espnet_vivit.tasks.optim.schedule_length import warn_of_length
from espnet_vivit.tasks.training.checkpoints import best_epoch, prepare_resume
from espnet_vivit.tasks.training.out_of_memory import BatchStream, Halving, is_out_of_memory, too_large
from espnet_vivit.tasks.training.progress import Batches
from espnet_vivit.tasks.training.training_report import TrainingReport

if TYPE_CHECKING:
    from espnet2.iterators.abs_iter_factory import AbsIterFactory
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import SubReporter


@dataclasses.dataclass
class AVSRTrainerOptions(TrainerOptions):
    """ESPnet's, and ours."""

    on_out_of_memory: str
    token_type: str


class AVSRTrainer(Trainer):
    """ESPnet's trainer has no instances: `report` and `halving` belong to the run that goes on, and end with it."""

    report: TrainingReport
    halving: Halving | None = None

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> AVSRTrainerOptions:
        options = build_dataclass(AVSRTrainerOptions, args)
        options.use_amp = options.use_amp or args.amp_dtype == "float16"
        return options

    @classmethod
    def run(
        cls,
        model: Any,  # E2E, or what distributed training puts around it
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence,
        train_iter_factory: "AbsIterFactory",
        valid_iter_factory: "AbsIterFactory",
        plot_attention_iter_factory: "AbsIterFactory | None",
        trainer_options: AVSRTrainerOptions,
        distributed_option: "DistributedOption",
    ) -> None:
        first = is_first(distributed_option)
        reporter = (
            prepare_resume(trainer_options.output_dir, trainer_options.best_model_criterion, model)
            if (first and trainer_options.resume)
            else None
        )
        done = last_epoch(reporter, trainer_options) if reporter is not None else (0, False)
        if distributed_option.distributed:  # the others wait here for the folder to be whole
            shared = [done]
            torch.distributed.broadcast_object_list(shared)
            done = shared[0]
        finished, stopped = done
        if first:
            length = {"max_epoch": trainer_options.max_epoch, "accum_grad": trainer_options.accum_grad}
            warn_of_length(schedulers, train_iter_factory, **length)
        if stopped:
            logging.warning("this training was stopped early after epoch %d: nothing is left to train", finished)
            trainer_options.max_epoch = finished
        report = TrainingReport(
            Path(trainer_options.output_dir),
            finished_epochs=finished,
            max_epoch=trainer_options.max_epoch,
            token_type=trainer_options.token_type,
            first=first,
            distributed=distributed_option.distributed,
        )
        cls.report = report
        try:
            super().run(
                model=model,
                optimizers=optimizers,
                schedulers=schedulers,
                train_iter_factory=train_iter_factory,
                valid_iter_factory=valid_iter_factory,
                plot_attention_iter_factory=plot_attention_iter_factory,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
            )
        finally:
            del cls.report
            cls.halving = None

    @classmethod
    def train_one_epoch(
        cls,
        model: Any,
        iterator: Batches,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence | None,
        scaler: Any,
        reporter: "SubReporter",
        summary_writer: Any,
        options: AVSRTrainerOptions,
        distributed_option: "DistributedOption",
    ) -> bool:
        for optimizer in optimizers:
            optimizer.zero_grad()
        getattr(model, "module", model).set_epoch(reporter.get_epoch())  # what is scheduled by epoch
        progress = cls.report.train_progress(iterator, reporter)
        batches = BatchStream(progress)
        while True:
            try:
                invalid = super().train_one_epoch(  # what is left of the epoch
                    model=model if cls.halving is None else cls.halving,
                    iterator=batches,
                    optimizers=optimizers,
                    schedulers=schedulers,
                    scaler=scaler,
                    reporter=reporter,
                    summary_writer=summary_writer,
                    options=options,
                    distributed_option=distributed_option,
                )
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or batches.last is None:  # or while loading: no batch's fault
                    raise
                reason = str(error).strip().splitlines()[0]
                if options.on_out_of_memory != "halve":
                    raise too_large(*batches.last, reason) from error
            # Outside of the handler, where the error no longer holds the failed pass and its memory.
            cls.halving = cls.halving or Halving(model)
            for optimizer in optimizers:
                optimizer.zero_grad()
            cls.halving.learn(*batches.last, reason)
            reporter.next()  # closes the step that failed
            batches.give_back()
        cls.report.trained(progress, reporter)
        return invalid

    @classmethod
    def validate_one_epoch(
        cls,
        model: Any,
        iterator: Batches,
        reporter: "SubReporter",
        options: AVSRTrainerOptions,
        distributed_option: "DistributedOption",
    ) -> None:
        with cls.report.validating(getattr(model, "module", model), reporter):
            super().validate_one_epoch(
                model=model,
                iterator=iterator,
                reporter=reporter,
                options=options,
                distributed_option=distributed_option,
            )


def is_first(distributed_option: "DistributedOption") -> bool:
    """Whether this process is the one that writes files."""
    return not distributed_option.distributed or distributed_option.dist_rank == 0


def last_epoch(reporter: dict, options: AVSRTrainerOptions) -> tuple[int, bool]:
    """(the last finished epoch, whether ESPnet had stopped there for want of improvement) of a saved reporter."""
    epoch = reporter["epoch"]
    if options.patience is None:
        return epoch, False
    best = best_epoch(reporter["stats"], *options.early_stopping_criterion)
    return epoch, best is not None and epoch - best > options.patience


def check_precision(args: argparse.Namespace) -> None:
    """Raise ConfigError for a mixed precision that the device lacks, or that is asked for in two ways."""
    if args.amp_dtype is None:
        return
    if args.use_amp:
        found = f"use_amp: true and amp_dtype: {args.amp_dtype}"
        fix = "Leave use_amp out: amp_dtype says the dtype, brings the scaler it needs and works on the CPU"
        raise ConfigError("mixed precision is asked for twice", found=found, fix=fix)
    check_amp_dtype(args.amp_dtype, torch.device("cuda" if args.ngpu > 0 else "cpu"))
