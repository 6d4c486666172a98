"""Media files and a trained model in; text with word times, confidences and a verdict out.

    espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt
    espnet-vivit transcribe *.mp4 --model package.zip --modality video --output json --output_dir transcripts

    Transcriber("package.zip").transcribe("talk.mp4").text

Long recordings are cut where nothing is said (transcription/cutting.py) into pieces about as long as the model's
longest training clip, decoded one by one and joined (joining.py): memory does not grow with the length. A piece that
does not look like a talking mouth, or whose words are not believed, is reported as unclear instead of being given
words: the mean of its words' confidences must reach a threshold, which `espnet-vivit calibrate` measures on development
data. A file that fails is reported and the others go on; what is missing (files, the model, a folder that can be
written) is said before anything is loaded. Exit code 0: all done; 1: a file failed, or nothing could begin.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from espnet_vivit.command_parser import CommandParser
from espnet_vivit.decode.options import SEARCHES
from espnet_vivit.errors import ConfigError, EspnetVivitError, MediaError, no_model, unknown_name
from espnet_vivit.whole_file import check_writable, make_folder

if TYPE_CHECKING:
    from espnet_vivit.transcription.cutting import Stretch

MODALITIES = ("auto", "video", "audio", "multimodal")
LONGEST_PIECE_S = 12.0  # whatever the training clips were
UNKNOWN_PIECE_S = 5.0  # where nobody knows: too long a piece loses half of the words, too short a one a few at its ends
ROOM = 1.6  # times the longest training clip: models read somewhat longer ones, and cuts need pauses to choose from
SHORTEST_PIECE_S = 4.0  # whatever the training clips were
MIN_CONFIDENCE = 0.5  # where nobody has calibrated the model
VISION_DTYPES = ("float32", "bfloat16")
BURNT_SUFFIX = ".subtitled.mp4"
_FORMATS = ("txt", "srt", "vtt", "ctm", "json", "trn")


class Transcriber:
    """`Transcriber(model).transcribe(path) -> Transcription`; the model is loaded once and serves any number of files.

    Args:
        model: an experiment folder, its weights file, a package (folder or .zip), or what `espnet2.bin.pack` wrote.
        modality: "video", "audio", "multimodal", or "auto": all that model and file have.
        weights: which weights of an experiment folder, if not the usual ones.
        device: torch's name of it.
        vision_dtype: in which a ViViT computes: "float32", or "bfloat16", faster where the processor has it.
        detector: of faces, as in `stream_mouth_clips`; "centre" takes files that show a mouth and nothing else.
        mouth_size: side in pixels of the mouth pictures that the model was trained on; None: what it says itself.
        mouth_view: pixels in the middle of the 96-pixel mouth that those pictures show, shrunk to `mouth_size`; None:
            what the model says itself, and if it says nothing, all of them.
        longest_piece_s: bound of a piece; None: 1.6 times the longest clip of the training, from 4 to 12 s; 5 s where
            that is not known.
        search, beam_size, ctc_weight: as in `Speech2Text`; None: as a package says that its model was decoded; if it
            does not, a beam of 10 hypotheses and a ctc_weight that fits the model's branches.
        nbest: how many transcripts of a piece are kept.
        lm_weight, ngram_weight: of the language models in a package; None: as it says, 0: without.
        min_confidence: pieces below are unclear; 0 believes everything. None: as calibrated, or 0.5.

    Raises:
        DataError, WeightsError: no model there, or a damaged one. ConfigError: an option that the model cannot serve.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        modality: str = "auto",
        weights: str | None = None,
        device: str = "cpu",
        vision_dtype: str = "float32",
        detector: str = "auto",
        mouth_size: int | None = None,
        mouth_view: int | None = None,
        longest_piece_s: float | None = None,
        search: str | None = None,
        beam_size: int | None = None,
        ctc_weight: float | None = None,
        lm_weight: float | None = None,
        ngram_weight: float | None = None,
        nbest: int = 3,
        min_confidence: float | None = None,
    ):
        from espnet_vivit.media.detectors import DETECTORS
        from espnet_vivit.media.mouth_roi import SIZE as MOUTH_SIZE

        if not Path(model).exists():  # looked at again below, after seconds of imports
            raise no_model(model)
        if modality not in MODALITIES:
            raise unknown_name("modality", modality, MODALITIES)
        if detector not in DETECTORS and not detector.endswith(".task"):  # before a model is loaded for nothing
            raise unknown_name("detector", detector, DETECTORS)
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise ConfigError("min_confidence", found=min_confidence, expected="0 (believe everything) to 1")
        from espnet_vivit.model_files import open_model  # here: ESPnet takes seconds, in which nothing else is said
        from espnet_vivit.transcription.recogniser import PieceRecogniser

        files = open_model(model, weights=weights)
        mouth_size = mouth_size or files.facts.mouth_size or MOUTH_SIZE
        mouth_view = mouth_view or files.facts.mouth_view
        if mouth_view is not None and not mouth_size <= mouth_view <= MOUTH_SIZE:
            found, expected = f"size {mouth_size}, view {mouth_view}", f"size <= view <= {MOUTH_SIZE}"
            raise ConfigError("bad mouth pictures", found=found, expected=expected)
        self.recogniser = PieceRecogniser(
            files,
            modality=None if modality == "auto" else modality,
            search=search,
            beam_size=beam_size,
            ctc_weight=ctc_weight,
            lm_weight=lm_weight,
            ngram_weight=ngram_weight,
            nbest=nbest,
            device=device,
            vision_dtype=vision_dtype,
            min_confidence=min_confidence,
            default_confidence=MIN_CONFIDENCE,
            mouth_size=mouth_size,
            mouth_view=mouth_view,
        )
        self.modality = modality
        self.detector = detector
        self.mouth_size = mouth_size if mouth_view is None else MOUTH_SIZE  # what is read; the recogniser shrinks it
        self.longest_piece_s = longest_piece_s or _longest_piece_s(files.facts.longest_clip_s)

    def transcribe(
        self,
        path: str | Path,
        *,
        on_progress: Callable[[float], object] | None = None,
        on_stretch: Callable[["Stretch"], object] | None = None,
    ):
        """The `Transcription` of one file; `on_progress` is told the seconds of it that are done, `on_stretch` is shown
        the mouth pictures and the sound as they are read, some 20 s at a time.

        Raises MediaError: unreadable, or without the stream that is asked for.
        """
        from espnet_vivit.transcription.assembly import Assembly
        from espnet_vivit.transcription.cutting import cut_into_pieces
        from espnet_vivit.transcription.reading import kind_of

        begun_s = time.perf_counter()
        seconds: dict[str, float] = {}
        assembly = Assembly()
        stretches = self._stretches(Path(path), seconds)
        for kind, parts in groupby(stretches, key=kind_of):
            if kind == "gap":
                for gap in parts:
                    assembly.add_gap(gap)
                continue
            if on_stretch is not None:
                parts = _shown(parts, on_stretch)
            for cut in cut_into_pieces(parts, longest_s=self.longest_piece_s):
                assembly.add(cut, self.recogniser.recognise(cut, seconds))
                if on_progress is not None:
                    on_progress(cut.end_s)
        seconds["total"] = time.perf_counter() - begun_s
        return assembly.result(_shown_name(path), seconds)

    def _stretches(self, path: Path, seconds: dict[str, float]) -> Iterator:
        """What the modality asks for, of what the file has."""
        from espnet_vivit.transcription.reading import read_mouth_stretches, read_sound_stretches

        wanted = self.recogniser.modality
        check_is_file(path)
        present = streams_of(path)
        if self.modality == "multimodal" and present != {"video", "audio"}:
            found = " and ".join(sorted(present)) or "nothing"
            raise MediaError(f"{path} is not to be read from both streams", found=found, fix="Use --modality auto")
        if wanted == "audio" or (wanted == "multimodal" and "video" not in present):
            return read_sound_stretches(path, seconds=seconds)
        options = {"detector": self.detector, "size": self.mouth_size}
        return read_mouth_stretches(path, with_sound=wanted == "multimodal", seconds=seconds, **options)


def _shown(stretches: Iterator["Stretch"], on_stretch: Callable[["Stretch"], object]) -> Iterator["Stretch"]:
    for stretch in stretches:
        on_stretch(stretch)
        yield stretch


def _longest_piece_s(longest_clip_s: float | None) -> float:
    if longest_clip_s is None:
        return UNKNOWN_PIECE_S
    return min(max(ROOM * longest_clip_s, SHORTEST_PIECE_S), LONGEST_PIECE_S)


def transcribe_files(
    transcriber: Transcriber,
    videos: Sequence[Path],
    *,
    formats: Sequence[str] = (),
    output_dir: Path | None = None,
    burn: bool = False,
    font: Path | None = None,
) -> int:
    """Transcribe each file, write what is asked for beside it or into `output_dir`; returns how many failed.

    What is not written to a file is printed: `path: text`. Errors of any kind go to standard error, and the next file
    is begun.
    """
    failed = 0
    for number, video in enumerate(videos, 1):
        with _bar(video, number, len(videos)) as bar:
            try:
                result = transcriber.transcribe(video, on_progress=lambda done_s: bar.update(done_s - bar.n))
                lines = _handed_out(result, video, formats, output_dir or video.parent, burn, font)
            except Exception as error:  # whatever else a file does to a decoder or a model is that file's failure, too
                failed += 1
                what = error if isinstance(error, EspnetVivitError) else f"{type(error).__name__}: {error}"
                bar.write(_shown_name(f"error: {video}: {what}"), file=sys.stderr)
                continue
        for line in lines:
            print(_shown_name(line))
        for piece in result.unclear:
            reasons, span = "; ".join(piece.reasons), f"{piece.start_s:.1f} to {piece.end_s:.1f} s"
            print(_shown_name(f"unclear: {video}, {span}: {reasons}"), file=sys.stderr)
    return failed


def _shown_name(line: str | Path) -> str:
    """What can be printed and written as UTF-8: of a file's name that is no UTF-8, the odd bytes as escapes."""
    return str(line).encode("utf-8", "backslashreplace").decode("utf-8")


def _handed_out(result, video: Path, formats: Sequence[str], folder: Path, burn: bool, font: Path | None) -> list[str]:
    """Write the files; returns the lines to print."""
    from espnet_vivit.transcription.burn import burn_subtitles
    from espnet_vivit.transcription.subtitles import FORMATS, cues, write_subtitles

    lines = [str(path) for path in write_subtitles(result, folder, formats, name=video.stem)]
    if burn:
        burnt = folder / f"{video.stem}{BURNT_SUFFIX}"
        burn_subtitles(video, cues(result), burnt, font=font)
        lines.append(str(burnt))
    return lines or [f"{video}: {FORMATS['txt'](result, video.stem).rstrip()}"]


def _bar(video: Path, number: int, count: int) -> tqdm:
    """Seconds of a file that are done, on standard error; only errors pass it in a log."""
    name = video.name if count == 1 else f"{number}/{count} {video.name}"
    seconds = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    total = duration_s(video)
    return tqdm(
        total=total,
        desc=_shown_name(name),
        unit="s",
        bar_format=seconds if total else None,
        disable=not sys.stderr.isatty(),
        leave=count > 1,
    )


def duration_s(path: Path) -> float | None:
    """What the file's header says; None where it says nothing."""
    import av

    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError:  # reading it will say what is wrong
        return None


def check_is_file(path: Path) -> None:
    """Raises MediaError."""
    if path.is_dir():
        raise MediaError(f"{path} is a folder", fix=f"Name the files: {path}/*")
    if not path.is_file():
        raise MediaError(f"there is no file {path}", fix="Check the path")


def streams_of(path: Path) -> set[str]:
    """Which of "video" and "audio" the file has and FFmpeg decodes; an album's cover is no video.

    Raises MediaError: unreadable.
    """
    from espnet_vivit.media.containers import open_container, sound_stream, video_stream

    if path.suffix == ".npy":
        return {"video"}
    with open_container(path) as container:
        found = {"video": video_stream(container) is not None, "audio": sound_stream(container) is not None}
    return {name for name, there in found.items() if there}


def get_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="espnet-vivit transcribe",
        description="Read speech from video files, their sound, or both.",
        epilog="example: espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt",
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="any media file that FFmpeg reads")
    parser.add_argument("--model", required=True, help="experiment folder, weights file in one, or package")
    parser.add_argument("--modality", default="auto", choices=MODALITIES, help="streams to use; default: all there are")
    parser.add_argument("--output", default="", help=f"files to write, of {','.join(_FORMATS)}; none: print the text")
    parser.add_argument("--output_dir", type=Path, help="folder for them (default: beside each video)")
    parser.add_argument("--burn", action="store_true", help="also write NAME.subtitled.mp4")
    parser.add_argument("--font", type=Path, help="of burnt subtitles, a file; default: one installed with the letters")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there, transcripts among them")
    parser.add_argument("--weights", help="which weights of the experiment folder")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    parser.add_argument(
        "--vision_dtype", default="float32", choices=VISION_DTYPES, help="of a ViViT; bfloat16 is faster on new CPUs"
    )
    parser.add_argument(
        "--detector", default="auto", help="of faces (default: auto); centre: the files are mouth crops"
    )
    parser.add_argument("--mouth_size", type=int, help="pixels; default: what the model was trained on")
    parser.add_argument(
        "--mouth_view", type=int, help="pixels of the 96-pixel mouth that were kept; default: as trained"
    )
    parser.add_argument("--longest_piece_s", type=float, help="default: 1.6 times the longest training clip, or 5")
    parser.add_argument("--min_confidence", type=float, help="below it a piece is unclear; default: as calibrated")
    parser.add_argument("--search", choices=SEARCHES, help="ctc_greedy is faster; default: as packed, or beam")
    parser.add_argument("--beam_size", type=int, help="hypotheses that are followed; default: as packed, or 10")
    parser.add_argument("--ctc_weight", type=float, help="0 to 1; default: as packed, or 0.3")
    for name in ("lm", "ngram"):
        parser.add_argument(f"--{name}_weight", type=float, help="of the package's; 0: without; default: as packed")
    parser.add_argument("--nbest", type=int, default=3, help="hypotheses kept in json; default: 3")
    return parser


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
        failed += transcribe_files(transcriber, there, formats=formats, output_dir=output_dir, burn=burn, font=font)
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
    from espnet_vivit.transcription.fonts import check_font

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


if __name__ == "__main__":
    sys.exit(main())
