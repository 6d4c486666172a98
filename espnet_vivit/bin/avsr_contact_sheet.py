"""Training curves and contact sheets as PNG: `python -m espnet_vivit.bin.avsr_contact_sheet`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.evaluation.plots import CURVES, plot_contact_sheet, plot_training, read_clips
from espnet_vivit.evaluation.training_log import read_training_history


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_contact_sheet",
        description="Draw training curves or a contact sheet of decoded clips as PNG.",
        epilog="example: python -m espnet_vivit.bin.avsr_contact_sheet curves --exp exp/avsr_vivit --out curves.png",
    )
    commands = parser.add_subparsers(dest="picture", required=True)
    curves = commands.add_parser("curves", help="loss and accuracy over epochs")
    curves.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/avsr_TAG")
    curves.add_argument("--names", nargs="+", default=CURVES, help="curves to draw, by the trainer's names")
    clips = commands.add_parser("clips", help="frames of clips with their reference and hypothesis")
    clips.add_argument("--video_scp", type=Path, required=True, help="Kaldi list of the videos")
    clips.add_argument("--ref", type=Path, required=True, help="reference file, `utterance-id words...` per line")
    clips.add_argument("--hyp", type=Path, required=True, help="hypothesis file in the same format")
    clips.add_argument("--utts", nargs="+", default=(), help="utterance ids (default: spread over the set)")
    clips.add_argument("--rows", type=int, default=8, help="number of clips without --utts (default: 8)")
    clips.add_argument("--frames", type=int, default=10, help="frames per clip (default: 10)")
    for command in (curves, clips):
        command.add_argument("--out", type=Path, required=True, help="PNG file to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    if options.picture == "curves":
        history = read_training_history(options.exp)
        plot_training(history, options.out, names=options.names, title=options.exp.resolve().name)
    else:
        clips = read_clips(options.video_scp, options.ref, options.hyp, utts=options.utts, rows=options.rows)
        plot_contact_sheet(clips, options.out, frames=options.frames)
    print(f"{options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
