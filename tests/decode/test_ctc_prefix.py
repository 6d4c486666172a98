"""CTC prefix scores against enumeration of all paths, and against ESPnet's scorer over long clips."""

from itertools import groupby, pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_vivit.decode.ctc_prefix import CtcPrefixes
from espnet_vivit.decode.prefix_tree import Step
from espnet_vivit.espnet_compat import CTCPrefixScorer

LOGITS_ARE_STATES = SimpleNamespace(log_softmax=lambda x: x)


def step(prefixes, parents):
    """Of clips (B) with hypotheses (N), token ids each."""
    tokens = torch.tensor([[prefix[-1] for prefix in clip] for clip in prefixes])
    return Step(prefixes, tokens, torch.tensor(parents), torch.ones(0))


def after(log_probs, prefix, end, candidates=None):
    """(score of the prefix, scores of what may follow it (V,))."""
    scorer = CtcPrefixes(LOGITS_ARE_STATES, log_probs[None], torch.tensor([len(log_probs)]), blank=0, eos=end)
    total = 0.0
    for length in range(len(prefix) + 1):
        scores = scorer.score_next(step([[[end, *prefix[:length]]]], [[0]]), candidates)[0, 0]
        total += float(scores[prefix[length]]) if length < len(prefix) else 0.0
    return total, scores


@pytest.mark.parametrize(("steps", "size"), [(1, 3), (2, 4), (3, 4), (4, 3), (5, 4)])
def test_prefix_scores_are_those_of_all_label_sequences_that_begin_so(steps, size):
    """Label 0 is the blank, the last one the end, for which "exactly so" counts."""
    end = size - 1
    log_probs = torch.randn(steps, size, generator=torch.Generator().manual_seed(steps)).double().log_softmax(-1)
    said: dict[tuple[int, ...], float] = {}
    for path in product(range(size), repeat=steps):
        labels = tuple(label for label, _ in groupby(path) if label)
        said[labels] = said.get(labels, 0.0) + float(sum(log_probs[t, k] for t, k in enumerate(path)).exp())
    for prefix in ([], [1], [1, 1], [1, 2])[: 4 if size > 3 else 3]:
        if len(prefix) + sum(a == b for a, b in pairwise(prefix)) > steps:
            continue
        total, scores = after(log_probs, prefix, end)
        assert float(scores[0]) == -np.inf
        for label in range(1, end):
            begun = (*prefix, label)
            expected = sum(p for labels, p in said.items() if labels[: len(begun)] == begun)
            assert np.exp(total + float(scores[label])) == pytest.approx(expected, abs=1e-12)
        assert np.exp(total + float(scores[end])) == pytest.approx(said.get(tuple(prefix), 0.0), abs=1e-12)


def test_several_hypotheses_of_clips_of_several_lengths_are_espnets():
    """Reordered at every step, with a token after itself, candidates or all tokens, over 150 steps."""
    size, end, beam, lengths = 20, 19, 4, (150, 31)
    rng = torch.Generator().manual_seed(0)
    log_probs = [(4 * torch.randn(n, size, generator=rng)).double().log_softmax(-1) for n in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(log_probs, batch_first=True, padding_value=0.0)
    for count in (None, 6):
        ours = CtcPrefixes(LOGITS_ARE_STATES, padded, torch.tensor(lengths), blank=0, eos=end)
        theirs = [CTCPrefixScorer(ctc=LOGITS_ARE_STATES, eos=end) for _ in lengths]
        states = [[scorer.batch_init_state(clip)] for scorer, clip in zip(theirs, log_probs, strict=True)]
        prefixes, parents = [[[end]] for _ in lengths], [[0] for _ in lengths]
        for _ in range(12):
            ids = None
            if count:
                shape = (len(lengths), len(prefixes[0]), size - 2)
                ids = torch.rand(shape, generator=rng).argsort(-1)[..., : count - 1] + 1
                ids = torch.cat([ids, torch.full_like(ids[..., :1], end)], dim=-1)
            found = ours.score_next(step(prefixes, parents), ids)
            for row, scorer in enumerate(theirs):
                asked = None if ids is None else ids[row]
                scores, new = scorer.batch_score_partial(torch.tensor(prefixes[row]), asked, states[row], None)
                scores = scores if ids is None else scores.gather(1, asked)
                possible = scores > -1e9
                torch.testing.assert_close(found[row][possible], scores[possible], atol=1e-9, rtol=1e-12)
                assert (found[row][~possible] == -torch.inf).all() and (~possible).sum() <= len(scores)
                chosen = [(int(torch.randint(len(scores), (1,), generator=rng)), place) for place in range(beam)]
                tokens = [place + 1 if ids is None else int(ids[row, parent, place]) for parent, place in chosen]
                if ids is None and len(prefixes[row][0]) > 1:
                    tokens[0] = prefixes[row][chosen[0][0]][-1]
                states[row] = [scorer.select_state(new, p, t) for (p, _), t in zip(chosen, tokens, strict=True)]
                prefixes[row] = [[*prefixes[row][p], t] for (p, _), t in zip(chosen, tokens, strict=True)]
                parents[row] = [p for p, _ in chosen]


def test_what_a_clip_has_no_time_for_is_impossible_also_beside_longer_clips():
    end = 4
    log_probs = torch.zeros(2, 9, 5).double().log_softmax(-1)
    scorer = CtcPrefixes(LOGITS_ARE_STATES, log_probs, torch.tensor([9, 3]), blank=0, eos=end)
    scorer.score_next(step([[[end]], [[end]]], [[0], [0]]), None)
    scorer.score_next(step([[[end, 1]], [[end, 1]]], [[0], [0]]), None)
    scores = scorer.score_next(step([[[end, 1, 1]], [[end, 1, 1]]], [[0], [0]]), None)
    assert torch.isfinite(scores[0, 0, 1:]).all()
    assert scores[1, 0].tolist()[:4] == [-np.inf] * 4 and np.isfinite(float(scores[1, 0, end]))


def test_probabilities_too_small_for_a_number_are_still_compared():
    """A path of e^-2000 and one of e^-3000, both 0 as numbers."""
    log_probs = torch.full((40, 4), -60.0, dtype=torch.float64)
    log_probs[:, 2] = -90.0
    _, scores = after(log_probs, [1, 2, 1], 3)
    total, _ = after(log_probs, [1, 2, 1, 2], 3)
    assert -1e4 < total < -150 and torch.isfinite(scores[1:]).all() and scores[1] < scores[2] < 0


def test_clips_are_left_out():
    log_probs = torch.randn(3, 9, 5).double().log_softmax(-1)
    lengths = torch.tensor([9, 7, 8])
    every, some = (CtcPrefixes(LOGITS_ARE_STATES, log_probs, lengths, blank=0, eos=4) for _ in range(2))
    for scorer in (every, some):
        scorer.score_next(step([[[4]]] * 3, [[0]] * 3), None)
    some.keep_clips(torch.tensor([0, 2]))
    expected = every.score_next(step([[[4, 1]], [[4, 2]], [[4, 3]]], [[0]] * 3), None)
    found = some.score_next(step([[[4, 1]], [[4, 3]]], [[0]] * 2), None)
    torch.testing.assert_close(found, expected[[0, 2]], atol=1e-12, rtol=0)
