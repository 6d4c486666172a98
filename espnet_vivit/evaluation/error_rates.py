"""Count substitutions, deletions and insertions, and compute error rates of words and characters.

Counts are jiwer's (Levenshtein alignment, every error costs 1). Words are split at white space and compared as they
are: no case folding, no punctuation removed. Characters include the single spaces between words. An empty
reference adds nothing to N; what the hypothesis says for it are insertions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from espnet_vivit.errors import DataError, unknown_name
from espnet_vivit.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    Comparison,
    Interval,
    compare_error_rates,
    error_rate_interval,
)

MISSING_POLICIES = ("error", "delete")


@dataclass(frozen=True)
class Counts:
    """The numbers of correct, substituted, deleted and inserted tokens."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def reference(self) -> int:
        """The number of reference tokens, N."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """The errors per reference token, as a fraction; may exceed 1. Raises DataError without reference tokens."""
        if self.reference == 0:
            raise DataError("an error rate needs reference words", found="only empty references")
        return self.errors / self.reference


@dataclass(frozen=True)
class Collapse:
    """The hypothesis that most utterances share although their references differ: the model ignores its input."""

    hypothesis: str
    count: int
    utterances: int

    def __str__(self) -> str:
        said = f"the same hypothesis, {self.hypothesis!r}," if self.hypothesis else "an empty hypothesis"
        return f"{self.count} of {self.utterances} utterances got {said} whatever their input: the model has collapsed"


@dataclass(frozen=True)
class Score:
    """The score of one test set; all arrays, and the rows of the counts, are in the order of the utterance ids."""

    references: dict[str, str]
    hypotheses: dict[str, str]
    words: Counts
    characters: Counts
    word_counts: np.ndarray  # (U, 4) int64: hits, substitutions, deletions, insertions
    char_counts: np.ndarray  # (U, 4)
    alignments: list[list[jiwer.AlignmentChunk]]  # of words
    missing: tuple[str, ...]  # ids that had no hypothesis and were counted as deletions
    collapse: Collapse | None

    @property
    def utt_ids(self) -> list[str]:
        return list(self.references)

    @property
    def wer(self) -> float:
        return self.words.rate

    @property
    def cer(self) -> float:
        return self.characters.rate

    @property
    def errors_per_utterance(self) -> np.ndarray:
        """The word errors of each utterance, (U,)."""
        return self.word_counts[:, 1:].sum(axis=1)

    @property
    def words_per_utterance(self) -> np.ndarray:
        """The reference words of each utterance, (U,)."""
        return self.word_counts[:, :3].sum(axis=1)

    def interval(self, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
        """The bootstrap interval of the WER over utterances."""
        return error_rate_interval(
            self.errors_per_utterance, self.words_per_utterance, level=level, resamples=resamples, seed=seed
        )

    def compare(self, other: "Score", *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
        """Compare this score's WER with `other`'s on the same references, paired by utterance."""
        if self.references != other.references:
            differing = sorted(
                utt
                for utt in self.references.keys() | other.references.keys()
                if self.references.get(utt) != other.references.get(utt)
            )
            raise DataError(
                "two scores can only be compared on the same references", found=f"{_some(differing)} differing"
            )
        return compare_error_rates(
            self.errors_per_utterance,
            other.errors_per_utterance,
            self.words_per_utterance,
            level=level,
            resamples=resamples,
            seed=seed,
        )

    def summary(self, interval: Interval) -> str:
        """The one line that is printed."""
        w = self.words
        missing = f", {len(self.missing)} without hypothesis counted as deleted" if self.missing else ""
        return (
            f"WER {100 * self.wer:.2f} % [{100 * interval.low:.2f}, {100 * interval.high:.2f}]  "
            f"N {w.reference} Sub {w.substitutions} Del {w.deletions} Ins {w.insertions}  "
            f"CER {100 * self.cer:.2f} %  {len(self.references)} utterances{missing}"
        )


def score(references: Mapping[str, str], hypotheses: Mapping[str, str], *, missing: str = "error") -> Score:
    """Align every hypothesis with its reference and count. `missing`: "error", or "delete" (an empty hypothesis)."""
    if missing not in MISSING_POLICIES:
        raise unknown_name("policy for missing hypotheses", missing, MISSING_POLICIES)
    absent = sorted(references.keys() - hypotheses.keys())
    extra = sorted(hypotheses.keys() - references.keys())
    if extra:
        raise DataError(f"hypotheses without reference: {_some(extra)}", fix="Score against the text of the same set.")
    if absent and missing == "error":
        raise DataError(
            f"utterances without hypothesis: {_some(absent)}",
            fix="Decode them, or count them as deletions with --missing delete.",
        )
    utt_ids = sorted(references)
    refs = {utt: " ".join(references[utt].split()) for utt in utt_ids}
    hyps = {utt: " ".join(hypotheses.get(utt, "").split()) for utt in utt_ids}
    if not any(refs.values()):
        raise DataError("an error rate needs reference words", found=f"{len(refs)} references, all empty")
    words = jiwer.process_words(list(refs.values()), list(hyps.values()))
    characters = jiwer.process_characters(list(refs.values()), list(hyps.values()))
    return Score(
        references=refs,
        hypotheses=hyps,
        words=_totals(words),
        characters=_totals(characters),
        word_counts=_count_per_utterance(words.alignments),
        char_counts=_count_per_utterance(characters.alignments),
        alignments=words.alignments,
        missing=tuple(absent),
        collapse=find_collapse(refs, hyps),
    )


def find_collapse(references: Mapping[Any, str], hypotheses: Mapping[Any, str]) -> Collapse | None:
    """The hypothesis that half of four or more utterances share, unless the references repeat about as much."""
    (said, count), *_ = Counter(hypotheses.values()).most_common(1)
    commonest_reference = Counter(references.values()).most_common(1)[0][1]
    if len(hypotheses) < 4 or 2 * count < len(hypotheses) or count < 2 * commonest_reference:
        return None
    return Collapse(said, count, len(hypotheses))


def _totals(output) -> Counts:
    return Counts(output.hits, output.substitutions, output.deletions, output.insertions)


def _count_per_utterance(alignments) -> np.ndarray:
    column = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}
    counts = np.zeros((len(alignments), 4), dtype=np.int64)
    for row, chunks in enumerate(alignments):
        for chunk in chunks:
            length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            counts[row, column[chunk.type]] += length
    return counts


def _some(utt_ids: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(utt_ids) - shown} more" if len(utt_ids) > shown else ""
    return f"{len(utt_ids)} ({', '.join(utt_ids[:shown])}{more})"
