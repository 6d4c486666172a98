"""Stage 3: a corpus's data directory in, the same with every clip checked and its shape written out.

    python -m espnet_vivit.bin.avsr_format --data data/train --out dump/raw/org/train [--nj 4]

Opens each file once without decoding its pictures: it must exist, have content, 25 frames or 16 000 mono samples per
second, and the length that the directory claims; all clips of a set must have one picture size. A set with a bad clip
is refused with a list of what is wrong, because ESPnet would fail on it, or drop it silently, hours later.

Out: the data directory with absolute paths, plus `video_shape` (`utterance T,H,W`) and `speech_shape` (`utterance N`),
from which stage 10 makes batches without decoding anything again.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import SHAPE_FILES, Utterance, check_disjoint, validate_data_dir, write_data_dir
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.media.files.video_file import probe_video
from espnet_vivit.units import AUDIO_RATE_HZ, VIDEO_RATE_HZ

SHOWN_PROBLEMS = 10  # of a set with many bad clips; the rest is counted

Shape = TypeVar("Shape", bound=tuple[int, ...])


def video_shape(utterance: Utterance) -> tuple[int, int, int]:
    """(T, H, W) of the clip's video; raises DataError or MediaError where file and data directory disagree."""
    assert utterance.video is not None  # asked for sets with video; below, with sound
    info = probe_video(utterance.video)
    if info.num_frames < 1:
        raise DataError(f"{utterance.video} holds no video frame")
    if abs(info.rate_hz - VIDEO_RATE_HZ) > 0.01:
        raise DataError(f"rate of {utterance.video}", found=f"{info.rate_hz:g} fps", expected=f"{VIDEO_RATE_HZ} fps")
    if info.num_frames != utterance.num_frames:
        raise DataError(
            f"{utterance.video}", found=f"{info.num_frames} frames", expected=f"{utterance.num_frames} (utt2num_frames)"
        )
    return info.num_frames, info.height, info.width


def speech_shape(utterance: Utterance) -> tuple[int]:
    """(N,) of the clip's sound; raises DataError where file and data directory disagree."""
    import soundfile

    assert utterance.wav is not None
    try:
        info = soundfile.info(utterance.wav)
    except soundfile.LibsndfileError as error:
        raise DataError(f"cannot read the sound file {utterance.wav} ({error})") from error
    if (info.samplerate, info.channels) != (AUDIO_RATE_HZ, 1):
        found = f"{info.samplerate} Hz, {info.channels} channels"
        expected, fix = f"{AUDIO_RATE_HZ} Hz, 1 channel", "Resample it at data preparation."
        raise DataError(f"sound of {utterance.wav}", found=found, expected=expected, fix=fix)
    if info.frames != utterance.num_samples:
        expected = f"{utterance.num_samples} (utt2num_samples)"
        raise DataError(f"{utterance.wav}", found=f"{info.frames} samples", expected=expected)
    return (info.frames,)


def clip_shapes(utterances: Sequence[Utterance], measure: Callable[[Utterance], Shape], *, nj: int) -> dict[str, Shape]:
    """`measure` of every utterance on `nj` threads; one DataError for all that fail."""

    def outcome(utterance: Utterance) -> Shape | EspnetVivitError:
        try:
            return measure(utterance)
        except EspnetVivitError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, nj)) as pool:
        outcomes = dict(zip((utterance.utt_id for utterance in utterances), pool.map(outcome, utterances), strict=True))
    problems = [f"{utt_id}: {error}" for utt_id, error in outcomes.items() if isinstance(error, EspnetVivitError)]
    if problems:
        shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
        more = f"\n  and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise DataError(f"{len(problems)} of {len(outcomes)} clips cannot be used:\n  {shown}{more}")
    return {utt_id: shape for utt_id, shape in outcomes.items() if not isinstance(shape, EspnetVivitError)}


def check_one_size(shapes: dict[str, tuple[int, int, int]]) -> None:
    """All videos of a set must have one height and width, or they cannot share a batch."""
    first_id, (_, *first_size) = next(iter(shapes.items()))
    for utt_id, (_, *size) in shapes.items():
        if size != first_size:
            raise DataError(
                f"picture size of {utt_id}",
                found="x".join(map(str, size)),
                expected="x".join(map(str, first_size)) + f" as {first_id}",
                fix="Prepare all clips at one size.",
            )


def shape_lines(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """ESPnet's shape file: `utterance 75,96,96`."""
    return [f"{utt_id} {','.join(map(str, shape))}" for utt_id, shape in shapes.items()]


def format_data_dir(data: Path, out: Path, *, nj: int = 1) -> list[Utterance]:
    """Check the data directory `data` and write it to `out` with its shapes. Returns the utterances, paths absolute."""
    data, out = Path(data), Path(out)
    utterances = [
        replace(utterance, **{
            stream: str(Path(path).resolve())
            for stream in ("wav", "video")
            if (path := getattr(utterance, stream)) is not None
        })
        for utterance in validate_data_dir(data)
    ]  # fmt: skip
    (out / "text").unlink(missing_ok=True)  # until it is back, `out` does not pass for a data directory
    for name in SHAPE_FILES:
        (out / name).unlink(missing_ok=True)
    if utterances[0].video is not None:
        shapes = clip_shapes(utterances, video_shape, nj=nj)
        check_one_size(shapes)
        write_lines(out / "video_shape", shape_lines(shapes))
    if utterances[0].wav is not None:
        write_lines(out / "speech_shape", shape_lines(clip_shapes(utterances, speech_shape, nj=nj)))
    write_data_dir(out, utterances)
    return utterances


def check_held_out(train: Path, held_out: Sequence[Path]) -> None:
    """Nothing of a held-out set may be trained on; held-out sets may share clips (clean and noisy versions do)."""
    for directory in held_out:
        check_disjoint({Path(train).name: train, Path(directory).name: directory})


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_format",
        description="Check the files of a data directory and copy it with the lengths of its clips.",
        epilog="example: python -m espnet_vivit.bin.avsr_format --data data/train --out dump/raw/org/train",
    )
    parser.add_argument("--data", type=Path, help="data directory to check")
    parser.add_argument(
        "--out", type=Path, required=True, help="data directory to write; with --held_out, the training set"
    )
    parser.add_argument("--nj", type=int, default=1, help="number of threads (default: 1)")
    parser.add_argument("--held_out", type=Path, nargs="*", help="only check that these sets share no clips with OUT")
    args = parser.parse_args(argv)
    if args.held_out is not None:
        check_held_out(args.out, args.held_out)
        print(f"{args.out.name} shares no utterance and no file with {', '.join(d.name for d in args.held_out)}")
        return
    if args.data is None:
        parser.error("--data is missing")
    utterances = format_data_dir(args.data, args.out, nj=args.nj)
    seconds = sum(u.num_frames / VIDEO_RATE_HZ if u.video else u.num_samples / AUDIO_RATE_HZ for u in utterances)
    streams = " and ".join(
        name for name, path in (("sound", utterances[0].wav), ("video", utterances[0].video)) if path
    )
    print(f"{args.data.name}: {len(utterances)} clips with {streams}, {seconds / 60:.1f} min, into {args.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
