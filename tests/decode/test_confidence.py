"""Confidence of a token against enumeration of every CTC path, and its behaviour where the answer is known."""

from itertools import groupby, product

import pytest
import torch

from espnet_vivit.decode.confidence import token_confidences


def probabilities(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """label sequence -> probability, by enumeration of all paths (blank 0)."""
    steps, size = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(size), repeat=steps):
        said = tuple(label for label, _ in groupby(path) if label)
        probability = float(sum(log_probs[t, k] for t, k in enumerate(path)).exp())
        found[said] = found.get(said, 0.0) + probability
    return found


@pytest.mark.parametrize("ids", [[1], [1, 2], [2, 2], [1, 2, 1], [3, 3, 1], [1, 2, 3, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_confidence_is_the_share_of_all_that_could_stand_in_the_tokens_place(ids, seed):
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    log_probs = noise.mul(2).double().log_softmax(-1)
    said = probabilities(log_probs)
    expected = []
    for position in range(len(ids)):
        rivals = [(*ids[:position], k, *ids[position + 1 :]) for k in (1, 2, 3)]
        without = tuple(ids[:position] + ids[position + 1 :])
        everything = sum(said.get(rival, 0.0) for rival in rivals) + said.get(without, 0.0)
        expected.append(said[tuple(ids)] / everything)
    assert token_confidences(log_probs, ids, blank=0).tolist() == pytest.approx(expected, abs=1e-9)


def clip(certainty: float) -> torch.Tensor:
    """(6, 4): token 1, then token 2 or 3, of which 2 has the share `certainty`."""
    probabilities = torch.full((6, 4), 1e-6)
    probabilities[[0, 2, 3, 5], 0] = 1.0
    probabilities[1, 1] = 1.0
    probabilities[4, 2], probabilities[4, 3] = certainty, 1 - certainty
    return (probabilities / probabilities.sum(-1, keepdim=True)).log()


def test_confidence_rises_with_the_models_certainty_and_is_its_share():
    found = [token_confidences(clip(share), [1, 2], blank=0) for share in (0.1, 0.3, 0.6, 0.9, 0.99)]
    assert [float(pair[1]) for pair in found] == pytest.approx([0.1, 0.3, 0.6, 0.9, 0.99], abs=1e-3)
    assert all(float(pair[0]) > 0.999 for pair in found)


def test_a_token_at_an_uncertain_time_is_certain():
    """One token, somewhere in four steps, each with half its weight on blank: no step is sure, the token is."""
    probabilities = torch.full((4, 3), 1e-9)
    probabilities[:, :2] = 0.5
    log_probs = (probabilities / probabilities.sum(-1, keepdim=True)).log()
    assert float(log_probs.exp()[:, 1].max()) == pytest.approx(0.5)
    # 10 of the 16 paths say it once, 1 says nothing
    assert float(token_confidences(log_probs, [1], blank=0)[0]) == pytest.approx(10 / 11, abs=1e-3)


def test_what_cannot_be_said_has_no_confidence():
    log_probs = torch.zeros(2, 3).log_softmax(-1)
    assert token_confidences(log_probs, [1, 1], blank=0).tolist() == [0.0, 0.0]
    assert token_confidences(log_probs, [], blank=0).tolist() == []


def test_rivals_that_no_step_gives_weight_are_left_out_without_harm():
    """A vocabulary of 3000 with flat remains costs little, and the answer is that of the few that matter."""
    few = clip(0.6).exp()
    many = torch.cat([few, torch.full((6, 3000), 1e-9)], dim=1)
    large = token_confidences((many / many.sum(-1, keepdim=True)).log(), [1, 2], blank=0)
    torch.testing.assert_close(large, token_confidences(clip(0.6), [1, 2], blank=0), atol=1e-4, rtol=0)


def test_only_the_strongest_of_many_rivals_count_and_change_little():
    """300 rivals of weight, of which 128 are looked at: those that are left out share what the weakest have."""
    weights = torch.linspace(1.0, 1e-6, 300).square()
    probabilities = torch.full((3, 302), 1e-12)
    probabilities[[0, 2], 0] = 1.0
    probabilities[1, 1], probabilities[1, 2:] = 0.9, 0.1 * weights / weights.sum()
    found = token_confidences((probabilities / probabilities.sum(-1, keepdim=True)).log(), [1], blank=0)
    assert 0.9 <= float(found[0]) < 0.9 / (0.9 + 0.05)
