"""Stage 4: a formatted data directory in, the clips between two durations out, the others counted and named.

    python -m espnet_vivit.bin.avsr_filter --data dump/raw/org/train --out dump/raw/train --max_duration 20

Only what is trained on is filtered; test sets are scored whole. Whether the labels fit CTC is checked in stage 10,
where tokens and feature rate are known.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import SHAPE_FILES, read_data_dir, read_scp, write_data_dir
from espnet_vivit.errors import ConfigError, DataError

SHOWN_IDS = 5


def filter_data_dir(data: Path, out: Path, *, min_duration: float, max_duration: float) -> tuple[list[str], list[str]]:
    """Write to `out` the clips of `data` with min_duration <= seconds <= max_duration; return kept and dropped ids."""
    if not 0 <= min_duration < max_duration:
        raise ConfigError("durations", found=f"{min_duration} to {max_duration} s", expected="0 <= shortest < longest")
    data, out = Path(data), Path(out)
    utterances = read_data_dir(data)
    kept = [utterance for utterance in utterances if min_duration <= utterance.duration_s <= max_duration]
    dropped = [utterance.utt_id for utterance in utterances if not min_duration <= utterance.duration_s <= max_duration]
    if not kept:
        raise DataError(
            f"no clip of {data} is between {min_duration:g} and {max_duration:g} s",
            fix="Change --min_wav_duration and --max_wav_duration.",
        )
    (out / "text").unlink(missing_ok=True)  # until it is back, `out` does not pass for a data directory
    for name in SHAPE_FILES:
        (out / name).unlink(missing_ok=True)
        if (data / name).is_file():
            shapes = read_scp(data / name)
            write_lines(out / name, [f"{utterance.utt_id} {shapes[utterance.utt_id]}" for utterance in kept])
    write_data_dir(out, kept)
    return [utterance.utt_id for utterance in kept], dropped


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_filter",
        description="Copy a data directory without the clips that are too short or too long.",
        epilog="example: python -m espnet_vivit.bin.avsr_filter --data dump/raw/org/train --out dump/raw/train",
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory, as written by stage 3")
    parser.add_argument("--out", type=Path, required=True, help="data directory to write")
    parser.add_argument("--min_duration", type=float, default=0.1, help="shortest clip in seconds (default: 0.1)")
    parser.add_argument("--max_duration", type=float, default=20.0, help="longest clip in seconds (default: 20)")
    args = parser.parse_args(argv)
    kept, dropped = filter_data_dir(args.data, args.out, min_duration=args.min_duration, max_duration=args.max_duration)
    print(f"{args.data.name}: {len(kept)} clips kept, {len(dropped)} left out", end="")
    print(f": {' '.join(dropped[:SHOWN_IDS])}{' ...' if len(dropped) > SHOWN_IDS else ''}" if dropped else "")


if __name__ == "__main__":
    sys.exit(exit_status(main))
