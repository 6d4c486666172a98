"""Media files and a trained model in; text with word times, confidences and a verdict out.

    espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt
    espnet-vivit transcribe *.mp4 --model package.zip --modality video --output json --output_dir transcripts

    Transcriber("package.zip").transcribe("talk.mp4").text

Long recordings are cut where nothing is said (transcription/cutting.py) into pieces about as long as the model's
longest training clip, decoded one by one and joined (assembly.py): memory does not grow with the length. A piece that
does not look like a talking mouth, or whose words are not believed (doubts.py), is reported as unclear instead of being
given words: among others, the mean of its words' confidences must reach a threshold, which `espnet-vivit calibrate`
measures on decoded data. A file that fails is reported and the others go on; what is missing (files, the model, a
folder that can be written) is said before anything is loaded. Exit code 0: all done; 1: a file failed, or nothing could
begin.
"""

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.errors import ConfigError, MediaError, no_model, unknown_name
from espnet_vivit.evaluation.calibration import MIN_CONFIDENCE
from espnet_vivit.media.files.containers import check_is_file, streams_of
from espnet_vivit.media.files.tracks import Tracks
from espnet_vivit.units import MODALITIES, MOUTH_SIZE

if TYPE_CHECKING:
    from espnet_vivit.tasks.training_facts import TrainingFacts
    from espnet_vivit.transcription.cutting import Stretch

MODALITY_CHOICES = ("auto", *MODALITIES)
LONGEST_PIECE_S = 12.0  # whatever the training clips were
UNKNOWN_PIECE_S = 5.0  # where nobody knows: too long a piece loses half of the words, too short a one a few at its ends
ROOM = 1.6  # times the longest training clip: models read somewhat longer ones, and cuts need pauses to choose from
SHORTEST_PIECE_S = 4.0  # whatever the training clips were


class Transcriber:
    """Transcribe media files of any length with one model: `Transcriber(model).transcribe(path) -> Transcription`.

    Args:
        model: an experiment folder, its weights file, a package (folder or .zip), or an archive of `espnet2.bin.pack`.
        modality: "video", "audio", "multimodal", or "auto" for all streams that the model and the file have.
        weights: weights file of an experiment folder; None is the average of the best epochs.
        device: torch's name of the device.
        precision: "float32"; "bfloat16" for a ViViT, or "int8" for all linear layers, which are faster on recent CPUs.
        detector: face detector, as in `stream_mouth_clips`; "centre" is for files that show only a mouth.
        mouth_size: side in pixels of the mouth crops in training; None is the size stored with the model.
        mouth_view: side in pixels of the centre region of the 96-pixel crop that the model sees, resized to
            `mouth_size`; None is the value stored with the model, or the whole crop.
        longest_piece_s: length in seconds of the longest piece that is decoded at once; None is 1.6 times the longest
            training clip, between 4 and 12 s, or 5 s if that length is unknown.
        search, beam_size, ctc_weight: as in `Speech2Text`; None is the package's value, or the default.
        nbest: number of hypotheses kept for each piece.
        lm_weight, ngram_weight: weights of the language models in a package; None is the package's value, 0 disables
            the model.
        min_confidence: mean word confidence below which a piece is reported as unclear; 0 accepts every answer, also
            loops (transcription/doubts.py). None is the calibrated threshold, or 0.5.
        audio_track, video_track: tracks of the files, counted from 1; None is the track that a player takes.

    Raises:
        DataError, WeightsError: a model that is missing or damaged.
        ConfigError: an option that the model does not support.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        modality: str = "auto",
        weights: str | None = None,
        device: str = "cpu",
        precision: str = "float32",
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
        audio_track: int | None = None,
        video_track: int | None = None,
    ):
        if not Path(model).exists():  # looked at again below, after seconds of imports
            raise no_model(model)
        _check_choices(modality, detector)  # before a model is loaded for nothing
        _check_numbers(min_confidence, mouth_size, longest_piece_s)
        self.tracks = Tracks(video_track, audio_track)
        from espnet_vivit.decode.model_files import open_model  # late: ESPnet takes seconds
        from espnet_vivit.decode.options import SearchOptions
        from espnet_vivit.transcription.recognizer import PieceRecognizer

        files = open_model(model, weights=weights)
        mouth_size, mouth_view = mouth_pictures(mouth_size, mouth_view, files.facts)
        self.recognizer = PieceRecognizer(
            files,
            modality=None if modality == "auto" else modality,
            search=SearchOptions(search=search, beam_size=beam_size, ctc_weight=ctc_weight),
            lm_weight=lm_weight,
            ngram_weight=ngram_weight,
            nbest=nbest,
            device=device,
            precision=precision,
            min_confidence=min_confidence,
            default_confidence=MIN_CONFIDENCE,
            mouth_size=mouth_size,
            mouth_view=mouth_view,
        )
        self.modality, self.detector = modality, detector
        self.mouth_size = mouth_size if mouth_view is None else MOUTH_SIZE  # what is read; the recognizer shrinks it
        self.longest_piece_s = (
            _longest_piece_s(files.facts.longest_clip_s) if longest_piece_s is None else longest_piece_s
        )

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
        remarks: dict[str, None] = {}
        assembly = Assembly()
        stretches = self._stretches(Path(path), seconds, remarks)
        for kind, parts in groupby(stretches, key=kind_of):
            if kind == "gap":
                for gap in parts:
                    assembly.add_gap(gap)
                continue
            if on_stretch is not None:
                parts = _shown(parts, on_stretch)
            for cut in cut_into_pieces(parts, longest_s=self.longest_piece_s):
                assembly.add(cut, self.recognizer.recognize(cut, seconds))
                if on_progress is not None:
                    on_progress(cut.end_s)
        seconds["total"] = time.perf_counter() - begun_s
        return assembly.result(_shown_name(path), seconds, remarks)

    def _stretches(self, path: Path, seconds: dict[str, float], remarks: dict[str, None]) -> Iterator:
        """What the modality asks for, of what the file has."""
        from espnet_vivit.transcription.reading import read_mouth_stretches, read_sound_stretches

        wanted = self.recognizer.modality
        check_is_file(path)
        present = streams_of(path, self.tracks)
        if self.modality == "multimodal" and present != {"video", "audio"}:
            found = " and ".join(sorted(present)) or "nothing"
            raise MediaError(f"{path} is not to be read from both streams", found=found, fix="Use --modality auto")
        if wanted == "audio" or (wanted == "multimodal" and "video" not in present):
            return read_sound_stretches(path, seconds=seconds, tracks=self.tracks, remarks=remarks)
        options = {"detector": self.detector, "size": self.mouth_size, "tracks": self.tracks, "remarks": remarks}
        return read_mouth_stretches(path, with_sound=wanted == "multimodal", seconds=seconds, **options)


def _shown(stretches: Iterator["Stretch"], on_stretch: Callable[["Stretch"], object]) -> Iterator["Stretch"]:
    for stretch in stretches:
        on_stretch(stretch)
        yield stretch


def _check_choices(modality: str, detector: str) -> None:
    from espnet_vivit.media.faces.detectors import DETECTORS

    if modality not in MODALITY_CHOICES:
        raise unknown_name("modality", modality, MODALITY_CHOICES)
    if detector not in DETECTORS and not detector.endswith(".task"):
        raise unknown_name("detector", detector, DETECTORS)


def _check_numbers(min_confidence: float | None, mouth_size: int | None, longest_piece_s: float | None) -> None:
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ConfigError("min_confidence", found=min_confidence, expected="0 (believe everything) to 1")
    if mouth_size is not None and mouth_size < 1:
        raise ConfigError("mouth_size", found=mouth_size, expected=f"pixels of a side, 1 to {MOUTH_SIZE}")
    if longest_piece_s is not None and not longest_piece_s > 0:
        raise ConfigError("longest_piece_s", found=longest_piece_s, expected="seconds above 0")


def mouth_pictures(size: int | None, view: int | None, facts: "TrainingFacts") -> tuple[int, int | None]:
    """(mouth_size, mouth_view) as given, or else as the model was trained. Raises ConfigError for a view too small."""
    size = facts.mouth_size or MOUTH_SIZE if size is None else size
    view = facts.mouth_view if view is None else view
    if view is not None and not size <= view <= MOUTH_SIZE:
        found, expected = f"size {size}, view {view}", f"size <= view <= {MOUTH_SIZE}"
        raise ConfigError("bad mouth pictures", found=found, expected=expected)
    return size, view


def _longest_piece_s(longest_clip_s: float | None) -> float:
    if longest_clip_s is None:
        return UNKNOWN_PIECE_S
    return min(max(ROOM * longest_clip_s, SHORTEST_PIECE_S), LONGEST_PIECE_S)


def _shown_name(line: str | Path) -> str:
    """What can be printed and written as UTF-8: of a file's name that is no UTF-8, the odd bytes as escapes."""
    return str(line).encode("utf-8", "backslashreplace").decode("utf-8")
