"""Print a reliability table: whether words decoded with confidence 0.8 are correct in 80 % of the cases.

    python -m espnet_vivit.bin.avsr_confidence --ref dump/raw/dev/text --hyp exp/avsr/decode_X/dev_video/1best_recog \\
        [--bins 10] [--accuracy 0.9]

The folder is written by `avsr_inference --word_times true` (or stage 12 with --inference_args "--word_times true"). The
last line gives the confidence threshold at which the share --accuracy of the words is correct, and how many words it
keeps.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.evaluation.calibration import judged_words, read_confidences, reliability


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_confidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ref", type=Path, required=True, help="reference transcripts, `utterance words...` per line")
    parser.add_argument("--hyp", type=Path, required=True, help="1best_recog folder with the files text and confidence")
    parser.add_argument("--bins", type=int, default=10, help="rows of the table (default: 10)")
    parser.add_argument(
        "--accuracy", type=float, default=0.9, help="share of words that must be correct (default: 0.9)"
    )
    args = parser.parse_args(argv)
    confidences = read_confidences(args.hyp)
    words = judged_words(read_transcripts(args.ref), read_transcripts(args.hyp / "text"), confidences)
    found = reliability(*words, bins=args.bins)
    threshold = found.threshold(args.accuracy)
    print(found.table())
    if threshold is None:
        print(f"no confidence from which on {args.accuracy:g} of the words are right")
    else:
        print(f"from confidence {threshold[0]:.3f} on, {args.accuracy:g} are right; that is {threshold[1]:.3f} of them")


if __name__ == "__main__":
    sys.exit(exit_status(main))
