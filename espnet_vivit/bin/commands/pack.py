"""`espnet-vivit pack`: a trained model as one file that loads anywhere, offline."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.decode.package_decoding import decoded_with
from espnet_vivit.release.pack import pack


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit pack",
        description="Pack a trained model: weights, configuration, tokens, licence, provenance and hashes.",
        epilog="example: espnet-vivit pack exp/avsr_train package.zip --card conf/card.yaml",
    )
    parser.add_argument("experiment", type=Path, help="experiment folder, or an archive of espnet2.bin.pack")
    parser.add_argument("out", type=Path, help="folder or .zip file to write; must not exist")
    parser.add_argument(
        "--licence", help="licence of the weights, an SPDX identifier such as CC-BY-4.0 (default: the card's)"
    )
    parser.add_argument("--card", type=Path, help="YAML with title, licence, language, data, intended_use and limits")
    parser.add_argument("--licence_file", type=Path, help="text of the licence, packed as LICENSE")
    parser.add_argument("--source", help="description of the training data (default: the card's)")
    parser.add_argument("--weights", help="weights file in the experiment (default: the average of the best epochs)")
    parser.add_argument("--decoded_with", help="default search: stage 12's decode folder, or options of avsr_inference")
    options = vars(parser.parse_args(argv))
    decoded = options.pop("decoded_with")
    options["decoding"] = None if decoded is None else decoded_with(decoded)
    print(pack(options.pop("experiment"), options.pop("out"), **options))
    return 0
