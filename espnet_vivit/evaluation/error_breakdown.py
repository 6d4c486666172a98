"""Break word errors down by length of the clip, by noise, by class of word, and by lip shape.

In: scored decode folders (decoded.py). Out: tables of numbers that error_plots.py draws.

Word classes: single letters, numbers, and all others; spoken letters are the hard part of lip reading. Number words are
known in English. Single letters count as letters only in a test set that spells: in English sentences "a" and "I" are
words. Visemes are those of the synthetic corpus (mini_av/visemes.py), from espeak-ng's English phonemes of the words;
two words of the same visemes look alike there, and no reader of lips can be blamed for taking one for the other.
Recorded lips do not follow that table, so that the report (report.py) compares them in the synthetic corpus alone.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jiwer
import numpy as np

from espnet_vivit.evaluation.decoded import CLEAN, Result
from espnet_vivit.evaluation.error_rates import Score
from espnet_vivit.evaluation.score import align_words
from espnet_vivit.units import seconds_of_frames

_ONLY_SPELLED = frozenset("bcdfghjklmnpqrstvwxz")  # no English word is one of these letters
NUMBERS = frozenset("zero one two three four five six seven eight nine ten eleven twelve".split())
CLASSES = ("letter", "number", "word")
_NOISY = re.compile(r"(-?\d+) dB ?(.*)")  # as decoded.py names conditions: "-5 dB babble"
NOTHING = "–"  # stands where one side has no word or viseme


@dataclass(frozen=True)
class Rate:
    """The number of errors among `total` reference words; the rate is their quotient."""

    errors: int
    total: int

    @property
    def rate(self) -> float:
        return self.errors / self.total


def aligned_words(score: Score) -> list[tuple[str, str]]:
    """Align references with hypotheses into pairs (reference word, hypothesis word); "" stands for an insertion or
    deletion.
    """
    pairs = []
    for number, utt_id in enumerate(score.utt_ids):
        said, read = score.references[utt_id].split(), score.hypotheses[utt_id].split()
        pairs += [(ref, hyp) for ref, hyp, _ in align_words(said, read, score.alignments[number])]
    return pairs


def by_length(score: Score, frames: Mapping[str, int], *, bins: int = 4) -> list[tuple[float, float, Rate]]:
    """Group the utterances by length into up to `bins` groups of equal size: (shortest, longest in seconds, rate),
    short clips first.
    """
    order = sorted(range(len(score.utt_ids)), key=lambda number: frames[score.utt_ids[number]])
    groups = []
    for members in np.array_split(np.array(order, dtype=int), min(bins, len(order))):
        lengths = [seconds_of_frames(frames[score.utt_ids[number]]) for number in members]
        counts = score.word_counts[members].sum(axis=0)  # hits, substitutions, deletions, insertions
        total = int(counts[:3].sum())
        if total:
            groups.append((min(lengths), max(lengths), Rate(int(counts[1:].sum()), total)))
    return groups


def by_noise(results: Sequence[Result], test_set: str) -> dict[str, dict[float, float]]:
    """Collect modality -> {signal-to-noise ratio in dB, infinity for clean sound: word error rate} of one test set.

    Where there are several kinds of noise, each has its curve: "audio, babble".
    """
    clean: dict[str, float] = {}
    curves: dict[tuple[str, str], dict[float, float]] = {}
    for result in results:
        if result.test_set == test_set and result.condition == CLEAN:
            clean[result.modality] = result.score.wer
        elif result.test_set == test_set and (match := _NOISY.fullmatch(result.condition)):
            curves.setdefault((result.modality, match[2] or "noise"), {})[float(match[1])] = result.score.wer
    several = len({kind for _, kind in curves}) > 1
    found = {}
    for (modality, kind), curve in curves.items():
        curve |= {math.inf: clean[modality]} if modality in clean else {}
        if len(curve) > 1:
            found[f"{modality}, {kind}" if several else modality] = dict(sorted(curve.items()))
    return found


def by_class(score: Score) -> dict[str, Rate]:
    """Count substituted and deleted words among those of each class that occurs."""
    said, wrong = Counter(), Counter()
    pairs = [(reference, hypothesis) for reference, hypothesis in aligned_words(score) if reference]
    spells = any(reference.lower() in _ONLY_SPELLED for reference, _ in pairs)
    for reference, hypothesis in pairs:
        name = word_class(reference, spells=spells)
        said[name] += 1
        wrong[name] += reference != hypothesis
    return {name: Rate(wrong[name], said[name]) for name in CLASSES if said[name]}


def word_class(word: str, *, spells: bool = True) -> str:
    """The class of a word; `spells`: whether single letters are letters there, and not words."""
    if spells and len(word) == 1 and word.isalpha():
        return "letter"
    return "number" if word.lower() in NUMBERS or word.isdigit() else "word"


def confused_words(score: Score, *, most: int = 15) -> list[tuple[str, str, int]]:
    """List the most frequent confusions as (reference, hypothesis, count); NOTHING stands for a deletion or
    insertion.
    """
    counts = Counter((ref or NOTHING, hyp or NOTHING) for ref, hyp in aligned_words(score) if ref != hyp)
    return [(*pair, count) for pair, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]


def viseme_confusions(score: Score) -> tuple[list[str], np.ndarray] | None:
    """Count viseme confusions over all substituted or correct words: (visemes, (V, V) reference by hypothesis); None
    without espeak-ng.

    The last row and column, NOTHING, are visemes put in and left out. Raises DataError for a word that is no English.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        return None
    pairs: Counter[tuple[str, str]] = Counter()
    for reference, hypothesis in aligned_words(score):
        if reference and hypothesis:
            said, read = lip_shapes(reference), lip_shapes(hypothesis)
            aligned = jiwer.process_words(" ".join(said), " ".join(read))
            columns = align_words(list(said), list(read), aligned.alignments[0])
            pairs.update((ref or NOTHING, hyp or NOTHING) for ref, hyp, _ in columns)
    names = [*sorted({name for pair in pairs for name in pair} - {NOTHING}), NOTHING]
    counts = np.zeros((len(names), len(names)), int)
    for (ref, hyp), count in pairs.items():
        counts[names.index(ref), names.index(hyp)] = count
    return names, counts


@lru_cache(maxsize=4096)
def lip_shapes(word: str) -> tuple[str, ...]:
    """The visemes of an English word, in order, without repetitions. Raises DataError for a sound it does not know."""
    from espnet_vivit.corpora.mini_av.speech import Voice, speak
    from espnet_vivit.corpora.mini_av.visemes import viseme_spans

    speech = speak(word, Voice(variant="m3", rate_wpm=160, pitch=50, pitch_range=50))
    names = [span.name for span in viseme_spans(speech.phonemes, 0.0) if span.name != "rest"]
    return tuple(name for place, name in enumerate(names) if place == 0 or name != names[place - 1])
