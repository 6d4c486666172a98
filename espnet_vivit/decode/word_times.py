"""When each word of a transcript was said, and how sure the model is of it.

In: the tokens of a hypothesis or of a known transcript, the model's CTC log-probabilities (T', V) and, where it was
trained with `frame_loss_weight`, those of its frame head. Out: a `Word` with start, end and confidence for each word.

Times come from the frame head where there is one: it is trained to say at every step which token is being spoken. CTC
is not, and a Conformer sees the whole clip: small models that know their sentences say words up to a second before or
after they are spoken. Measured on 30 held-out GRID sentences with one small model of sound: by its frame head
boundaries are off by 0.02 s (median; 90 %: 0.05 s), by its CTC by 0.20 s (0.84 s). What did not mend the latter:
dividing by the labels' priors (Huang et al. 2024, arXiv:2406.02560), which is for peaks too narrow, not for peaks in
the wrong place; and keeping words out of what is quiet, whose gain hung on the threshold. `python -m
espnet_vivit.bin.avsr_align --report` measures a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from espnet_vivit.decode.align import TokenSpan, align_tokens
from espnet_vivit.decode.confidence import token_confidences
from espnet_vivit.errors import DataError


@dataclass(frozen=True)
class Word:
    """A word of a transcript: seconds from the start of the clip, and a confidence from 0 (none) to 1 (certain)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """One hypothesis of the n best: its text, the tokens and token ids of the search, its score, its words.

    support: what the frame head says to the words (`frame_support`); None without one, or without words.
    """

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    score: float  # log-probability of the search, with its weights and bonuses; comparable within one clip only
    words: tuple[Word, ...]  # they spell `text`; empty where word times were not asked for
    support: float | None = None


@dataclass(frozen=True)
class StepScores:
    """What the model says of each step of one clip, as log-probabilities (T', V) float32."""

    ctc: torch.Tensor
    frame: torch.Tensor | None  # of the frame head: the token that is being spoken, blank in pauses
    blank: int
    step_s: float

    @property
    def duration_s(self) -> float:
        return self.ctc.size(0) * self.step_s


def tokens_of_words(
    tokens: Sequence[str], tokens2text: Callable[[list[str]], str]
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
    if not all(owners):
        raise DataError("tokens do not spell their text word by word", found=f"{list(tokens)} for {' '.join(words)!r}")
    return [(word, tuple(positions)) for word, positions in zip(words, owners, strict=True)]


def words_with_times(
    tokens: Sequence[str], ids: Sequence[int], scores: StepScores, *, tokens2text: Callable[[list[str]], str]
) -> tuple[Word, ...]:
    """The words that the L tokens spell. A word's confidence is the product of its tokens' (decode/confidence.py).

    Raises:
        InputError: more tokens than the clip has steps.
    """
    groups = tokens_of_words(tokens, tokens2text)
    if not groups:
        return ()
    if scores.frame is not None:
        times = _times_by_frames(groups, ids, scores.frame, scores.blank)
    else:
        times = _times_by_ctc(groups, ids, scores)
    confidences = token_confidences(scores.ctc, ids, blank=scores.blank)
    return tuple(
        Word(word, first * scores.step_s, last * scores.step_s, float(confidences[list(positions)].prod()))
        for (word, positions), (first, last) in zip(groups, times, strict=True)
    )


def frame_support(
    tokens: Sequence[str],
    ids: Sequence[int],
    words: Sequence[Word],
    scores: StepScores,
    *,
    tokens2text: Callable[[list[str]], str],
) -> float | None:
    """The frame head's probability, 0 to 1, that at a word's time one of its tokens is spoken: the mean over the words.

    Search and CTC complete what they know to a likely sentence, whoever is seen; the frame head judges each step, and
    is unsure where the pictures are unlike those of its training. None without frame head or words.
    """
    if scores.frame is None or not words:
        return None
    spoken = scores.frame.exp()
    shares = []
    for word, (_, positions) in zip(words, tokens_of_words(tokens, tokens2text), strict=True):
        first, last = round(word.start_s / scores.step_s), round(word.end_s / scores.step_s)
        shares.append(spoken[first:last, sorted({ids[i] for i in positions})].sum(dim=-1).mean())
    return float(torch.stack(shares).mean())


def spread_words(
    tokens: Sequence[str], duration_s: float, *, tokens2text: Callable[[list[str]], str]
) -> tuple[Word, ...]:
    """The words evenly over the clip, without any confidence: for a hypothesis that no step can be named for."""
    words = tokens2text(list(tokens)).split()
    width_s = duration_s / max(1, len(words))
    return tuple(Word(word, i * width_s, (i + 1) * width_s, 0.0) for i, word in enumerate(words))


def _times_by_frames(groups, ids: Sequence[int], frame: torch.Tensor, blank: int) -> list[tuple[float, float]]:
    """First step and step after the last, of every word. Tokens of no word, as `<space>`, were never trained on."""
    kept = [position for _, positions in groups for position in positions]
    spans = dict(zip(kept, align_tokens(frame, [ids[i] for i in kept], blank=blank), strict=True))
    return [_edges(spans[positions[0]], spans[positions[-1]]) for _, positions in groups]


def _times_by_ctc(groups, ids: Sequence[int], scores: StepScores) -> list[tuple[float, float]]:
    """CTC says where a token is most visible, not where it begins: what lies between two words is halved."""
    spans = align_tokens(scores.ctc, ids, blank=scores.blank)
    edges = [_edges(spans[positions[0]], spans[positions[-1]]) for _, positions in groups]
    firsts, lasts = map(list, zip(*edges, strict=True))
    for index in range(len(edges) - 1):
        lasts[index] = firsts[index + 1] = (lasts[index] + firsts[index + 1]) / 2
    return list(zip(firsts, lasts, strict=True))


def _edges(first: TokenSpan, last: TokenSpan) -> tuple[float, float]:
    return float(first.start), float(last.end)
