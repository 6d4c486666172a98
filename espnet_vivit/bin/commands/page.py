"""`espnet-vivit page`: a local web page to try a model on."""

import argparse
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.transcription.page.page import MAX_MB, MAX_S, PORT, served_page


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit page",
        description="Serve a local web page to try a model on.",
        epilog="example: espnet-vivit page --model exp/avsr_train",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, help="experiment folder, weights file in an experiment folder, or package"
    )
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--detector", default="auto", help="face detector: auto, mediapipe or haar; centre for mouth crops"
    )
    parser.add_argument("--max_mb", type=int, default=MAX_MB, help="largest upload in MB")
    parser.add_argument("--max_s", type=float, default=MAX_S, help="longest video in seconds")
    options = vars(parser.parse_args(argv))
    with served_page(options.pop("model"), **options) as address:
        print(f"serving {address}  (Ctrl-C ends it)")
        try:
            _wait()
        except KeyboardInterrupt:
            print("bye")
    return 0


def _wait() -> None:
    import threading

    threading.Event().wait()
