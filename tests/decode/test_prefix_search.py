"""The prefix search that goes on step by step, against all alignments and all label sequences."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from espnet_vivit.decode.prefix_search import PrefixSearch

BLANK = 0


def log_probs_of(steps, tokens=4, seed=0, sharpness=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(steps, tokens, generator=generator, dtype=torch.float64)).log_softmax(-1)


@pytest.mark.parametrize("seed", range(3))
def test_with_room_for_all_the_scores_are_those_of_torchs_ctc_loss(seed):
    """Oracle: -CTCLoss of every label sequence of up to four labels."""
    log_probs = log_probs_of(5, seed=seed, sharpness=0.5)
    search = PrefixSearch(blank=BLANK, beam_size=1000, settled_share=1.0)
    search.push(log_probs)
    found = dict(search.prefixes())
    for length in range(1, 5):
        for ids in itertools.product(range(1, 4), repeat=length):
            loss = F.ctc_loss(log_probs, torch.tensor(ids), torch.tensor(5), torch.tensor(length), reduction="sum")
            if torch.isfinite(loss):
                assert found[ids] == pytest.approx(-float(loss))
    assert found[()] == pytest.approx(float(log_probs[:, BLANK].sum()))
    assert sum(map(math.exp, found.values())) == pytest.approx(1.0)


def test_the_cutting_into_pushes_does_not_matter():
    log_probs = log_probs_of(30)
    at_once, one_by_one = PrefixSearch(blank=BLANK, beam_size=8), PrefixSearch(blank=BLANK, beam_size=8)
    at_once.push(log_probs)
    for piece in log_probs.split([1, 0, 7, 22]):
        one_by_one.push(piece)
    assert at_once.prefixes() == one_by_one.prefixes()
    assert one_by_one.steps == 30


def test_what_is_settled_never_changes_and_the_rest_does_settle():
    search, settled = PrefixSearch(blank=BLANK, beam_size=6), ()
    for row in log_probs_of(200, sharpness=3.0):
        search.push(row[None])
        now = search.settled
        assert now[: len(settled)] == settled and search.best.ids[: len(now)] == now
        assert all(prefix.ids[: len(now)] == now for prefix in search.prefixes())
        settled = now
    assert len(settled) > 50


def test_labels_that_are_none_are_never_said():
    search = PrefixSearch(blank=BLANK, beam_size=50, never=(3,))
    search.push(log_probs_of(20))
    assert all(3 not in prefix.ids for prefix in search.prefixes())


def test_silent_steps_are_those_since_the_last_label():
    log_probs = torch.full((6, 3), -5.0)
    for step, label in enumerate([1, 0, 2, 0, 0, 0]):
        log_probs[step, label] = -0.1
    search = PrefixSearch(blank=BLANK, beam_size=4)
    search.push(log_probs)
    assert search.silent_steps == 3 and search.best.ids == (1, 2)
