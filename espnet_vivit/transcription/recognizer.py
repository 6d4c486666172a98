"""One piece of a recording in, its words or the reason why there are none out.

What is looked at before and after the search: whether the picture shows a talking mouth (media/quality/verdict.py),
whether there is any sound, and whether the words can be believed (doubts.py). A model of both streams reads a piece
whose picture is rejected from the sound alone, and says so.
"""

import dataclasses
import math
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from espnet_vivit.decode.model_files import ModelFiles
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.decode.word_times import Transcript, Word, spread_words
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.media.mouth_clip import MouthClip
from espnet_vivit.media.quality.verdict import Quality, assess_clip
from espnet_vivit.tasks.loading.augment import crop
from espnet_vivit.transcription.cutting import Cut, slice_clip
from espnet_vivit.transcription.doubts import doubts, mean_confidence
from espnet_vivit.transcription.reading import is_silent, stopwatch
from espnet_vivit.transcription.result import OK, UNCLEAR, WARN, Hypothesis, Piece
from espnet_vivit.units import MOUTH_SIZE, STREAMS_OF, VIDEO_RATE_HZ, seconds_of_frames, seconds_of_samples

_MODALITY_OF = {frozenset(streams): modality for modality, streams in STREAMS_OF.items()}


class PieceRecognizer:
    """`recognize(cut, seconds) -> Piece`; see `Transcriber` for the arguments."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        modality: str | None,
        search: SearchOptions,
        lm_weight: float | None,
        ngram_weight: float | None,
        nbest: int,
        device: str,
        precision: str = "float32",
        min_confidence: float | None,
        default_confidence: float,
        mouth_size: int = MOUTH_SIZE,
        mouth_view: int | None = None,
    ):
        self._one_at_a_time = threading.Lock()  # `seconds` below are those of one piece
        self.files = files  # an archive's temporary folder lives as long
        arguments = files.decoding_arguments(search, lm_weight=lm_weight, ngram_weight=ngram_weight)
        self.speech2text = TimedSpeech2Text(
            **arguments, modality=modality, nbest=nbest, device=device, precision=precision
        )
        self.modality = self.speech2text.modality
        args = self.speech2text.asr_train_args
        self.preset = None
        if self.modality != "audio":
            self.preset = trained_preset(vars(args))
        self.mouth_size, self.mouth_view = mouth_size, mouth_view
        self.min_confidence = min_confidence
        self.default_confidence = default_confidence

    def recognize(self, cut: Cut, seconds: dict[str, float]) -> Piece:
        """Words at the file's times; `seconds` is added to: what judging, encoding and searching took."""
        streams, warnings = self._streams(cut, seconds)
        modality = _MODALITY_OF.get(frozenset(streams), "none")
        if not streams:
            return Piece(cut.start_s, cut.end_s, UNCLEAR, tuple(warnings), 0.0, modality, (), ())
        with self._one_at_a_time, stopwatch(seconds, "recognize"):
            self.speech2text.seconds = seconds
            transcripts = self._transcripts(streams, warnings)
        offset_s = seconds_of_frames(cut.stretch.first)
        nbest = tuple(Hypothesis(found.text, found.score, _shifted(found, offset_s)) for found in transcripts)
        best, words = transcripts[0], nbest[0].words
        status = WARN if warnings else OK
        bounds = {"min_confidence": self.needed_confidence(modality), "bounds": self.files.facts.texts}
        if reasons := list(doubts(best, duration_s=_duration_s(streams), **bounds)):
            status, words = UNCLEAR, ()
            warnings += reasons
        confidence = mean_confidence(best)
        return Piece(cut.start_s, cut.end_s, status, tuple(warnings), confidence, modality, words, nbest)

    def _transcripts(self, streams: Mapping[str, np.ndarray], warnings: list[str]) -> list[Transcript]:
        """With the times that CTC tells; of a model without CTC evenly spread, and as sure as its decoder is."""
        speech, video = streams.get("speech"), streams.get("video")
        if self.speech2text.asr_model.ctc is not None:
            return self.speech2text.recognize(speech, video)
        warnings.append("the model has no CTC, so the times of words are spread evenly")
        found = self.speech2text.recognize(speech, video, word_times=False)
        return [dataclasses.replace(one, words=_spread(one, _duration_s(streams))) for one in found]

    def needed_confidence(self, modality: str) -> float:
        """The mean confidence from which the words of a piece are believed."""
        if self.min_confidence is not None:
            return self.min_confidence
        calibrated = (self.files.reliability or {}).get(modality)
        return self.default_confidence if calibrated is None else float(calibrated["min_confidence"])

    def _streams(self, cut: Cut, seconds: dict[str, float]) -> tuple[dict[str, np.ndarray], list[str]]:
        """What the model gets, and what is wrong with it."""
        streams: dict[str, np.ndarray] = {}
        warnings = [cut.stretch.note] if cut.stretch.note else []
        clip, speech = cut.stretch.clip, cut.stretch.speech
        if clip is not None and self.preset is not None:
            with stopwatch(seconds, "judge"):
                quality = _judge(cut, clip)
            if quality.verdict != "ok":
                warnings += quality.reasons
            if quality.verdict != "reject":
                streams["video"] = self.seen(clip.frames)
        if speech is not None and self.modality != "video":
            if is_silent(speech):
                warnings.append("the sound track is silent")
            else:
                streams["speech"] = speech
        return streams, warnings

    def seen(self, frames: np.ndarray) -> np.ndarray:
        """(T, S, S) uint8 mouth pictures -> (T, H, W) for the vision encoder, shrunk as its training data were."""
        assert self.preset is not None  # of a model that takes video
        if self.mouth_view is not None:
            frames = shrink(middle(frames, self.mouth_view), self.mouth_size)
        return np.ascontiguousarray(crop(frames, self.preset, rng=None))


def _duration_s(streams: Mapping[str, np.ndarray]) -> float:
    """Of the pictures, or else of the sound."""
    if "video" in streams:
        return seconds_of_frames(len(streams["video"]))
    return seconds_of_samples(len(streams["speech"]))


def _judge(cut: Cut, clip: MouthClip) -> Quality:
    """The verdict on the time that is the piece's own; what it shares with its neighbours may be another shot."""
    first = cut.stretch.first
    begin, end = round(cut.start_s * VIDEO_RATE_HZ) - first, round(cut.end_s * VIDEO_RATE_HZ) - first
    speech = cut.stretch[begin:end].speech
    own = dataclasses.replace(slice_clip(clip, begin, end), speech=speech)
    return assess_clip(own, modality="video" if speech is None else "auto")


class TimedSpeech2Text(Speech2Text):
    """Adds what encoding and searching took to `seconds`."""

    seconds: dict[str, float]

    def _encode(self, speech, video) -> torch.Tensor:
        with stopwatch(self.seconds, "encode"):
            return super()._encode(speech, video)

    def _search(self, states: Sequence[torch.Tensor]) -> list[list[tuple]]:
        with stopwatch(self.seconds, "search"):
            return super()._search(states)


def _spread(transcript: Transcript, duration_s: float) -> tuple[Word, ...]:
    """The words evenly over the clip; the confidence of each is the decoder's mean probability of a token."""
    confidence = math.exp(transcript.score / (len(transcript.tokens) + 1)) if transcript.tokens else 0.0
    words = spread_words(transcript.text.split(), duration_s, tokens2text=" ".join)
    return tuple(dataclasses.replace(word, confidence=min(1.0, confidence)) for word in words)


def _shifted(transcript: Transcript, offset_s: float) -> tuple[Word, ...]:
    return tuple(
        dataclasses.replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s)
        for word in transcript.words
    )
