"""Clips of single words from a data directory with word times: `python -m espnet_vivit.bin.words_cut`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_vivit.base.progress_bar import progress_bar
from espnet_vivit.bin.command_parser import CommandParser, exit_status


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.words_cut",
        description="Cut the clips of a data directory into clips of one word each, by its word times.",
        epilog="example: python -m espnet_vivit.bin.words_cut --data data/train --out data_words/train",
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory with video.scp and word_times")
    parser.add_argument("--out", type=Path, required=True, help="data directory to write")
    parser.add_argument("--clips", type=Path, help="folder for the clips (default: OUT/clips)")
    parser.add_argument(
        "--num_frames", type=int, default=29, help="frames of a clip, the word in its middle (default: 29, as LRW)"
    )
    args = parser.parse_args(argv)
    from espnet_vivit.data.word_clips import cut_words

    def progress(utterances: list) -> Iterator:
        with progress_bar(len(utterances), args.data.name) as bar:
            for utterance in utterances:
                yield utterance
                bar.update()

    clips = args.clips or args.out / "clips"
    words = cut_words(args.data, args.out, num_frames=args.num_frames, clips=clips, progress=progress)
    print(f"{args.out}: {len(words)} clips of {len({word.text for word in words})} words")


if __name__ == "__main__":
    sys.exit(exit_status(main))
