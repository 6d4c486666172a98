"""Stage 10: filtered data directories and a token list in, ESPnet's shape files out, nothing decoded.

    python -m espnet_vivit.bin.avsr_shapes --train dump/raw/train --valid dump/raw/dev --out exp/avsr_stats_word \\
        --token_list data/token_list/word/tokens.txt --token_type word [--feature_rate frame] [--bpemodel bpe.model]

ESPnet's own `--collect_stats true` reads every clip to learn its length; those are known since stage 3. Out, in
`train/` and `valid/`: `video_shape` (T,H,W), `speech_shape` (N), `text_shape.<type>` (L,V). Training takes its
utterances from these files, so one that CTC cannot align (`espnet_vivit.data.feasibility`) is left out of them:
counted, printed, and more than `--max_infeasible` of them is an error.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.text_file import read_lines
from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import SHAPE_FILES, read_scp
from espnet_vivit.data.feasibility import MAX_EXCLUDED, check_feasibility, read_num_frames, read_spans
from espnet_vivit.data.token_list import UNKNOWN, read_labels
from espnet_vivit.errors import DataError
from espnet_vivit.units import SAMPLES_PER_FRAME


def read_lengths(data: Path) -> dict[str, int]:
    """Video frames of every utterance; of a set without video, the frames that its sound lasts."""
    if (data / "utt2num_frames").is_file():
        return read_num_frames(data / "utt2num_frames")
    return {
        utt_id: samples // SAMPLES_PER_FRAME for utt_id, samples in read_num_frames(data / "utt2num_samples").items()
    }


def write_shapes(
    data: Path, out: Path, labels: dict[str, list[str]], *, kept: Sequence[str], label_file: str, size: int
) -> None:
    """Write the shape files of one set for the utterances `kept`; `size` is the number of tokens V."""
    out.mkdir(parents=True, exist_ok=True)
    found = [name for name in SHAPE_FILES if (data / name).is_file()]
    if not found:
        raise DataError(f"{data} has neither video_shape nor speech_shape", fix="Run stages 3 and 4.")
    for name in found:
        shapes = read_scp(data / name)
        missing = [utt_id for utt_id in kept if utt_id not in shapes]
        if missing:
            raise DataError(
                f"{data / name} lacks {len(missing)} utterances, as {missing[0]}", fix="Run stages 3 and 4."
            )
        write_lines(out / name, [f"{utt_id} {shapes[utt_id]}" for utt_id in kept])
    write_lines(out / label_file, [f"{utt_id} {len(labels[utt_id])},{size}" for utt_id in kept])


def shapes_of_set(
    data: Path,
    out: Path,
    *,
    token_list: Path,
    token_type: str,
    bpemodel: Path | None,
    feature_rate: str,
    max_infeasible: float,
) -> None:
    """Check the set's labels against CTC, write its shape files to `out`, print what was found."""
    labels = read_labels(data / "text", token_type=token_type, token_list=token_list, bpemodel=bpemodel)
    times = data / "word_times"
    report = check_feasibility(
        labels, read_lengths(data), feature_rate=feature_rate, spans=read_spans(times) if times.is_file() else None
    )
    tokens = [token for label in labels.values() for token in label]
    unknown = tokens.count(UNKNOWN)
    print(f"{data.name}: {len(labels)} utterances, {len(tokens)} {token_type} tokens, {unknown} not in the token list")
    print(report.summary())
    report.require_share(max_infeasible)
    size = sum(1 for _ in read_lines(token_list))
    write_shapes(data, out, labels, kept=report.kept_ids, label_file=f"text_shape.{token_type}", size=size)


def same_files(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files with the same content."""
    contents = ({path.name: path.read_bytes() for path in folder.glob("*")} for folder in (first, second))
    return next(contents) == next(contents)


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_shapes",
        description="Write ESPnet's shape files: the lengths of all utterances, from which it makes batches.",
        epilog="example: python -m espnet_vivit.bin.avsr_shapes --train dump/raw/train --valid dump/raw/dev "
        "--out exp/avsr_stats_word --token_list data/token_list/word/tokens.txt --token_type word",
    )
    parser.add_argument("--train", type=Path, required=True, help="data directory of the training set")
    parser.add_argument("--valid", type=Path, required=True, help="data directory of the validation set")
    parser.add_argument("--out", type=Path, required=True, help="folder for train/ and valid/")
    parser.add_argument("--token_list", type=Path, required=True, help="tokens.txt of the training set")
    parser.add_argument("--token_type", default="word", help="char, word or bpe (default: word)")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model for token_type bpe")
    parser.add_argument(
        "--feature_rate", default="frame", help="frame (25 Hz) or tubelet (12.5 Hz), as in the YAML (default: frame)"
    )
    help_text = "largest share of utterances that may be too short for CTC (default: %(default)s)"
    parser.add_argument("--max_infeasible", type=float, default=MAX_EXCLUDED, help=help_text)
    args = parser.parse_args(argv)
    conf = {name: getattr(args, name) for name in ("token_list", "token_type", "bpemodel", "feature_rate")}
    partial = args.out.with_name(f".{args.out.name}.partial{os.getpid()}")
    try:
        for name, data in (("train", args.train), ("valid", args.valid)):
            shapes_of_set(data, partial / name, **conf, max_infeasible=args.max_infeasible)
        args.out.mkdir(parents=True, exist_ok=True)
        for name in ("train", "valid"):
            if not same_files(partial / name, args.out / name):  # another training may be reading what has not changed
                shutil.rmtree(args.out / name, ignore_errors=True)
                (partial / name).rename(args.out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))
