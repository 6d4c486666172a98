"""`espnet-vivit check`: do these data and this model fit?"""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.finding import FAIL
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.data.token_list import TOKEN_TYPES
from espnet_vivit.tasks.presets import configuration_file
from espnet_vivit.tasks.rehearsal.examine import DEVICES, LEARNING_RATE, LIMIT_S, Options, examine


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit check",
        description="Validate data against a configuration, then overfit one batch. Exit code 1: one of them fails.",
        epilog="example: espnet-vivit check tiny_both dump/raw/train --token_list tokens.txt",
    )
    parser.add_argument("config", help="a training YAML, a preset such as tiny_both, or the folder of an experiment")
    parser.add_argument("data", type=Path, help="data directory, such as dump/raw/train")
    parser.add_argument(
        "--token_list", type=Path, help="tokens.txt (default for char and word: made from the transcripts)"
    )
    parser.add_argument("--token_type", choices=TOKEN_TYPES, help="(default: the configuration's, or word)")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model for token_type bpe")
    parser.add_argument(
        "--seconds", type=float, default=LIMIT_S, help=f"time limit for overfitting, in seconds (default: {LIMIT_S:g})"
    )
    parser.add_argument(
        "--lr", type=float, default=LEARNING_RATE, help="learning rate for overfitting (default: %(default)s)"
    )
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help="auto: a GPU if there is one, else the CPU (default: auto)"
    )
    given = vars(parser.parse_args(argv))
    options = Options(**{**given, "config": configuration_file(given["config"])})
    failed = []
    for row in examine(options):
        print(f"  {row.state:5} {row.name:15} {row.found}", flush=True)
        if row.fix:
            print(f"        {'':15} -> {row.fix}", flush=True)
        if row.state == FAIL:
            failed.append(row.name)
    print(f"not ready to train: {', '.join(failed)}" if failed else "ready to train")
    return int(bool(failed))
