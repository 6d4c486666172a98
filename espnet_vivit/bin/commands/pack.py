"""`espnet-vivit pack`: a trained model as one file that loads anywhere, offline."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.decode.package_decoding import decoded_with
from espnet_vivit.release.pack import pack


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit pack",
        description="Make a package of a trained model: weights, configuration, tokens, licence, provenance, hashes.",
        epilog="example: espnet-vivit pack exp/avsr_train package.zip --card conf/card.yaml",
    )
    parser.add_argument("experiment", type=Path, help="its folder, or what espnet2.bin.pack wrote")
    parser.add_argument("out", type=Path, help="folder to write, or a file that ends in .zip; must not exist")
    parser.add_argument("--licence", help="of the weights: an SPDX identifier such as CC-BY-4.0 (default: the card's)")
    parser.add_argument("--card", type=Path, help="YAML with title, licence, language, data, intended_use and limits")
    parser.add_argument("--licence_file", type=Path, help="its text, to be packed as LICENSE")
    parser.add_argument("--source", help="what it was trained on, in words (default: the card's)")
    parser.add_argument("--weights", help="which weights of the experiment (default: the average of the best epochs)")
    parser.add_argument("--decoded_with", help="stage 12's folder, or options of avsr_inference: how to search")
    options = vars(parser.parse_args(argv))
    decoded = options.pop("decoded_with")
    options["decoding"] = None if decoded is None else decoded_with(decoded)
    print(pack(options.pop("experiment"), options.pop("out"), **options))
    return 0
