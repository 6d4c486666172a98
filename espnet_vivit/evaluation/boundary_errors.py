"""Measure the errors of word boundaries against known word times: their median and 90th percentile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError

NEAR_S = (0.04, 0.08, 0.2)  # one video frame; two; a short word


@dataclass(frozen=True)
class BoundaryErrors:
    """The boundary errors of correctly recognized words, in seconds; an error is positive where the boundary was
    found late.
    """

    starts: np.ndarray  # (W,) float64
    ends: np.ndarray  # (W,)
    known_words: int
    clips: int

    @property
    def both(self) -> np.ndarray:
        """The errors of starts and ends together, (2 W,)."""
        return np.concatenate([self.starts, self.ends])

    @property
    def median_s(self) -> float:
        return float(np.median(np.abs(self.both)))

    @property
    def p90_s(self) -> float:
        """The 90th percentile of the absolute errors, in seconds."""
        return float(np.percentile(np.abs(self.both), 90))

    def table(self) -> str:
        """The Markdown table of the errors."""
        lines = [
            f"word boundaries of {len(self.starts)} right words, of {self.known_words} known, in {self.clips} clips",
            "error in s      median     90 %     bias  " + "  ".join(f"<= {near_s:g} s" for near_s in NEAR_S),
        ]
        for name, errors in (("starts", self.starts), ("ends", self.ends), ("both", self.both)):
            size = np.abs(errors)
            near = "  ".join(f"{100 * np.mean(size <= near_s + 1e-9):6.1f} %" for near_s in NEAR_S)
            lines.append(
                f"{name:12}  {np.median(size):8.3f} {np.percentile(size, 90):8.3f} {np.mean(errors):+8.3f}  {near}"
            )
        return "\n".join(lines)


def boundary_errors(known: Mapping[str, Sequence[WordTime]], found: Mapping[str, Sequence[WordTime]]) -> BoundaryErrors:
    """Compare utterance by utterance; words are matched as for the word error rate, and only equal ones count.

    Raises:
        DataError: an utterance found whose times are not known, or no equal word at all.
    """
    unknown = sorted(found.keys() - known.keys())
    if unknown:
        raise DataError(f"{len(unknown)} utterances have no known word times, as {unknown[0]}")
    starts, ends = [], []
    for utt_id in sorted(found):
        for reference, word in _equal_words(known[utt_id], found[utt_id]):
            starts.append(word.start_s - reference.start_s)
            ends.append(word.end_s - reference.end_s)
    if not starts:
        raise DataError("no word can be compared", found=f"{len(found)} utterances without a word that is right")
    return BoundaryErrors(np.array(starts), np.array(ends), sum(len(known[utt_id]) for utt_id in found), len(found))


def _equal_words(known: Sequence[WordTime], found: Sequence[WordTime]) -> list[tuple[WordTime, WordTime]]:
    if not known or not found:
        return []
    said = jiwer.process_words(" ".join(time.word for time in known), " ".join(time.word for time in found))
    return [
        (known[chunk.ref_start_idx + i], found[chunk.hyp_start_idx + i])
        for chunk in said.alignments[0]
        if chunk.type == "equal"
        for i in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
