"""Words while somebody speaks: mouth pictures and sound in as they come, words out as they settle.

    recognizer = StreamingRecognizer("package.zip", chunk_ms=320)
    for frames, samples in camera:                       # (n, 96, 96) uint8 at 25 per second, (m,) float32 at 16 kHz
        update = recognizer.push(frames, samples)        # update.words so far, update.finished sentences
    update = recognizer.finish()

The encoder reads chunk by chunk (decode/model_stream.py), a CTC prefix search is carried on, and where a sentence ends
it is searched as a whole clip is, with the attention decoder. Nothing is held but the running sentence, of at most
`LONGEST_SENTENCE_S`. Language models of a package take no part.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from espnet_vivit.base.config_file import read_config
from espnet_vivit.decode.model_files import ModelFiles, open_model
from espnet_vivit.decode.model_stream import ModelStream
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.decode.speech2text import check_modality
from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.evaluation.calibration import MIN_CONFIDENCE
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.tasks.streams import configured_modality
from espnet_vivit.transcription.doubts import doubts, mean_confidence
from espnet_vivit.transcription.end_point import PAUSE_S, SILENT_MODEL_S, Stillness
from espnet_vivit.transcription.recognizer import PieceRecognizer
from espnet_vivit.transcription.result import OK, UNCLEAR, Hypothesis, Piece
from espnet_vivit.transcription.running_sentence import RunningSentence
from espnet_vivit.transcription.transcriber import mouth_pictures
from espnet_vivit.units import (
    FEATURE_RATES,
    MOUTH_SIZE,
    SAMPLES_PER_FRAME,
    STREAMS_OF,
    VIDEO_RATE_HZ,
    seconds_of_frames,
)

LONGEST_SENTENCE_S = 12.0  # a longer one is ended at the next step of which the model says nothing
LEAD_S = 0.4  # of the pause before a sentence, what belongs to it: training clips do not begin with a word either
_AT_ONCE = VIDEO_RATE_HZ  # frames of a long push that are looked at together


@dataclass(frozen=True)
class LiveUpdate:
    """What a push gave. Times are seconds since the first push.

    finished: sentences that have ended since the push before, as `transcribe` gives pieces; words: of the sentence that
    runs, of which the first `settled` will not change but by the decoder at its end; read_s: how far the model
    has read.
    """

    finished: tuple[Piece, ...]
    words: tuple[str, ...]
    settled: int
    read_s: float


class StreamingRecognizer:
    """`push(frames, samples) -> LiveUpdate`, `finish() -> LiveUpdate`.

    Args:
        model: as of `Transcriber`; trained with `chunk_steps`, and with frontends that stream.
        modality: streams that will be pushed; None: all that the model takes and `present` has.
        present: "video", "audio" or both: what there is to push.
        chunk_ms: how much is read at once, a multiple of the model's step; None: the longest of its training.
        weights, device, beam_size, ctc_weight, min_confidence: as of `Transcriber`.

    Raises:
        ConfigError: a model, or a part of it, that needs whole clips; a chunk that is not one.
        DataError, WeightsError: a model that is missing or damaged.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        modality: str | None = None,
        present: Collection[str] = ("video", "audio"),
        chunk_ms: int | None = None,
        weights: str | None = None,
        device: str = "cpu",
        beam_size: int | None = None,
        ctc_weight: float | None = None,
        min_confidence: float | None = None,
    ):
        files = open_model(model, weights=weights)
        modality = _modality(files, modality, present)
        mouth_size, mouth_view = mouth_pictures(None, None, files.facts)
        self.picture_size = mouth_size if mouth_view is None else MOUTH_SIZE  # pixels of a side, of what is pushed
        self.recognizer = PieceRecognizer(
            files,
            modality=modality,
            search=SearchOptions(search="beam", beam_size=beam_size, ctc_weight=ctc_weight),
            lm_weight=0,
            ngram_weight=0,
            nbest=1,
            device=device,
            min_confidence=min_confidence,
            default_confidence=MIN_CONFIDENCE,
            mouth_size=mouth_size,
            mouth_view=mouth_view,
        )
        self.speech2text = self.recognizer.speech2text
        self.model, self.modality = self.speech2text.asr_model, self.recognizer.modality
        if self.model.ctc is None:
            raise ConfigError("live recognition searches with CTC", found="a model without it", fix="Set ctc_weight")
        self._frames_per_step = FEATURE_RATES[self.model.feature_rate]
        self.speech2text.seconds = {}
        self._set_chunk(chunk_ms)
        self._begin(0)

    @property
    def latency_s(self) -> float:
        """By how much the words are behind at least: a chunk, and what the frontends look ahead."""
        return self._stream.latency_s

    def push(self, frames: np.ndarray | None = None, samples: np.ndarray | None = None) -> LiveUpdate:
        """Mouth pictures (n, S, S) uint8 of `picture_size`, samples (m,) float32; any numbers of them.

        Raises InputError for other pictures, and for a stream that the model does not take.
        """
        if frames is not None and frames.shape[1:] != (self.picture_size, self.picture_size):
            expected = f"(n, {self.picture_size}, {self.picture_size})"
            raise InputError("mouth pictures of another size", found=frames.shape, expected=expected)
        update = self._push(None if frames is None else frames[:0], None if samples is None else samples[:0])
        finished: list[Piece] = []
        count = max(
            0 if frames is None else len(frames), 0 if samples is None else -(-len(samples) // SAMPLES_PER_FRAME)
        )
        for first in range(0, count, _AT_ONCE):
            some = None if frames is None else frames[first : first + _AT_ONCE]
            sound = slice(first * SAMPLES_PER_FRAME, (first + _AT_ONCE) * SAMPLES_PER_FRAME)
            update = self._push(some, None if samples is None else samples[sound])
            finished += update.finished
        return replace(update, finished=tuple(finished))

    def _push(self, frames: np.ndarray | None, samples: np.ndarray | None) -> LiveUpdate:
        self._stillness.push(frames, samples)
        pushed: dict[str, Tensor] = {}
        if frames is not None:
            seen = self.recognizer.seen(frames) if len(frames) else frames
            pushed["frames"] = torch.tensor(seen).to(self.speech2text.device)
        if samples is not None:
            pushed["samples"] = torch.tensor(samples).to(self.speech2text.device)
        return self._read(self._stream.push(**pushed))

    def finish(self) -> LiveUpdate:
        """The last sentence. A further push begins anew, at the time that has been reached."""
        return self._close_stream(None)

    def skip(self, seconds: float, reason: str) -> LiveUpdate:
        """Nothing to read for so long: the sentence ends, and a piece says why there are no words."""
        return self._close_stream((seconds, reason))

    def _close_stream(self, gap: tuple[float, str] | None) -> LiveUpdate:
        update = self._read(self._stream.finish())
        finished = [*update.finished, *self._end_sentence(lead=0)]
        frame = self._first_frame + max(self._stream.frames, self._stream.samples // SAMPLES_PER_FRAME)
        if gap is not None:
            begin_s, frame = seconds_of_frames(frame), frame + round(gap[0] * VIDEO_RATE_HZ)
            finished.append(Piece(begin_s, seconds_of_frames(frame), UNCLEAR, (gap[1],), 0.0, "none", (), ()))
        self._begin(frame)
        return LiveUpdate(tuple(finished), (), 0, seconds_of_frames(frame))

    def _set_chunk(self, chunk_ms: int | None) -> None:
        encoder = self.model.encoder
        if not isinstance(encoder, Conformer):
            return  # ModelStream says so
        step_ms = 1000 * self._frames_per_step // VIDEO_RATE_HZ
        if chunk_ms is not None and (chunk_ms < step_ms or chunk_ms % step_ms):
            raise ConfigError("bad chunk_ms", found=chunk_ms, expected=f"a multiple of {step_ms}, the model's step")
        encoder.set_chunk(max(encoder.chunk_steps, default=0) if chunk_ms is None else chunk_ms // step_ms)

    def _begin(self, first_frame: int) -> None:
        """A new stream, whose first frame is this one."""
        self._first_frame = first_frame
        self._stream, self._stillness = ModelStream(self.model, modality=self.modality), Stillness()
        self._sentence = RunningSentence(self.speech2text, 0)

    def _read(self, states: Tensor) -> LiveUpdate:
        """Search the states chunk by chunk, and end sentences where they end."""
        finished: list[Piece] = []
        for chunk in states.split(self._stream.encoder.chunk):
            self._sentence.push(chunk)
            if self._is_over():
                finished += self._end_sentence(lead=round(LEAD_S / self._stream.step_s))
        words, settled = self._sentence.words()
        return LiveUpdate(tuple(finished), words, settled, self._seconds(self._sentence.end))

    def _is_over(self) -> bool:
        """Whether the sentence ends here; one that has not begun ends with each pause."""
        step_s, sentence = self._stream.step_s, self._sentence
        silent_s, held_s = sentence.silent_steps * step_s, sentence.steps * step_s
        if silent_s >= SILENT_MODEL_S or held_s >= 1.25 * LONGEST_SENTENCE_S:
            return True
        if held_s >= LONGEST_SENTENCE_S and silent_s > 0:
            return True
        return silent_s >= PAUSE_S and self._stillness.is_pause(sentence.end * self._frames_per_step)

    def _end_sentence(self, *, lead: int) -> list[Piece]:
        """The piece of the sentence, none where nothing was said. The next one begins `lead` silent steps before."""
        sentence, self._sentence = self._sentence, self._sentence.following(lead)
        transcript = sentence.transcript()
        if transcript is None or not transcript.words:
            return []
        begin_s, end_s = self._seconds(sentence.begin), self._seconds(sentence.end)
        words = tuple(replace(w, start_s=w.start_s + begin_s, end_s=w.end_s + begin_s) for w in transcript.words)
        confidence = mean_confidence(transcript)
        nbest = (Hypothesis(transcript.text, transcript.score, words),)
        recognizer = self.recognizer
        bounds = {"min_confidence": recognizer.needed_confidence(self.modality), "bounds": recognizer.files.facts.texts}
        if reasons := tuple(doubts(transcript, duration_s=end_s - begin_s, **bounds)):
            return [Piece(begin_s, end_s, UNCLEAR, reasons, confidence, self.modality, (), nbest)]
        return [Piece(begin_s, end_s, OK, (), confidence, self.modality, words, nbest)]

    def _seconds(self, step: int) -> float:
        """The time of a step of the running stream."""
        return seconds_of_frames(self._first_frame + step * self._frames_per_step)


def _modality(files: ModelFiles, modality: str | None, present: Collection[str]) -> str:
    """The modality asked for, or else all that the model takes and is present. Raises ConfigError for none."""
    trained = configured_modality(read_config(files.config))
    there = {"speech" if stream == "audio" else stream for stream in present}
    streams = set(STREAMS_OF[trained if modality is None else check_modality(modality, trained)])
    if not streams & there or (modality is not None and not streams <= there):
        found = " and ".join(sorted(present)) or "neither video nor audio"
        raise ConfigError(
            f"there is nothing to read as {modality or trained}", found=found, expected=modality or trained
        )
    return next(name for name, needed in STREAMS_OF.items() if set(needed) == streams & there)
