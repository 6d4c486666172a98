"""`espnet-vivit merge-adapters`: merge LoRA or QLoRA adapters into the base weights."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.release.merge_adapters import WEIGHTS, merge_experiment


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit merge-adapters",
        description="Merge LoRA or QLoRA adapters into the base weights, which then need no peft or bitsandbytes.",
        epilog="example: espnet-vivit merge-adapters exp/avsr_qlora exp/avsr_merged",
    )
    parser.add_argument("experiment", type=Path, help="folder with config.yaml and weights")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument(
        "--weights", default=WEIGHTS, help="file name of the weights in the experiment (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    merged = merge_experiment(options.experiment, options.out, weights=options.weights)
    print(merged)
    print(merged.path)
    return 0
