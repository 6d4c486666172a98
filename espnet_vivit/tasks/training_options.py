"""The options by which a training fits the machine: memory, batches, devices. ESPnet's stand beside them.

In: a parser, or parsed arguments. Out: the options added, or checked as a whole before anything is built.
"""

import argparse
from collections.abc import Sequence

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.tasks.launch import adapt_launch
from espnet_vivit.tasks.loading.batches import MAX_PADDING
from espnet_vivit.tasks.training.criteria import check_criteria
from espnet_vivit.tasks.training.out_of_memory import WAYS
from espnet_vivit.tasks.training.recompute import check_tower_names


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Memory and batches")
    group.add_argument("--batch_frames", type=int, default=None, help="video frames per batch, in place of batch_type")
    group.add_argument("--max_padding", type=float, default=MAX_PADDING, help="share of such a batch, at most")
    group.add_argument(
        "--gradient_checkpointing",
        nargs="*",
        default=[],
        metavar="TOWER",
        help="towers whose activations are computed twice instead of kept, as [vision_encoder, encoder]",
    )
    group.add_argument(
        "--on_out_of_memory", choices=WAYS, default="stop", help="stop with a message, or compute the batch in halves"
    )


def check_training_options(args: argparse.Namespace, *, names: Sequence[str] | None = None) -> None:
    """Raise ConfigError for what cannot be meant; adapts `args` to whoever has started this process.

    names: as for `check_criteria`.
    """
    check_values("training", vars(args), where="{name}")
    check_tower_names(args.gradient_checkpointing)
    if args.on_out_of_memory not in WAYS:
        raise unknown_name("on_out_of_memory", args.on_out_of_memory, WAYS)
    if args.multiple_iterator:
        raise ConfigError(
            "multiple_iterator reads each epoch from lists cut into pieces, which checks and curriculum do not know",
            fix="Leave it out: lists of a whole corpus fit into memory, and clips are read when they are needed",
        )
    check_criteria(args, names=names)
    adapt_launch(args)
