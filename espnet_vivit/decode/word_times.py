"""When each word of a hypothesis was said, and how sure the model is of it.

In: the tokens of a hypothesis and the model's CTC log-probabilities (T', V). Out: a `Word` with start, end and a
confidence for each word of the text. The search is CTC forced alignment (decode/align.py).
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from espnet_vivit.decode.align import align_tokens
from espnet_vivit.errors import InputError


@dataclass(frozen=True)
class Word:
    """A word of a transcript: seconds from the start of the clip, and a confidence from 0 (none) to 1 (certain)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """One hypothesis of the n best: its text, the tokens and token ids of the search, its score, its words."""

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    score: float  # log-probability of the search, with its weights and bonuses; comparable within one clip only
    words: tuple[Word, ...]  # they spell `text`; empty where word times were not asked for


def tokens_of_words(
    tokens: Sequence[str], tokens2text: Callable[[Sequence[str]], str]
) -> list[tuple[str, tuple[int, ...]]]:
    """(word, positions of its tokens) for every word of the text that `tokens2text` makes of the tokens.

    A token belongs to the word that the text ends in after it, whatever the tokeniser: words, characters with
    `<space>`, sentencepiece. A token that adds nothing but a blank belongs to no word.
    """
    words = tokens2text(list(tokens)).split()
    owners: list[list[int]] = [[] for _ in words]
    before = ""
    for position in range(len(tokens)):
        text = tokens2text(list(tokens[: position + 1])).rstrip()
        if text != before and words:
            owners[min(len(text.split()), len(words)) - 1].append(position)
        before = text
    return [(word, tuple(positions)) for word, positions in zip(words, owners, strict=True)]


def words_with_times(
    tokens: Sequence[str],
    ids: Sequence[int],
    *,
    tokens2text: Callable[[Sequence[str]], str],
    log_probs: torch.Tensor,
    blank: int,
    step_s: float,
) -> tuple[Word, ...]:
    """The words of a hypothesis with times and confidences.

    tokens, ids: the L tokens of the hypothesis; log_probs (T', V) float32: CTC's, of the same clip; step_s: seconds per
    step. A hypothesis that is too long to be aligned gets words spread evenly over the clip, with confidence 0.
    """
    groups = tokens_of_words(tokens, tokens2text)
    duration_s = log_probs.size(0) * step_s
    if not groups:
        return ()
    try:
        spans = align_tokens(log_probs, ids, blank=blank)
    except InputError as error:
        logging.warning("the words are spread evenly over the clip: %s", error)
        width_s = duration_s / len(groups)
        return tuple(Word(word, i * width_s, (i + 1) * width_s, 0.0) for i, (word, _) in enumerate(groups))
    firsts = [spans[positions[0]].start for _, positions in groups]
    lasts = [spans[positions[-1]].end for _, positions in groups]
    for index in range(len(groups) - 1):
        lasts[index] = firsts[index + 1] = (lasts[index] + firsts[index + 1]) / 2
    return tuple(
        Word(
            word,
            first * step_s,
            last * step_s,
            math.exp(sum(spans[position].log_prob for position in positions) / len(positions)),
        )
        for (word, positions), first, last in zip(groups, firsts, lasts, strict=True)
    )
