"""`espnet-vivit page`: a local web page to try a model on."""

import argparse
import signal
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.transcription.page.page import MAX_MB, MAX_S, MAX_TOTAL_MB, PORT, served_page


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
    parser.add_argument("--max_total_mb", type=int, default=MAX_TOTAL_MB, help="all uploads together in MB")
    parser.add_argument("--max_s", type=float, default=MAX_S, help="longest video in seconds")
    parser.add_argument(
        "--allowed_hosts", nargs="+", default=[], metavar="NAME", help="names it answers to besides localhost"
    )
    options = vars(parser.parse_args(argv))
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _end)
    with served_page(options.pop("model"), **options) as address:
        print(f"serving {address}  (Ctrl-C ends it)")
        try:
            _wait()
        except KeyboardInterrupt:
            print("bye")
    return 0


def _end(number: int, _frame: object) -> None:
    """End as Ctrl-C does, with the uploads deleted; the exit status is the shell's for a signal."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _wait() -> None:
    import threading

    threading.Event().wait()
