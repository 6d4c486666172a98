"""ESPnet2's Trainer, with the gradient scaler that `amp_dtype: float16` needs.

In: the parsed options. Out: the trainer's own. ESPnet's scaler comes with its `use_amp`, whose autocast has a dtype
that the machine decides; E2E opens its own inside of it, in the dtype that was chosen. bfloat16 needs no scaler.
"""

import argparse

import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import Trainer
from espnet_vivit.precision import check_amp_dtype


class AVSRTrainer(Trainer):
    """Everything but `build_options` is ESPnet2's."""

    @classmethod
    def build_options(cls, args: argparse.Namespace):
        options = super().build_options(args)
        options.use_amp = options.use_amp or args.amp_dtype == "float16"
        return options


def check_precision(args: argparse.Namespace) -> None:
    """Raise ConfigError for a mixed precision that the device lacks, or that is asked for in two ways."""
    if args.amp_dtype is None:
        return
    if args.use_amp:
        found = f"use_amp: true and amp_dtype: {args.amp_dtype}"
        fix = "Leave use_amp out: amp_dtype says the dtype, brings the scaler it needs and works on the CPU"
        raise ConfigError("mixed precision is asked for twice", found=found, fix=fix)
    check_amp_dtype(args.amp_dtype, torch.device("cuda" if args.ngpu > 0 else "cpu"))
