"""GRID's mouth crops with their manifest, made a data directory: `python -m espnet_vivit.bin.avsr_grid_crops`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.corpora.grid_crops import prepare
from espnet_vivit.data.data_dir import validate_data_dir
from espnet_vivit.units import MOUTH_SIZE


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_grid_crops",
        description="Turn a folder of GRID mouth crops into data directories.",
        epilog="example: python -m espnet_vivit.bin.avsr_grid_crops --grid_root grid --out data --view 64 --size 52",
    )
    parser.add_argument("--grid_root", required=True, type=Path, help="folder with manifest.tsv and align.tsv")
    parser.add_argument("--out", required=True, type=Path, help="folder for the data directories")
    parser.add_argument(
        "--view",
        type=int,
        default=MOUTH_SIZE,
        help="side of the centre region that is kept, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--size", type=int, default=MOUTH_SIZE, help="side of the written crops in pixels (default: %(default)s)"
    )
    parser.add_argument("--nj", type=int, default=1, help="number of threads (default: 1)")
    args = parser.parse_args(argv)
    directories = prepare(args.grid_root, args.out, size=args.size, view=args.view, nj=args.nj)
    for split, directory in directories.items():
        print(f"{split}: {len(validate_data_dir(directory))} clips in {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
