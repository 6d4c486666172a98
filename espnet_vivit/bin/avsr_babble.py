"""Noisy test sets: a data directory in, the same with other people's voices under every sentence out.

    python -m espnet_vivit.bin.avsr_babble --data data/test_seen --talkers data/train --out data/test_seen_babble_0db \\
        --snr_db 0

Voices are drawn by seed and utterance id (`espnet_vivit.data.noise`), so a second run writes the same samples.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.noise import MIN_TALKERS, add_babble


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_babble",
        description="Add babble noise to the sound of a test set.",
        epilog="example: python -m espnet_vivit.bin.avsr_babble --data data/test --talkers data/train "
        "--out data/test_babble_0db --snr_db 0",
    )
    parser.add_argument("--data", type=Path, required=True, help="clean data directory")
    parser.add_argument(
        "--talkers", type=Path, required=True, help="data directory whose utterances are mixed into babble"
    )
    parser.add_argument("--out", type=Path, required=True, help="data directory to write")
    parser.add_argument("--snr_db", type=float, default=0.0, help="signal-to-noise ratio in dB (default: 0)")
    parser.add_argument(
        "--num_talkers", type=int, default=MIN_TALKERS, help="number of simultaneous voices (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--wav_dir", type=Path, help="folder for the noisy files (default: OUT/wav)")
    args = parser.parse_args(argv)
    add_babble(
        args.data,
        args.talkers,
        args.out,
        snr_db=args.snr_db,
        num_talkers=args.num_talkers,
        seed=args.seed,
        wav_dir=args.wav_dir,
    )
    print(f"{args.out}: {args.data.name} with {args.num_talkers} voices at {args.snr_db:g} dB")


if __name__ == "__main__":
    sys.exit(exit_status(main))
