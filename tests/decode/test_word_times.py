"""Words of a transcript: which tokens are theirs, for every kind of token, and times and confidence of each."""

import pytest
import torch

from espnet_vivit.decode.word_times import (
    StepScores,
    frame_support,
    spread_words,
    tokens_of_words,
    words_with_times,
)
from espnet_vivit.errors import DataError, InputError
from espnet_vivit.espnet_compat import build_tokenizer
from espnet_vivit.tasks.loading.pieces import JoinedPieces

STEP_S = 0.04


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


def test_a_tokeniser_whose_text_cannot_be_followed_is_an_error():
    with pytest.raises(DataError, match="do not spell their text"):
        tokens_of_words(["a"], lambda tokens: "one two")


def steps(*labels: int, size: int = 5) -> torch.Tensor:
    """(T', size) log-probabilities of a model that is sure of one label per step."""
    return (torch.nn.functional.one_hot(torch.tensor(labels), size) * 12.0).log_softmax(-1)


def times(words) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start_s / STEP_S, 3), round(word.end_s / STEP_S, 3)) for word in words]


def test_without_a_frame_head_what_lies_between_two_words_is_halved():
    scores = StepScores(ctc=steps(0, 1, 0, 2, 0, 0, 0, 3, 0), frame=None, blank=0, step_s=STEP_S)
    words = words_with_times(["▁a", "b", "▁c"], [1, 2, 3], scores, tokens2text=JoinedPieces().tokens2text)
    assert times(words) == [("ab", 1.0, 5.5), ("c", 5.5, 8.0)]
    assert all(word.confidence > 0.99 for word in words)


def test_the_support_of_a_word_is_the_frame_heads_probability_of_its_tokens_at_its_time():
    """Of which token of the word is spoken the head may be unsure; pauses and other words do not count."""
    frame = torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0.1, 0.2, 0.7, 0], [1, 0, 0, 0], [0.6, 0, 0, 0.4]]).log()
    scores = StepScores(ctc=frame, frame=frame, blank=0, step_s=STEP_S)
    tokens, ids, to_text = ["▁a", "b", "▁c"], [1, 2, 3], JoinedPieces().tokens2text
    words = words_with_times(tokens, ids, scores, tokens2text=to_text)
    assert times(words) == [("ab", 1.0, 3.0), ("c", 4.0, 5.0)]
    assert frame_support(tokens, ids, words, scores, tokens2text=to_text) == pytest.approx((0.95 + 0.4) / 2)
    assert frame_support([], [], (), scores, tokens2text=to_text) is None
    headless = StepScores(ctc=frame, frame=None, blank=0, step_s=STEP_S)
    assert frame_support(tokens, ids, words, headless, tokens2text=to_text) is None


def test_a_frame_head_gives_the_times_and_ctc_the_confidence():
    """CTC says both words at the end, as small models do; the frame head knows when they were spoken."""
    ctc = torch.logaddexp(steps(0, 0, 0, 0, 0, 0, 0, 1, 2), steps(0, 0, 0, 0, 0, 0, 0, 1, 4)) - torch.tensor(2.0).log()
    scores = StepScores(ctc=ctc, frame=steps(0, 1, 1, 1, 0, 2, 2, 0, 0), blank=0, step_s=STEP_S)
    words = words_with_times(["bin", "blue"], [1, 2], scores, tokens2text=" ".join)
    assert times(words) == [("bin", 1.0, 4.0), ("blue", 5.0, 7.0)]
    assert words[0].confidence > 0.99 and words[1].confidence == pytest.approx(0.5, abs=0.01)


def test_the_frame_head_is_not_asked_for_blanks_between_words():
    """It never learns `<space>`: an alignment that must pass through it would cut a step off a word."""
    frame = steps(1, 1, 2, 2, 3, 3)
    scores = StepScores(ctc=steps(1, 0, 2, 4, 3, 0), frame=frame, blank=0, step_s=STEP_S)
    words = words_with_times(["a", "t", "<space>", "b"], [1, 2, 4, 3], scores, tokens2text=char_text)
    assert times(words) == [("at", 0.0, 4.0), ("b", 4.0, 6.0)]


def test_a_words_confidence_is_the_product_of_its_tokens():
    """Of each of two tokens the model is sure by 0.8, of the word that they spell by 0.64."""
    probabilities = torch.full((5, 5), 1e-7)
    probabilities[[0, 2, 4], 0] = 1.0
    probabilities[1, 1], probabilities[1, 3] = 0.8, 0.2
    probabilities[3, 2], probabilities[3, 4] = 0.8, 0.2
    ctc = (probabilities / probabilities.sum(-1, keepdim=True)).log()
    scores = StepScores(ctc=ctc, frame=None, blank=0, step_s=STEP_S)
    (word,) = words_with_times(["▁a", "b"], [1, 2], scores, tokens2text=JoinedPieces().tokens2text)
    assert word.confidence == pytest.approx(0.64, abs=1e-3)


def test_a_transcript_too_long_for_the_clip_is_an_error_and_can_be_spread():
    scores = StepScores(ctc=torch.zeros(3, 4).log_softmax(-1), frame=None, blank=0, step_s=STEP_S)
    with pytest.raises(InputError, match="cannot be aligned"):
        words_with_times(["a", "a", "b"], [1, 1, 2], scores, tokens2text=" ".join)
    words = spread_words(["a", "a", "b"], scores.duration_s, tokens2text=" ".join)
    assert times(words) == [("a", 0.0, 1.0), ("a", 1.0, 2.0), ("b", 2.0, 3.0)]
    assert {word.confidence for word in words} == {0.0}
    assert spread_words([], 1.0, tokens2text=" ".join) == ()
