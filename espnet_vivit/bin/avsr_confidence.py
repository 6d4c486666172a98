"""Are the confidences of decoded words right? A decode folder and its references in, a reliability table out.

    python -m espnet_vivit.bin.avsr_confidence --ref dump/raw/dev/text --hyp exp/avsr/decode_X/dev_video/1best_recog \\
        [--bins 10] [--accuracy 0.9]

The folder is of `avsr_inference --word_times true` (or stage 12 with --inference_args "--word_times true"). The last
line is the confidence from which on the share --accuracy of words is right, and how many of the words that keeps.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.evaluation.calibration import judged_words, read_confidences, reliability


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ref", type=Path, required=True, help="the true transcripts, `utterance words...`")
    parser.add_argument("--hyp", type=Path, required=True, help="1best_recog folder with text and confidence")
    parser.add_argument("--bins", type=int, default=10, help="rows of the table")
    parser.add_argument("--accuracy", type=float, default=0.9, help="share of right words to find the threshold for")
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
