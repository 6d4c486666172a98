"""Before training: a data directory and a token list in; what CTC can align, and the list of utterances to keep, out.

    python -m espnet_vivit.bin.avsr_feasibility --text dump/raw/train/text --num_frames dump/raw/train/utt2num_frames \\
        --token_type char --token_list data/token_list/char/tokens.txt --feature_rate frame \\
        [--bpemodel data/token_list/bpe/bpe.model] [--word_times dump/raw/train/word_times] \\
        [--max_excluded 0.05] --out dump/raw/train/feasible_ids

Prints the report; `--out` gets the ids that fit, one per line, in the order of their names. Exit code 0: at most the
share `--max_excluded` does not fit; 1: more does not fit (nothing is written), or the input is wrong.
Without `--word_times`, or where that file does not exist, the spoken span is reported as unknown.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.feasibility import MAX_EXCLUDED, check_feasibility, read_num_frames, read_spans
from espnet_vivit.data.token_list import read_labels


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_feasibility",
        description="List the utterances that CTC can align: those with enough feature steps for their tokens.",
        epilog="example: python -m espnet_vivit.bin.avsr_feasibility --text dump/raw/train/text --num_frames "
        "dump/raw/train/utt2num_frames --token_type word --token_list data/token_list/word/tokens.txt --out keep",
    )
    parser.add_argument("--text", type=Path, required=True, help="transcripts, `utterance words...` per line")
    parser.add_argument("--num_frames", type=Path, required=True, help="utt2num_frames, video frames at 25 per second")
    parser.add_argument("--token_type", default="word", help="char, word or bpe (default: word)")
    parser.add_argument("--token_list", type=Path, required=True, help="tokens.txt of the training set")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model for token_type bpe")
    parser.add_argument("--feature_rate", default="frame", help="frame (25 Hz) or tubelet (12.5 Hz); default: frame")
    parser.add_argument("--word_times", type=Path, help="word times, `utterance start:end:word ...` in seconds")
    help_text = "largest share of utterances that may be left out (default: %(default)s)"
    parser.add_argument("--max_excluded", type=float, default=MAX_EXCLUDED, help=help_text)
    parser.add_argument("--out", type=Path, required=True, help="file for the ids of these utterances")
    args = parser.parse_args(argv)
    report = check_feasibility(
        read_labels(args.text, token_type=args.token_type, token_list=args.token_list, bpemodel=args.bpemodel),
        read_num_frames(args.num_frames),
        feature_rate=args.feature_rate,
        spans=read_spans(args.word_times) if args.word_times and args.word_times.is_file() else None,
    )
    print(report.summary())
    report.require_share(args.max_excluded)
    write_lines(args.out, report.kept_ids)


if __name__ == "__main__":
    sys.exit(exit_status(main))
