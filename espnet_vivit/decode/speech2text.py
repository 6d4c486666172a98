"""Speech2Text: one clip in, its n best transcripts out.

In: video (T, H, W) uint8 as the preprocessor delivers it, and/or speech (N,) float32 at 16 kHz. Out: ESPnet's list of
(text, tokens, token ids, hypothesis). The search (beam_search.py) finds what ESPnet2's BatchBeamSearch would, over CTC
prefixes, the attention decoder, a length bonus and, if given, language models; or it is the CTC branch's best path,
which costs next to nothing.
"""

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.decode.language_model import load_language_model
from espnet_vivit.decode.ngram import NgramScorer, read_arpa
from espnet_vivit.decode.options import LM_WEIGHT, NGRAM_WEIGHT, Search, SearchOptions
from espnet_vivit.decode.precision import set_precision
from espnet_vivit.decode.word_times import (
    StepScores,
    Transcript,
    Word,
    frame_support,
    spread_words,
    words_with_times,
)
from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.espnet_compat import Hypothesis, LengthBonus, inference_with_task
from espnet_vivit.espnet_compat import Speech2Text as EspnetSpeech2Text
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.pieces import JoinedPieces
from espnet_vivit.units import FEATURE_RATES, STREAMS_OF, VIDEO_RATE_HZ

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E


class Speech2Text(EspnetSpeech2Text):
    """`Speech2Text(config, weights)(speech=…, video=…) -> [(text, tokens, ids, hypothesis), …]`, best first.

    Threads may share one: they compute one after another, as ESPnet's attention keeps its last weights in the module.

    Args:
        modality: which streams are used, of those the model takes; None: those that are given.
        lm_train_config, lm_file: an ESPnet language model of the model's tokens, see decode/language_model.py.
        ngram_file: an ARPA file of the model's tokens, see decode/ngram.py; kenlm is not needed.
        search: "beam", or "ctc_greedy" (the most probable label of every step, repetitions and blanks removed).
        search, beam_size, ctc_weight, penalty, maxlenratio, minlenratio, normalize_length: None is the default, which
            `Search` in decode/options.py holds; a model with one branch is searched with that one.
        maxlenratio, minlenratio: bounds of the number of tokens per video frame, so that they mean the same at both
            feature rates; maxlenratio 0 finds the end by itself, negative is the number of tokens.
        precision: "float32", "bfloat16" (of a ViViT) or "int8" (of all linear layers, on a CPU): decode/precision.py.
        Others: as in ESPnet2's Speech2Text.

    Raises:
        ConfigError: an unknown name, or a modality or weight that the model does not have.
        WeightsError: weights that do not fit the configuration.
    """

    def __init__(
        self,
        asr_train_config: str | Path | None = None,
        asr_model_file: str | Path | None = None,
        *,
        modality: str | None = None,
        search: str | None = None,
        beam_size: int | None = None,
        ctc_weight: float | None = None,
        penalty: float | None = None,
        lm_train_config: str | Path | None = None,
        lm_file: str | Path | None = None,
        lm_weight: float = LM_WEIGHT,
        ngram_file: str | Path | None = None,
        ngram_weight: float = NGRAM_WEIGHT,
        nbest: int = 1,
        maxlenratio: float | None = None,
        minlenratio: float | None = None,
        normalize_length: bool | None = None,
        token_type: str | None = None,
        bpemodel: str | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ):
        asked = SearchOptions(
            search=search,
            beam_size=beam_size,
            ctc_weight=ctc_weight,
            penalty=penalty,
            maxlenratio=maxlenratio,
            minlenratio=minlenratio,
            normalize_length=normalize_length,
        )
        if nbest < 1:
            raise ConfigError("a search with a bad nbest", found=nbest, expected="1 or more hypotheses")
        check_device(device)
        with inference_with_task(AVSRTask):  # ESPnet's constructor names ASRTask
            super().__init__(
                asr_train_config=asr_train_config,
                asr_model_file=asr_model_file,
                token_type=token_type,
                bpemodel=bpemodel,
                device=device,
                nbest=nbest,
            )
        if self.tokenizer is None:  # token_type bpe without a model
            self.tokenizer = JoinedPieces()
        model = self.asr_model
        self.modality = check_modality(modality, model.modality)
        options = asked.complete(has_ctc=model.ctc is not None, has_decoder=model.decoder is not None)
        self.search, self.attention_only = options.search, options.ctc_weight == 0
        self.length_ratios = (options.maxlenratio, options.minlenratio)
        self.beam_search = build_search(model, options)
        models = self._add_language_models(lm_train_config, lm_file, lm_weight, ngram_file, ngram_weight)
        set_precision(model, precision, language_models=models)
        self._computing = threading.Lock()

    def _add_language_models(
        self,
        lm_train_config: str | Path | None,
        lm_file: str | Path | None,
        lm_weight: float,
        ngram_file: str | Path | None,
        ngram_weight: float,
    ) -> list[torch.nn.Module]:
        """Let the beam search ask those that have a weight. Return the neural ones."""
        tokens, models = self.asr_model.token_list, []
        if lm_train_config is not None and lm_file is None:
            raise ConfigError("a language model without weights", found=str(lm_train_config), fix="Name its lm_file")
        if lm_file is not None and lm_weight != 0:
            models.append(load_language_model(lm_train_config, lm_file, tokens).lm.to(self.device))
            self.beam_search.add("lm", models[0], weight=lm_weight)
        if ngram_file is not None and ngram_weight != 0:
            self.beam_search.add("ngram", NgramScorer(read_arpa(ngram_file), tokens), weight=ngram_weight)
        return models

    @classmethod
    def from_pretrained(  # ESPnet's own would build its ASRTask's model
        cls,
        model: str | Path,
        *,
        weights: str | None = None,
        modality: str | None = None,
        search: str | None = None,
        beam_size: int | None = None,
        ctc_weight: float | None = None,
        lm_weight: float | None = None,
        ngram_weight: float | None = None,
        nbest: int = 1,
        device: str = "cpu",
        precision: str = "float32",
    ) -> "Speech2Text":
        """From an experiment folder, its weights file, a package (folder or .zip), or the id "owner/name" of one.

        What is None is as the package says that its model was decoded, and else as in the constructor. Only a package
        that is not here is fetched. Raises DataError, WeightsError or ConfigError.
        """
        from espnet_vivit.decode.model_files import open_model
        from espnet_vivit.decode.package import Package

        here = Path(model).exists()
        files = open_model(model if here else Package.from_pretrained(model).folder, weights=weights)
        asked = SearchOptions(search=search, beam_size=beam_size, ctc_weight=ctc_weight)
        arguments = files.decoding_arguments(asked, lm_weight=lm_weight, ngram_weight=ngram_weight)
        recognizer = cls(**arguments, modality=modality, nbest=nbest, device=device, precision=precision)
        recognizer.files = files  # an archive's temporary folder, which may hold a sentencepiece model, lives as long
        return recognizer

    @torch.no_grad()
    def __call__(self, speech: np.ndarray | torch.Tensor | None = None, video: np.ndarray | torch.Tensor | None = None):
        """n-best list of (text, tokens, token ids, hypothesis); streams outside `modality` are left unused."""
        with self._computing:
            return self._search([self._encode(speech, video)])[0]

    @torch.no_grad()
    def recognize(
        self,
        speech: np.ndarray | torch.Tensor | None = None,
        video: np.ndarray | torch.Tensor | None = None,
        *,
        word_times: bool = True,
    ) -> list[Transcript]:
        """The n best, best first, with the times and confidences of their words; streams as in `__call__`.

        There is always one: where the search ends without a hypothesis, its text is empty and its score -inf.

        Raises:
            ConfigError: word_times of a model without CTC.
        """
        return self.recognize_batch([{"speech": speech, "video": video}], word_times=word_times)[0]

    @torch.no_grad()
    def recognize_batch(
        self, clips: Sequence[Mapping[str, np.ndarray | torch.Tensor | None]], *, word_times: bool = True
    ) -> list[list[Transcript]]:
        """What `recognize` gives for each of the clips, {"speech": …, "video": …}, found in one search."""
        if word_times:
            self._require_ctc_for_times()
        with self._computing:
            states = [self._encode(clip.get("speech"), clip.get("video")) for clip in clips]
            return [
                self._transcripts(found, self._step_scores(clip) if word_times else None)
                for clip, found in zip(states, self._search(states), strict=True)
            ]

    @torch.no_grad()
    def align(
        self,
        text: str,
        *,
        speech: np.ndarray | torch.Tensor | None = None,
        video: np.ndarray | torch.Tensor | None = None,
        frame_head: bool = True,
    ) -> tuple[Word, ...]:
        """The words of a known transcript, with their times and how sure the model is of each.

        frame_head: take the times from it where the model has one (decode/word_times.py), or else from CTC.

        Raises:
            ConfigError: a model without CTC, or of sentencepiece tokens without their model.
            InputError: no words, or more tokens than the clip has steps.
        """
        self._require_ctc_for_times()
        if not text.strip():
            raise InputError("nothing to align", found="no words")
        tokens = self.tokenizer.text2tokens(text)
        ids = self.converter.tokens2ids(tokens)
        with self._computing:
            scores = self._step_scores(self._encode(speech, video))
        scores = scores if frame_head else replace(scores, frame=None)
        return words_with_times(tokens, ids, scores, tokens2text=self.tokenizer.tokens2text)

    @torch.no_grad()
    def transcript(self, states: torch.Tensor) -> Transcript:
        """The best transcript of encoder states (1, T', D) that are there already, with word times."""
        self._require_ctc_for_times()
        with self._computing:
            return self._transcripts(self._search([states])[0], self._step_scores(states))[0]

    def _transcripts(self, found: Sequence[tuple], scores: StepScores | None) -> list[Transcript]:
        transcripts = []
        for text, tokens, ids, hypothesis in found:
            words, support = ((), None) if scores is None else self._words(tokens, ids, scores)
            score = float(hypothesis.score)
            transcripts.append(Transcript(text, tuple(tokens), tuple(ids), score, words, support))
        return transcripts or [Transcript("", (), (), -math.inf, ())]

    def _require_ctc_for_times(self) -> None:
        if self.asr_model.ctc is None:
            raise ConfigError("word times need a model with CTC", found="none", fix="Ask for the text alone.")

    def _step_scores(self, states: torch.Tensor) -> StepScores:
        model = self.asr_model
        return StepScores(
            ctc=model.ctc.log_softmax(states)[0].cpu(),
            frame=None if model.frame_head is None else model.frame_head(states)[0].log_softmax(dim=-1).cpu(),
            blank=model.blank_id,
            step_s=FEATURE_RATES[model.feature_rate] / VIDEO_RATE_HZ,
        )

    def _words(self, tokens: list[str], ids: list[int], scores: StepScores) -> tuple[tuple[Word, ...], float | None]:
        """The words, and their support by the frame head."""
        to_text = self.tokenizer.tokens2text
        try:
            words = words_with_times(tokens, ids, scores, tokens2text=to_text)
        except InputError as error:  # a decoder without CTC can say more tokens than there are steps
            logging.warning("the words are spread evenly over the clip, with no confidence: %s", error)
            return spread_words(tokens, scores.duration_s, tokens2text=to_text), None
        return words, frame_support(tokens, ids, words, scores, tokens2text=to_text)

    def _encode(self, speech, video) -> torch.Tensor:
        """Encoder states (1, T', D) of one clip."""
        batch = {}
        for name, stream in (("speech", speech), ("video", video)):
            if stream is not None and name in STREAMS_OF[self.modality]:
                batch[name] = _tensor(stream).unsqueeze(0).to(self.device)  # (1, N) or (1, T, H, W)
                batch[f"{name}_lengths"] = torch.tensor([batch[name].size(1)], device=self.device)
        if not batch:
            raise InputError(
                "nothing to transcribe", found="no stream", expected=" or ".join(STREAMS_OF[self.modality])
            )
        states, _ = self.asr_model.encode(**batch)
        return states[0] if isinstance(states, tuple) else states  # with intermediate CTC, those come along

    def _search(self, states: Sequence[torch.Tensor]) -> list[list[tuple]]:
        """The n best of each clip, of its encoder states (1, T', D)."""
        if self.search == "ctc_greedy":
            return [[self._best_path(clip)] for clip in states]
        lengths = [clip.size(1) for clip in states]
        found = self.beam_search(
            torch.nn.utils.rnn.pad_sequence([clip[0] for clip in states], batch_first=True),
            torch.tensor(lengths, device=states[0].device),
            ratios=[self._ratios_per_step(length) for length in lengths],
        )
        return [self._results(hypotheses[: self.nbest]) for hypotheses in found]

    def _results(self, hypotheses: Sequence[Hypothesis]) -> list[tuple]:
        """(text, tokens, ids, hypothesis) of each hypothesis."""
        results = []
        for hypothesis in hypotheses:
            ids = hypothesis.yseq[1:-1].tolist()
            tokens = self.converter.ids2tokens(ids)
            results.append((self.tokenizer.tokens2text(tokens), tokens, ids, hypothesis))
        return results

    def _ratios_per_step(self, steps: int) -> tuple[float, float]:
        """The length bounds as ESPnet's search takes them: per encoder step."""
        frames_per_step = FEATURE_RATES[self.asr_model.feature_rate]
        longest, shortest = self.length_ratios
        if longest == 0 and self.attention_only and frames_per_step > 1:
            # ESPnet stops at one token per step. That costs CTC nothing, but 12.5 characters per second are too few.
            longest = -float(steps * frames_per_step)
        elif longest > 0:
            longest *= frames_per_step
        if not self.attention_only:  # CTC cannot say more than a token per step; ESPnet's scorer fails beyond
            longest = min(max(longest, -float(steps)), 1.0)
        return longest, shortest * frames_per_step if shortest > 0 else shortest

    def _best_path(self, states: torch.Tensor) -> tuple[str, list[str], list[int], Hypothesis]:
        scores, labels = self.asr_model.ctc.log_softmax(states)[0].max(dim=-1)  # (T',), (T',)
        blank, edges = self.asr_model.blank_id, (self.asr_model.sos, self.asr_model.eos)
        ids = [label for label, _ in groupby(labels.tolist()) if label != blank and label not in edges]
        tokens = self.converter.ids2tokens(ids)
        text = self.tokenizer.tokens2text(tokens)
        yseq = torch.tensor([self.asr_model.sos, *ids, self.asr_model.eos])
        return text, tokens, ids, Hypothesis(yseq=yseq, score=float(scores.sum()))


def build_search(model: "E2E", options: Search) -> BeamSearch:
    """The beam search over the model's branches and a length bonus."""
    vocabulary = len(model.token_list)
    if options.beam_size > vocabulary:  # as at the first token there is one hypothesis
        found = options.beam_size
        logging.info("beam_size %d is more than the %d tokens there are; using that many", found, vocabulary)
    return BeamSearch(
        {"decoder": model.decoder, "ctc": model.ctc, "length_bonus": LengthBonus(vocabulary)},
        {"decoder": 1.0 - options.ctc_weight, "ctc": options.ctc_weight, "length_bonus": options.penalty},
        beam_size=min(options.beam_size, vocabulary),
        vocabulary=vocabulary,
        sos=model.sos,
        eos=model.eos,
        blank=model.blank_id,
        normalize_length=options.normalize_length,
    )


def check_device(name: str) -> None:
    """Raise ConfigError for a device that torch does not know, or that is not in this machine."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("no such device", found=name, expected="cpu, cuda, cuda:0, mps, …") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{name}, of {torch.cuda.device_count()} CUDA devices"
        raise ConfigError(
            "this machine has no such device", found=found, fix="Use cpu; `espnet-vivit doctor` says more"
        )


def _tensor(stream: np.ndarray | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(stream) if isinstance(stream, np.ndarray) else stream)


def check_modality(modality: str | None, trained: str) -> str:
    """The modality to decode with. Raises ConfigError if the model was not trained on it."""
    if modality is None:
        return trained
    if modality not in STREAMS_OF:
        raise unknown_name("modality", modality, STREAMS_OF)
    if not set(STREAMS_OF[modality]) <= set(STREAMS_OF[trained]):
        raise ConfigError(
            f"the model was trained on {trained} alone",
            found=f"modality {modality}",
            expected=trained,
            fix="Leave it out",
        )
    return modality


def streams_to_read(names: Sequence[str], modality: str | None, trained: str) -> tuple[str, ...]:
    """The data names that decoding needs, of those given. Raises ConfigError if a stream asked for is not there."""
    wanted = STREAMS_OF[check_modality(modality, trained)]
    found = tuple(name for name in wanted if name in names)
    if not found or (modality is not None and found != wanted):
        raise ConfigError(
            f"decoding with modality {modality or trained} needs {' and '.join(wanted)}",
            found=", ".join(names),
            fix="Add what is missing to --data_path_and_name_and_type, or choose another --modality",
        )
    return found
