"""The synthetic corpus, rendered: `python -m espnet_vivit.bin.avsr_mini_av`."""

import argparse
import sys
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.corpora.mini_av.corpus import SIZES, VIDEO_FORMATS, corpus_hash, prepare
from espnet_vivit.data.data_dir import read_data_dir
from espnet_vivit.units import seconds_of_frames


def get_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_mini_av",
        description="Render the synthetic audio-visual corpus mini_av into data directories.",
        epilog="Example: python -m espnet_vivit.bin.avsr_mini_av --out data --nj 2",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder for train, dev, test_seen and test_unseen")
    parser.add_argument("--media-dir", help="folder for the clips; None: OUT/clips")
    parser.add_argument("--seed", type=int, default=0, help="random seed of speakers and sentences")
    for split, count in (("train", 1200), ("dev", 60), ("test-seen", 150), ("test-unseen", 100)):
        parser.add_argument(f"--num-{split}", type=int, default=count, help="number of clips")
    parser.add_argument("--size", type=int, default=48, choices=SIZES, help="side of a frame in pixels")
    parser.add_argument("--variation", type=float, default=0.1, help="variation of lip shapes and timing; 0 is easiest")
    parser.add_argument("--nj", type=int, default=2, help="number of processes")
    parser.add_argument("--video-format", default="npy", choices=VIDEO_FORMATS, help="npy is the fastest in training")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = vars(get_parser().parse_args(arguments))
    directories = prepare(options.pop("out"), **options)
    for split, directory in directories.items():
        utterances = read_data_dir(directory)
        minutes = seconds_of_frames(sum(utterance.num_frames for utterance in utterances)) / 60
        print(f"{split}: {len(utterances)} clips, {minutes:.1f} minutes, in {directory}")
    print(f"data hash {corpus_hash(directories)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
