"""Who starts the processes of a training on several devices, and what ESPnet has to be told about it.

    one machine, ESPnet starts them       avsr_train --ngpu 4 --multiprocessing_distributed true …
    torchrun (one machine or several)     torchrun --nproc_per_node 4 -m espnet_vivit.bin.avsr_train …
    Slurm, one task per machine           srun -N 2 --ntasks-per-node 1 python -m espnet_vivit.bin.avsr_train --ngpu 4
                                              --multiprocessing_distributed true --dist_launcher slurm
                                              --dist_master_port 29500 …
    the same with ESPnet's own script     python -m espnet2.bin.launch --num_nodes 2 --ngpu 4 --cmd slurm.pl …
    DeepSpeed                             any of these with --use_deepspeed true --deepspeed_config ds.json

In: ESPnet's arguments and the environment. Out: the arguments changed for torchrun, whose WORLD_SIZE ESPnet would take
for a number of machines, or an error for what would train wrongly or not at all.
"""

import argparse
import importlib
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.espnet_compat import Trainer
from espnet_vivit.tasks.optim.muon import NAME as MUON

if TYPE_CHECKING:
    from espnet2.tasks.asr import ASRTask

_PRECISIONS = ("bf16", "fp16", "amp")  # of a DeepSpeed configuration
_OWN_RATES = ("lr_scale", "layer_decay", "freeze_until")


def adapt_launch(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> None:
    """Check and complete the arguments, before ESPnet decides from them whether the training is distributed.

    Raises ConfigError for options that contradict each other, MissingDependencyError for DeepSpeed or W&B.
    """
    if "TORCHELASTIC_RUN_ID" in environ:  # torchrun has started this process; one device is its
        args.multiprocessing_distributed, args.ngpu = False, min(args.ngpu, 1)
    check_devices(args.ngpu, local_rank(args, environ))
    if args.ngpu > 1 and not args.multiprocessing_distributed:
        raise ConfigError(
            f"{args.ngpu} GPUs in one process would share one copy of the interpreter, and batches cannot be split so",
            found=f"ngpu: {args.ngpu}, multiprocessing_distributed: false",
            fix="Say --multiprocessing_distributed true, or start with torchrun",
        )
    if args.ngpu == 0 and args.dist_backend == "nccl":  # ESPnet's default, which needs GPUs
        args.dist_backend = "gloo"
    several = _several(args, environ)
    if several and args.on_out_of_memory == "halve":
        raise ConfigError(
            "on_out_of_memory: halve works on one device; with several the others would wait for the one that retries",
            fix="Say on_out_of_memory: stop, and choose a batch_frames that fits",
        )
    if args.use_deepspeed:
        _check_deepspeed(args, several)
    if args.use_wandb:
        _check_wandb()


def cuda_devices() -> int:
    """How many GPUs PyTorch can use here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def local_rank(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """The number of this process's GPU, where a launcher has given it one; else 0."""
    given = getattr(args, "local_rank", None)
    return int(environ.get("LOCAL_RANK", 0) if given is None else given)


def is_writer(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one of a training that writes its files, as far as is known before it begins."""
    by_slurm = environ.get("SLURM_PROCID") if getattr(args, "dist_launcher", None) == "slurm" else None
    rank = args.dist_rank if args.dist_rank is not None else by_slurm or environ.get("RANK", 0)
    return int(rank) == 0


def check_devices(ngpu: int, first: int = 0) -> None:
    """Raise ConfigError if there are not `ngpu` GPUs from number `first` on; PyTorch would say so much later."""
    have = cuda_devices()
    if ngpu > 0 and have < first + ngpu:
        raise ConfigError(
            "more GPUs are asked for than PyTorch finds here",
            found=f"ngpu: {ngpu}" + (f", LOCAL_RANK {first}" if first else "") + f", and {have} CUDA devices",
            fix="Say --ngpu 0 to compute on the CPU; espnet-vivit doctor says what is missing",
        )


def _check_wandb() -> None:
    if importlib.util.find_spec("wandb") is None:
        raise MissingDependencyError("use_wandb needs wandb", fix="pip install wandb, or leave use_wandb out")
    wandb = importlib.import_module("wandb")
    try:
        wandb.login()
    except wandb.errors.UsageError as error:  # ESPnet notes this in its log and trains without
        fix = "Run wandb login, or set the environment's WANDB_MODE to offline; or leave use_wandb out"
        raise ConfigError(f"use_wandb is asked for, and W&B has no account here ({error})", fix=fix) from error


def _several(args: argparse.Namespace, environ: Mapping[str, str]) -> bool:
    sizes = (args.ngpu, args.dist_world_size or 1, int(environ.get("WORLD_SIZE", 1)))
    return max(sizes) > 1 or args.dist_launcher is not None


def _check_deepspeed(args: argparse.Namespace, several: bool) -> None:
    """The configuration goes to DeepSpeed as it is; what it, or ESPnet's use of it, would ignore is refused."""
    where = f"deepspeed_config {args.deepspeed_config}"
    if not several:
        raise ConfigError("use_deepspeed needs several processes: ESPnet would train without it", fix="See --ngpu")
    if not cuda_devices():
        raise ConfigError("ESPnet trains with DeepSpeed on CUDA alone", found="no CUDA device", fix="Leave it out")
    try:
        config = json.loads(Path(args.deepspeed_config or "").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read ({error})", expected="a JSON file of DeepSpeed's options") from error
    for name in _PRECISIONS:
        if name in config:
            fix = f"Leave {name} out there and set amp_dtype here: losses and CTC are computed in float32"
            raise ConfigError(f"{where} sets {name}", fix=fix)
    if "optimizer" not in config:
        fix = 'Write {"optimizer": {"type": "AdamW", "params": {"lr": 0.001}}, …} into it'
        raise ConfigError(f"{where} names no optimizer, and DeepSpeed does not use optim", fix=fix)
    given = [name for name in _OWN_RATES if getattr(args, name, None)] + ["accum_grad"] * (args.accum_grad > 1)
    given += [f"optim: {MUON}"] * (args.optim == MUON)
    if given:
        fix = "Leave it out, or train without DeepSpeed; accumulation is its gradient_accumulation_steps"
        raise ConfigError(f"DeepSpeed has its own optimizer, which knows nothing of {' or '.join(given)}", fix=fix)
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingDependencyError("use_deepspeed needs deepspeed", fix="pip install deepspeed, or leave it out")
    if any(isinstance(value, Mapping) for value in (args.modality_dropout or {}).values()):
        fix = "Give each stream one number"
        raise ConfigError("ESPnet's DeepSpeed loop tells the model no epoch: modality_dropout by epoch", fix=fix)
    logging.getLogger(__name__).warning(  # ESPnet has not set up logging yet: see preflight/tokens.py
        "DeepSpeed's configuration decides optimizer, schedule and clipping; optim, scheduler, grad_clip, patience and "
        "on_out_of_memory are not used, and log.jsonl, progress, wer_ctc, TensorBoard and W&B are not written"
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # ESPnet reads it unasked


@contextmanager
def espnets_trainer(task: "type[ASRTask]") -> Iterator[None]:
    """Inside, `task` has ESPnet's own trainer, which ESPnet wants to see before it puts its DeepSpeedTrainer there."""
    own = task.trainer
    task.trainer = Trainer
    try:
        yield
    finally:
        task.trainer = own
