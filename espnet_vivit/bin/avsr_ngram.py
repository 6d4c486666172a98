"""Estimate an n-gram language model over the recognizer's tokens: transcripts in, an ARPA file out.

    python -m espnet_vivit.bin.avsr_ngram --train dump/raw/train/text --valid dump/raw/dev/text --order 3 \\
        --token_list data/token_list/word/tokens.txt --token_type word --out exp/ngram/3gram.arpa

Decode with it: `avsr_inference … --ngram_file exp/ngram/3gram.arpa --ngram_weight 0.3`. Prints the perplexity of the
validation text. Any other text serves as --train, one `id words…` per line; tokens that the list lacks count as <unk>.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.text_file import read_lines
from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.token_list import read_labels
from espnet_vivit.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_ngram",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--train", type=Path, required=True, help="training text, `id words...` per line")
    parser.add_argument("--valid", type=Path, help="validation text; its perplexity is printed")
    parser.add_argument("--order", type=int, default=3, help="order of the model (default: 3)")
    parser.add_argument("--token_list", type=Path, required=True, help="tokens.txt of the recognizer")
    parser.add_argument("--token_type", required=True, help="char, word or bpe")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model for token_type bpe")
    parser.add_argument("--out", type=Path, required=True, help="ARPA file to write")
    args = parser.parse_args(argv)

    from espnet_vivit.decode.witten_bell import arpa_lines, perplexity, train_witten_bell

    if args.out.suffix == ".gz":
        raise ConfigError("avsr_ngram writes plain text", found=args.out, fix="Name it .arpa; gzip it afterwards.")
    tokens = {"token_type": args.token_type, "token_list": args.token_list, "bpemodel": args.bpemodel}
    sentences = read_labels(args.train, **tokens).values()
    vocabulary = list(read_lines(args.token_list))[1:-1]  # without <blank> and <sos/eos>
    model = train_witten_bell(sentences, vocabulary, order=args.order)
    counts = [sum(len(ngram) == size for ngram in model.log_probs) for size in range(1, args.order + 1)]
    print(f"{args.out}: " + ", ".join(f"{count} {size}-grams" for size, count in enumerate(counts, 1)))
    if args.valid is not None:
        print(f"perplexity of {args.valid}: {perplexity(model, read_labels(args.valid, **tokens).values()):.2f}")
    write_lines(args.out, arpa_lines(model))


if __name__ == "__main__":
    sys.exit(exit_status(main))
