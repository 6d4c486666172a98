"""Scorers of ESPnet's interface get what its own search would give them, and their own states back."""

import torch

from espnet_vivit.decode.espnet_scorer import EspnetScorer
from espnet_vivit.decode.prefix_tree import Step
from espnet_vivit.espnet_compat import BatchScorerInterface
from tests.decode.espnet_search import clips


class Remembering(BatchScorerInterface):
    """Its state is the prefix that it scored; it scores nothing."""

    def __init__(self):
        self.asked = []

    def batch_score(self, ys, states, xs):
        self.asked.append((ys.tolist(), states, tuple(xs.shape)))
        return torch.zeros(len(ys), 5), ys.tolist()


def step(prefixes, parents):
    return Step(prefixes, torch.zeros(0), torch.tensor(parents), torch.zeros(0))


def test_states_follow_their_hypotheses_and_clips_leave():
    scorer = Remembering()
    states = torch.nn.utils.rnn.pad_sequence(clips(7, 4, 5), batch_first=True)
    search = EspnetScorer(scorer, states, torch.tensor([7, 4, 5]))
    assert search.score(step([[[9]]] * 3, [[0]] * 3)).shape == (3, 1, 5)
    assert scorer.asked == [([[9]], [None], (1, length, 16)) for length in (7, 4, 5)]
    scorer.asked.clear()
    search.score(step([[[9, 1], [9, 2]]] * 3, [[0, 0]] * 3))
    search.keep_clips(torch.tensor([0, 2]))
    scorer.asked.clear()
    search.score(step([[[9, 2, 3], [9, 1, 4]]] * 2, [[1, 0]] * 2))
    assert [asked[1] for asked in scorer.asked] == [[[9, 2], [9, 1]]] * 2
    assert [asked[2] for asked in scorer.asked] == [(2, 7, 16), (2, 5, 16)]
