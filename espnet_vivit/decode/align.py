"""When each word of a known transcript was said: CTC forced alignment with a trained model.

In: CTC log-probabilities of one clip (T', V) and the token ids of each word. Out: a start and an end per word, in
seconds. The search is torchaudio's `forced_align` (Viterbi over CTC's paths; Kürzinger et al. 2020, arXiv:2007.09127).
CTC says where a token is most visible, not where it begins: a boundary between two words is put in the middle of the
steps that neither of them owns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torchaudio.functional import forced_align, merge_tokens

from espnet_vivit.corpora.data_dir import WordTime
from espnet_vivit.errors import InputError


@dataclass(frozen=True)
class TokenSpan:
    """The steps of one token on the best path: from `start` to before `end`; log_prob: the mean over these steps."""

    start: int
    end: int
    log_prob: float


def align_tokens(log_probs: torch.Tensor, ids: Sequence[int], *, blank: int) -> list[TokenSpan]:
    """The span of each of the tokens `ids` on CTC's most probable path. log_probs (T', V) float32.

    Raises:
        InputError: no tokens, or more tokens (and equal neighbours) than there are steps.
    """
    needed = len(ids) + sum(a == b for a, b in pairwise(ids))
    if not ids or needed > log_probs.size(0):
        raise InputError(
            "the transcript cannot be aligned",
            found=f"{needed} steps needed, {log_probs.size(0)} there",
            expected="at least one word, and no more tokens than steps",
            fix="Use feature_rate: frame, or longer tokens",
        )
    target = torch.tensor([list(ids)], dtype=torch.int32)
    path, scores = forced_align(log_probs[None].float().cpu(), target, blank=blank)
    return [TokenSpan(span.start, span.end, span.score) for span in merge_tokens(path[0], scores[0], blank=blank)]


def word_times(
    log_probs: torch.Tensor, words: Sequence[str], ids: Sequence[Sequence[int]], *, blank: int, step_s: float
) -> tuple[WordTime, ...]:
    """log_probs (T', V) float32; ids: the tokens of each word, at least one; step_s: seconds per step.

    Raises:
        InputError: no words, or more tokens (and equal neighbours) than there are steps.
    """
    spans = align_tokens(log_probs, [token for word in ids for token in word], blank=blank)
    firsts, lasts, position = [], [], 0
    for word in ids:
        firsts.append(float(spans[position].start))
        position += len(word)
        lasts.append(float(spans[position - 1].end))
    for index in range(len(words) - 1):
        lasts[index] = firsts[index + 1] = (lasts[index] + firsts[index + 1]) / 2
    return tuple(
        WordTime(first * step_s, last * step_s, word) for first, last, word in zip(firsts, lasts, words, strict=True)
    )
