"""Measure how reliable the confidences of decoded words are, as a table of confidence against accuracy.

A word is right if the alignment of the word error rate pairs it with an equal one. In a bin of words whose confidence
is about 0.8, eight of ten should be; the expected calibration error is the mean difference, weighted by words (Guo et
al., ICML 2017). Separation is the probability that a right word has more confidence than a wrong one (area under the
ROC curve): a confidence may be badly calibrated and still tell which words to doubt.

Transcribing judges pieces, so the threshold that `calibrate` finds is on the mean confidence of an utterance: the
lowest from which on a given share of all words is right. Where all utterances are right often enough, nothing speaks
against less sure ones: they are accepted as without calibration. `reliability.json` in the experiment folder gets it,
one entry per modality, with the reliability curve of single words; packing takes it along.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import jiwer
import numpy as np
from scipy.stats import rankdata

from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError


@dataclass(frozen=True)
class Bin:
    """The words with a confidence above `low` and up to `high` (the first bin includes 0)."""

    low: float
    high: float
    words: int
    confidence: float  # mean; nan without words
    accuracy: float  # share that is right; nan without words


@dataclass(frozen=True)
class Reliability:
    """The confidences (W,) of words, whether each word is right (W,) bool, and both grouped into bins of equal
    width.
    """

    confidences: np.ndarray
    correct: np.ndarray
    bins: tuple[Bin, ...]

    @property
    def expected_calibration_error(self) -> float:
        parts = [part.words * abs(part.confidence - part.accuracy) for part in self.bins if part.words]
        return float(sum(parts) / len(self.confidences))

    @property
    def separation(self) -> float | None:
        """The area under the ROC curve of confidence as a detector of right words: 0.5 is chance, 1 is perfect. None
        if all words are right or all are wrong.
        """
        right, wrong = int(self.correct.sum()), int((~self.correct).sum())
        if not right or not wrong:
            return None
        ranks = rankdata(self.confidences)  # ties share their mean rank
        return float((ranks[self.correct].sum() - right * (right + 1) / 2) / (right * wrong))

    def threshold(self, accuracy: float, weights: Sequence[float] | None = None) -> tuple[float, float] | None:
        """The lowest confidence from which on at least the share `accuracy` of words is right, and the share kept.

        weights: of the words in these shares, one each unless given. None if no threshold reaches the accuracy.
        """
        if not 0 < accuracy <= 1:
            raise ConfigError("accuracy is a share", found=accuracy, expected="above 0, up to 1")
        order = np.argsort(-self.confidences, kind="stable")
        counted = np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
        confidences, right = self.confidences[order], np.cumsum(counted * self.correct[order])
        kept = np.cumsum(counted)
        last_of_its_value = np.append(confidences[1:] < confidences[:-1], True)
        reached = np.flatnonzero((right >= accuracy * kept - 1e-9) & last_of_its_value)
        if not len(reached):
            return None
        return float(confidences[reached[-1]]), float(kept[reached[-1]] / kept[-1])

    def table(self) -> str:
        """What is printed."""
        lines = ["confidence      words    mean  right"]
        for part in self.bins:
            means = f"{part.confidence:6.3f} {part.accuracy:6.3f}" if part.words else f"{'-':>6} {'-':>6}"
            lines.append(f"{part.low:.2f} to {part.high:.2f} {part.words:8d}  {means}")
        mean, right = self.confidences.mean(), self.correct.mean()
        lines.append(f"all          {len(self.correct):8d}  {mean:6.3f} {right:6.3f}")
        separation = "-" if self.separation is None else f"{self.separation:.3f}"
        lines.append(f"expected calibration error {self.expected_calibration_error:.3f}, separation {separation}")
        return "\n".join(lines)


def reliability(confidences: Sequence[float], correct: Sequence[bool], *, bins: int = 10) -> Reliability:
    """Sort words into `bins` of equal width.

    Raises:
        DataError: no words, other counts, or a confidence outside 0..1. ConfigError: bins below 1.
    """
    shares, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if bins < 1:
        raise ConfigError("number of bins", found=bins, expected="1 or more")
    if shares.shape != right.shape or shares.ndim != 1 or not len(shares):
        expected = "as many confidences as judgements, at least one"
        raise DataError("words to judge", found=f"{shares.shape} and {right.shape}", expected=expected)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise DataError("a confidence outside 0..1", found=f"{shares.min():g} to {shares.max():g}")
    places = np.clip(np.ceil(shares * bins).astype(int) - 1, 0, bins - 1)
    table = []
    for index in range(bins):
        inside = places == index
        count = int(inside.sum())
        means = (float(shares[inside].mean()), float(right[inside].mean())) if count else (np.nan, np.nan)
        table.append(Bin(index / bins, (index + 1) / bins, count, *means))
    return Reliability(shares, right, tuple(table))


def read_confidences(folder: Path) -> dict[str, list[float]]:
    """Read `utterance -> confidences of its words`."""
    path = Path(folder) / "confidence"
    if not path.is_file():
        raise DataError("no confidences", found=f"no file {path}", fix="Decode with --word_times true.")
    confidences = {}
    for utt_id, line in read_transcripts(path).items():
        try:
            confidences[utt_id] = [float(value) for value in line.split()]
        except ValueError as error:
            raise DataError(f"{path}: utterance {utt_id}: {error}", expected="numbers from 0 to 1") from error
    return confidences


def judged_words(
    references: Mapping[str, str], hypotheses: Mapping[str, str], confidences: Mapping[str, Sequence[float]]
) -> tuple[list[float], list[bool]]:
    """List (confidence, whether the word is right) for every word of the hypotheses, in the order of the utterance
    ids.

    Raises:
        DataError: an utterance that one of the three lacks, or another number of confidences than words.
    """
    for what, ids in (("reference", references.keys()), ("confidences", confidences.keys())):
        missing = sorted(hypotheses.keys() - ids)
        if missing:
            raise DataError(f"{len(missing)} decoded utterances have no {what}, as {missing[0]}")
    found, correct = [], []
    for utt_id in sorted(hypotheses):
        words = hypotheses[utt_id].split()
        if len(confidences[utt_id]) != len(words):
            raise DataError(f"confidences of {utt_id}", found=len(confidences[utt_id]), expected=f"{len(words)} words")
        right = [False] * len(words)
        if words and references[utt_id].split():
            for chunk in jiwer.process_words(references[utt_id], hypotheses[utt_id]).alignments[0]:
                if chunk.type == "equal":
                    right[chunk.hyp_start_idx : chunk.hyp_end_idx] = [True] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
        found += confidences[utt_id]
        correct += right
    return found, correct


MIN_CONFIDENCE = 0.5  # where nobody has calibrated the model
ACCURACY = 0.8  # of the words of the pieces that are believed


@dataclass(frozen=True)
class DecodedSet:
    """References and hypotheses of a decoded set by utterance, and the confidences of the hypotheses' words."""

    references: Mapping[str, str]
    hypotheses: Mapping[str, str]
    confidences: Mapping[str, Sequence[float]]


def calibrate(sets: Mapping[str, DecodedSet], *, accuracy: float = ACCURACY) -> dict:
    """Compute the calibration of one modality, as it is written to a file; `sets` in it says what the threshold keeps
    of each set, and how many of these words are right. Speakers outside the training set belong among the sets.

    Each set counts the same for the threshold, however many words it has: a speaker is as likely to be in one as in
    another, and a large set of known speakers would else outvote the others.

    `min_confidence` is 1 where no threshold reaches the accuracy: nothing but certainty is believed then; where all
    utterances together reach it, it is at most `MIN_CONFIDENCE`, because nothing speaks against less sure ones. Raises
    DataError for lists of different utterances.
    """
    judged = {name: _judged(of_set) for name, of_set in sets.items()}
    words, means, correct = (list(chain.from_iterable(lists)) for lists in zip(*judged.values(), strict=True))
    weights = [1 / len(of_set) for of_set, *_ in judged.values() for _ in of_set]
    found = reliability(means, correct).threshold(accuracy, weights)
    threshold, kept = (1.0, 0.0) if found is None else found
    if kept == 1.0:
        threshold = min(threshold, MIN_CONFIDENCE)
    threshold = math.floor(threshold * 1e4) / 1e4
    measured = {"min_confidence": threshold, "accuracy": accuracy, "kept_words": kept}
    measured |= {"utterances": sum(len(of_set.hypotheses) for of_set in sets.values()), **_curve(words, correct)}
    return measured | {"sets": {name: _kept(*of_set, threshold) for name, of_set in judged.items()}}


def _judged(decoded: DecodedSet) -> tuple[list[float], list[float], list[bool]]:
    """Of each word its confidence, the mean confidence of its utterance, and whether it is right."""
    words, correct = judged_words(decoded.references, decoded.hypotheses, decoded.confidences)
    means = {utt_id: sum(values) / len(values) for utt_id, values in decoded.confidences.items() if values}
    return words, [means[utt] for utt in sorted(decoded.hypotheses) for _ in decoded.hypotheses[utt].split()], correct


def _kept(words: list[float], means: list[float], correct: list[bool], threshold: float) -> dict:
    """What a threshold on the mean confidence keeps of a set's words, the share of these that is right, the curve."""
    curve = _curve(words, correct)
    kept = [right for mean, right in zip(means, correct, strict=True) if mean >= threshold]
    return {
        "kept_words": len(kept) / len(means),
        "right_of_kept": sum(kept) / len(kept) if kept else None,
        **curve,
    }


def _curve(words: list[float], correct: list[bool]) -> dict:
    of_words = reliability(words, correct)
    return {
        "words": len(correct),
        "right": sum(correct) / len(correct),
        "expected_calibration_error": of_words.expected_calibration_error,
        "separation": of_words.separation,
        "curve": [{k: None if v != v else v for k, v in asdict(part).items()} for part in of_words.bins],
    }


def curve_rows(curve: Sequence[Mapping]) -> list[tuple[str, ...]]:
    """(confidence, words, mean, right) of each bin, as printed and as a model's card has it."""
    return [
        (f"{part['low']:.2f} to {part['high']:.2f}", str(part["words"]))
        + ((f"{part['confidence']:.3f}", f"{part['accuracy']:.3f}") if part["words"] else ("-", "-"))
        for part in curve
    ]
