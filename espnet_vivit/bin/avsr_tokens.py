"""Stage 5: transcripts in, token list out (characters, words or sentencepiece), see espnet_vivit/data/token_list.py.

In: `text`, one `utterance transcript` per line. Out: a folder with `tokens.txt`, and for `bpe` also `bpe.model` and
`bpe.vocab`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.token_list import write_token_list


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_tokens",
        description="Make the token list of a training set.",
        epilog="example: python -m espnet_vivit.bin.avsr_tokens --text dump/raw/train/text --token_type word "
        "--out data/token_list/word",
    )
    parser.add_argument("--text", type=Path, required=True, help="Kaldi text file of the training set")
    parser.add_argument("--out", type=Path, required=True, help="folder for tokens.txt (and bpe.model)")
    parser.add_argument("--token_type", default="word", help="char, word or bpe (default: word)")
    parser.add_argument(
        "--nbpe", type=int, default=500, help="vocabulary size of the sentencepiece model (default: 500)"
    )
    parser.add_argument(
        "--bpe_mode", default="unigram", choices=["unigram", "bpe"], help="sentencepiece model type (default: unigram)"
    )
    args = parser.parse_args(argv)
    tokens = write_token_list(args.text, args.out, token_type=args.token_type, nbpe=args.nbpe, bpe_mode=args.bpe_mode)
    print(f"{len(tokens)} tokens of type {args.token_type} in {args.out / 'tokens.txt'}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
