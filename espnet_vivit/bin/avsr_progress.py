"""Show a training as one line per epoch with the remaining time: ESPnet's log in (stdin), these lines out (stdout).

    python -m espnet_vivit.bin.avsr_train ... 2>&1 | tee -a train.log | python -m espnet_vivit.bin.avsr_progress

    epoch  3/40  train loss 41.2 acc 0.312 | valid loss 38.0 acc 0.355 wer_ctc 0.871 | 21 s, 12 min left

Within an epoch, a terminal shows a progress bar with loss, accuracy, frames per second, peak memory and remaining time,
and a file gets one line per minute. Warnings about a collapse, the schedule or the curriculum are shown. The command
reads the log lines of `espnet2.train.trainer` and of `espnet_vivit.tasks.training.progress`, and skips all others.
"""

import argparse
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.units import duration

STARTED = re.compile(r"(\d+)/(\d+)epoch started")
RESULTS = re.compile(r"(\d+)epoch results: (.*)")
BATCHES = re.compile(r"(\d+)epoch:train:\d+-(\d+)batch: (.*)")
SECTION = re.compile(r"\[(\w+)\] ([^\[]*)")
PROGRESS = re.compile(r"progress: epoch (\d+)/(\d+), batch (\d+)/(\d+), (.*)")
WARNING = re.compile(r"WARNING: ((?:epoch \d+|schedule|curriculum): .*|out of memory .*)")
SHOWN = ("loss", "acc", "cer_ctc", "wer_ctc")  # what a section shows of itself, in this order
INTERIM_S = 60.0  # seconds between two lines inside one epoch
BAR_WIDTH = 20  # characters


def scores(section: str) -> str:
    """`loss 41.2 acc 0.312` from `loss_ctc=50.1, acc=0.312, loss=41.2, time=21 seconds`."""
    values = dict(re.findall(r"(\w+)=([-+.\deE]+|nan|inf)", section))
    return " ".join(f"{name} {values[name]}" for name in SHOWN if name in values)


def bar(done: int, total: int) -> str:
    """`[#####---------------]  25%`"""
    filled = BAR_WIDTH * done // total
    return f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}] {100 * done // total:3d}%"


def progress_lines(
    log: Iterable[str], *, clock: Callable[[], float] = time.monotonic, show_bar: Callable[[str], None] | None = None
) -> Iterator[str]:
    """Yield the terminal's lines for the log's; `clock` gives seconds and is read when a line arrives.

    `show_bar` is called with a bar that takes the place of the one before it; without it, lines stand for the bar.
    """
    first_epoch, last_epoch = 0, 0
    begun_s = epoch_begun_s = shown_s = clock()
    for line in log:
        now_s = clock()
        if match := STARTED.search(line):
            epoch, last_epoch = int(match[1]), int(match[2])
            epoch_begun_s = shown_s = now_s
            if not first_epoch:
                first_epoch, begun_s = epoch, now_s
                if epoch > 1:
                    yield f"continuing after epoch {epoch - 1}"
        elif match := PROGRESS.search(line):
            epoch, last, done, total = (int(match[number]) for number in range(1, 5))
            if show_bar is not None:
                show_bar(f"epoch {epoch:>2}/{last}  {bar(done, total)}  {match[5]}")
            elif now_s - shown_s >= INTERIM_S:
                shown_s = now_s
                yield f"epoch {epoch:>2}/{last}  {bar(done, total)}  {match[5]}"
        elif match := WARNING.search(line):
            yield f"warning: {match[1]}"
        elif show_bar is None and (match := BATCHES.search(line)) and now_s - shown_s >= INTERIM_S:
            shown_s = now_s
            yield f"epoch {match[1]:>2}/{last_epoch}  {match[2]} batches, train {scores(match[3])}"
        elif match := RESULTS.search(line):
            epoch = int(match[1])
            parts = [f"{name} {scores(text)}" for name, text in SECTION.findall(match[2]) if name in ("train", "valid")]
            left_s = (now_s - begun_s) / (epoch - first_epoch + 1) * (last_epoch - epoch)
            parts.append(f"{duration(now_s - epoch_begun_s)}, {duration(left_s)} left")
            yield f"epoch {epoch:>2}/{last_epoch}  " + " | ".join(parts)
        elif "already reached at max_epoch" in line:
            yield "nothing to do: the training has reached its last epoch before"
        elif "Early stopping" in line:
            yield line.rstrip().split("INFO: ")[-1]


def main(argv: Sequence[str] = ()) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_progress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)  # it has no options; the log comes on standard input
    clear = "\r\033[K" if sys.stdout.isatty() else ""

    def show_bar(text: str) -> None:
        width = shutil.get_terminal_size().columns
        print(clear + text[: width - 1], end="", flush=True)

    for line in progress_lines(iter(sys.stdin.readline, ""), show_bar=show_bar if clear else None):
        print(clear + line, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
