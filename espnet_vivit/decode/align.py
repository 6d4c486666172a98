"""Which steps of a clip belong to which token of a known transcript: forced alignment.

In: log-probabilities of one label per step (T', V), from CTC or from the model's frame head, and the token ids. Out:
the span of each token on the most probable path. The search is torchaudio's `forced_align` (Viterbi over CTC's paths;
Kürzinger et al. 2020, arXiv:2007.09127).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torchaudio.functional import forced_align, merge_tokens

from espnet_vivit.errors import InputError


@dataclass(frozen=True)
class TokenSpan:
    """The steps of one token: from `start` to before `end`."""

    start: int
    end: int


def align_tokens(log_probs: torch.Tensor, ids: Sequence[int], *, blank: int) -> list[TokenSpan]:
    """The span of each of the tokens `ids` on the most probable path. log_probs (T', V) float32.

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
    return [TokenSpan(span.start, span.end) for span in merge_tokens(path[0], scores[0], blank=blank)]
