"""Forced alignment against a brute-force search over every CTC path, and on bad input."""

from itertools import groupby, product

import pytest
import torch

from espnet_vivit.decode.align import align_tokens
from espnet_vivit.errors import InputError


def best_path(log_probs: torch.Tensor, targets: list[int]) -> tuple[int, ...]:
    """The most probable of all paths that collapse to `targets` (blank 0)."""
    steps, size = log_probs.shape
    paths = [p for p in product(range(size), repeat=steps) if [k for k, _ in groupby(p) if k] == targets]
    return max(paths, key=lambda path: sum(float(log_probs[t, k]) for t, k in enumerate(path)))


@pytest.mark.parametrize("seed", range(5))
def test_tokens_begin_and_end_where_the_best_path_says(seed):
    log_probs = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)
    path = best_path(log_probs, [1, 2, 3])
    spans = align_tokens(log_probs, [1, 2, 3], blank=0)
    assert [(s.start, s.end) for s in spans] == [(path.index(k), 6 - path[::-1].index(k)) for k in (1, 2, 3)]


@pytest.mark.parametrize("ids", [[], [1, 1, 1], [1, 2, 1, 2, 1]])
def test_what_cannot_be_aligned_is_an_error(ids):
    with pytest.raises(InputError, match="cannot be aligned"):
        align_tokens(torch.zeros(4, 3).log_softmax(-1), ids, blank=0)
