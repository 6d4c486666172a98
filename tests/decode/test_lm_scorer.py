"""The Transformer language model, a token at a time, against ESPnet's over the whole prefix."""

import pytest
import torch

from espnet_vivit.decode.lm_scorer import LanguageModelScorer
from espnet_vivit.decode.prefix_tree import PrefixTree
from tests.decode.espnet_search import random_lm, random_scorers
from tests.decode.test_decoder_scorer import step_of


@pytest.mark.parametrize("position", [None, "sinusoidal"])
def test_scores_are_the_log_probabilities_of_the_whole_model(position):
    model = random_lm(12, pos_enc=position)
    scorer, tree = LanguageModelScorer(model), PrefixTree(2, torch.device("cpu"))
    moves = [
        ([[[11]], [[11]]], [[0], [0]]),
        ([[[11, 1], [11, 2]], [[11, 3], [11, 4]]], [[0, 0], [0, 0]]),
        ([[[11, 2, 5], [11, 1, 6]], [[11, 4, 7], [11, 4, 8]]], [[1, 0], [1, 1]]),
    ]
    for prefixes, parents in moves:
        found = scorer.score(step_of(tree, prefixes, parents))
        for row, clip in enumerate(prefixes):
            logits, _ = model(torch.tensor(clip), None)
            torch.testing.assert_close(found[row], logits[:, -1].log_softmax(-1), atol=1e-10, rtol=1e-10)


def test_other_models_are_left_to_espnet():
    from espnet2.lm.seq_rnn_lm import SequentialRNNLM

    assert LanguageModelScorer.takes(random_lm(12))
    assert not LanguageModelScorer.takes(SequentialRNNLM(12, 8))
    assert not LanguageModelScorer.takes(random_scorers(12)[0])
