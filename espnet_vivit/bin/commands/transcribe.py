"""`espnet-vivit transcribe`: text, subtitles and word times of video and sound files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_vivit.base.whole_file import check_writable, make_folder
from espnet_vivit.bin.command_parser import CommandParser, add_track_options
from espnet_vivit.decode.options import PRECISIONS, SEARCHES, Search
from espnet_vivit.errors import ConfigError, EspnetVivitError, MediaError, unknown_name
from espnet_vivit.media.files.containers import check_is_file, stated_duration_s
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.transcription.transcriber import MODALITY_CHOICES, Transcriber, _shown_name

BURNT_SUFFIX = ".subtitled.mp4"
_FORMATS = ("txt", "srt", "vtt", "ctm", "json", "trn")


def transcribe_files(
    transcriber: Transcriber,
    videos: Sequence[Path],
    *,
    formats: Sequence[str] = (),
    output_dir: Path | None = None,
    burn: bool = False,
    font: Path | None = None,
    tracks: Tracks = AS_PLAYERS,
) -> int:
    """Transcribe each file, write what is asked for beside it or into `output_dir`; returns how many failed.

    tracks: those that the transcriber reads, for the burnt video. What is not written to a file is printed:
    `path: text`. Remarks, what is wrong with pieces, and errors of any kind go to standard error, and the next file is
    begun.
    """
    failed = 0
    for number, video in enumerate(videos, 1):
        with _bar(video, number, len(videos)) as bar:
            try:
                result = transcriber.transcribe(video, on_progress=lambda done_s: bar.update(done_s - bar.n))
                folder = output_dir or video.parent
                lines = _handed_out(result, video, formats, folder, burn, font, tracks)
            except Exception as error:  # whatever else a file does to a decoder or a model is that file's failure, too
                failed += 1
                what = error if isinstance(error, EspnetVivitError) else f"{type(error).__name__}: {error}"
                bar.write(_shown_name(f"error: {video}: {what}"), file=sys.stderr)
                continue
        for line in lines:
            print(_shown_name(line))
        for remark in result.remarks:
            print(_shown_name(f"warning: {video}: {remark}"), file=sys.stderr)
        for piece in (piece for piece in result.pieces if piece.reasons):
            reasons, span = "; ".join(piece.reasons), f"{piece.start_s:.1f} to {piece.end_s:.1f} s"
            verdict = "unclear" if piece in result.unclear else "warning"
            print(_shown_name(f"{verdict}: {video}, {span}: {reasons}"), file=sys.stderr)
    return failed


def _handed_out(
    result, video: Path, formats: Sequence[str], folder: Path, burn: bool, font: Path | None, tracks: Tracks
) -> list[str]:
    """Write the files; returns the lines to print."""
    from espnet_vivit.transcription.subtitles.burn import burn_subtitles
    from espnet_vivit.transcription.subtitles.formats import FORMATS, cues, write_subtitles

    lines = [str(path) for path in write_subtitles(result, folder, formats, name=video.stem)]
    if burn:
        burnt = folder / f"{video.stem}{BURNT_SUFFIX}"
        burn_subtitles(video, cues(result), burnt, font=font, tracks=tracks)
        lines.append(str(burnt))
    return lines or [f"{video}: {FORMATS['txt'](result, video.stem).rstrip()}"]


def _bar(video: Path, number: int, count: int) -> tqdm:
    """Seconds of a file that are done, on standard error; only errors pass it in a log."""
    name = video.name if count == 1 else f"{number}/{count} {video.name}"
    seconds = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    total = stated_duration_s(video)
    return tqdm(
        total=total,
        desc=_shown_name(name),
        unit="s",
        bar_format=seconds if total else None,
        disable=not sys.stderr.isatty(),
        leave=count > 1,
    )


def get_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="espnet-vivit transcribe",
        description="Transcribe video files from lip movements, sound, or both.",
        epilog="example: espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt",
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="media file that FFmpeg reads")
    parser.add_argument(
        "--model", required=True, help="experiment folder, weights file in an experiment folder, or package"
    )
    parser.add_argument(
        "--modality",
        default="auto",
        choices=MODALITY_CHOICES,
        help="streams to use (default: auto, all that the file has)",
    )
    add_track_options(parser)
    parser.add_argument(
        "--output", default="", help=f"formats to write, of {','.join(_FORMATS)} (default: print the text)"
    )
    parser.add_argument("--output_dir", type=Path, help="folder for the written files (default: beside each video)")
    parser.add_argument("--burn", action="store_true", help="also write NAME.subtitled.mp4 with burned-in subtitles")
    parser.add_argument(
        "--font", type=Path, help="font file for burned-in subtitles (default: an installed font that covers the text)"
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing files")
    _add_model_options(parser)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `Transcriber`: what the model sees, and how it searches."""
    parser.add_argument(
        "--weights", help="weights file in the experiment folder (default: the average of the best epochs)"
    )
    parser.add_argument("--device", default="cpu", help="device, such as cpu or cuda (default: cpu)")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="bfloat16 (of a ViViT) and int8 (of all linear layers) are faster on recent CPUs (default: float32)",
    )
    parser.add_argument(
        "--detector",
        default="auto",
        help="face detector: auto, mediapipe or haar; centre for mouth crops (default: auto)",
    )
    parser.add_argument("--mouth_size", type=int, help="side of the mouth crop in pixels (default: as in training)")
    parser.add_argument(
        "--mouth_view",
        type=int,
        help="side of the centre region of the 96-pixel crop, in pixels (default: as in training)",
    )
    parser.add_argument(
        "--longest_piece_s",
        type=float,
        help="longest piece to decode at once, in seconds (default: 1.6 times the longest training clip, or 5)",
    )
    parser.add_argument(
        "--min_confidence",
        type=float,
        help="mean confidence below which a piece is unclear; 0 accepts any answer (default: as calibrated)",
    )
    default = Search()
    help_text = f"ctc_greedy is faster (default: the package's, or {default.search})"
    parser.add_argument("--search", choices=SEARCHES, help=help_text)
    help_text = f"beam size (default: the package's, or {default.beam_size})"
    parser.add_argument("--beam_size", type=int, help=help_text)
    help_text = f"weight of CTC, 0 to 1 (default: the package's, or {default.ctc_weight})"
    parser.add_argument("--ctc_weight", type=float, help=help_text)
    for name in ("lm", "ngram"):
        parser.add_argument(
            f"--{name}_weight",
            type=float,
            help=f"weight of the package's {name} model; 0 disables it (default: the package's)",
        )
    parser.add_argument("--nbest", type=int, default=3, help="hypotheses per piece in json (default: 3)")


def main(argv: Sequence[str] | None = None) -> int:
    options = vars(get_parser().parse_args(argv))
    videos, formats = options.pop("videos"), [form for form in options.pop("output").split(",") if form]
    output_dir, burn, font, overwrite = (options.pop(name) for name in ("output_dir", "burn", "font", "overwrite"))
    for form in formats:
        if form not in _FORMATS:
            raise unknown_name("output format", form, _FORMATS)
    model, writing = options.pop("model"), bool(formats) or burn
    if font is not None:
        _check_font(font, burn=burn)
    _check_names(videos, output_dir, writing=writing)
    if not overwrite:
        _check_free(videos, output_dir, formats=formats, burn=burn)
    there = _files_there(videos)  # all that can be known at once is said before ESPnet is imported
    for folder in sorted({output_dir or video.parent for video in there}) if writing else ():
        check_writable(make_folder(folder))
    failed = len(videos) - len(there)
    if there:
        transcriber = Transcriber(model, **options)
        tracks = Tracks(options["video_track"], options["audio_track"])
        failed += transcribe_files(
            transcriber, there, formats=formats, output_dir=output_dir, burn=burn, font=font, tracks=tracks
        )
    if failed:
        print(f"{len(videos) - failed} of {len(videos)} files transcribed", file=sys.stderr)
    return 1 if failed else 0


def _files_there(videos: Sequence[Path]) -> list[Path]:
    """Those that are files; about the others, errors are printed."""
    there = []
    for video in videos:
        try:
            check_is_file(video)
            there.append(video)
        except MediaError as error:
            print(_shown_name(f"error: {video}: {error}"), file=sys.stderr)
    return there


def _check_font(font: Path, *, burn: bool) -> None:
    from espnet_vivit.transcription.subtitles.fonts import check_font

    if not burn:
        raise ConfigError("--font is of the subtitles in pictures", expected="--burn beside it")
    check_font(font)


def _check_names(videos: Sequence[Path], output_dir: Path | None, *, writing: bool) -> None:
    """Raise ConfigError if two files' transcripts would have the same name."""
    owners: dict[Path, Path] = {}
    for video in videos if writing else ():
        name = (output_dir or video.parent) / video.stem
        if owners.setdefault(name, video) != video:
            raise ConfigError(f"{owners[name]} and {video} would be written to the same {name}.*", fix="Rename one")


def _check_free(videos: Sequence[Path], output_dir: Path | None, *, formats: Sequence[str], burn: bool) -> None:
    """Raise ConfigError if a file would be replaced, which may be the transcript that a corpus is made from."""
    suffixes = [f".{form}" for form in formats] + [BURNT_SUFFIX] * burn
    targets = ((output_dir or video.parent) / f"{video.stem}{suffix}" for video in videos for suffix in suffixes)
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ConfigError(
            "there are files already where the results would be written",
            found=", ".join(there[:3]) + (f" and {len(there) - 3} more" if there[3:] else ""),
            fix="Give --output_dir, or --overwrite to replace them",
        )
