"""Words of a hypothesis: which tokens are theirs, for every kind of token, and times and confidence of each."""

import pytest
import torch

from espnet_vivit.decode.word_times import tokens_of_words, words_with_times
from espnet_vivit.espnet_compat import build_tokenizer
from espnet_vivit.tasks.pieces import JoinedPieces


def char_text(tokens):
    return build_tokenizer(token_type="char").tokens2text(tokens)


@pytest.mark.parametrize(
    ("tokens", "tokens2text", "expected"),
    [
        (["bin", "blue"], " ".join, [("bin", (0,)), ("blue", (1,))]),
        (["a", "t", "<space>", "b", "y"], char_text, [("at", (0, 1)), ("by", (3, 4))]),
        (["<space>", "a", "<space>", "<space>", "b", "<space>"], char_text, [("a", (1,)), ("b", (4,))]),
        (["▁bin", "▁bl", "ue"], JoinedPieces().tokens2text, [("bin", (0,)), ("blue", (1, 2))]),
        (["▁", "bin", "▁"], JoinedPieces().tokens2text, [("bin", (1,))]),
        ([], " ".join, []),
        (["<space>"], char_text, []),
    ],
)
def test_tokens_belong_to_the_word_they_spell(tokens, tokens2text, expected):
    assert tokens_of_words(tokens, tokens2text) == expected


def test_a_hypothesis_that_ctc_cannot_align_is_spread_evenly_with_no_confidence():
    log_probs = torch.zeros(3, 4).log_softmax(-1)
    options = {"tokens2text": " ".join, "log_probs": log_probs, "blank": 0, "step_s": 0.04}
    words = words_with_times(["a", "a", "b"], [1, 1, 2], **options)
    assert [(w.text, w.confidence) for w in words] == [("a", 0), ("a", 0), ("b", 0)]
    assert [w.end_s for w in words] == pytest.approx([0.04, 0.08, 0.12])
