from collections import Counter
from itertools import product

import jiwer
import numpy as np
import pytest

from espnet_vivit.corpora.mini_av.grammar import NUM_SENTENCES, SLOTS, WORDS, chance_wer, draw_sentences
from espnet_vivit.errors import ConfigError, DataError


def test_the_vocabulary_has_the_promised_size_and_no_word_twice():
    assert len(SLOTS) == 6
    assert len(WORDS) == len(set(WORDS))
    assert sum(len(words) for slot, words in SLOTS.items() if slot != "letter") >= 40
    assert len(SLOTS["letter"]) == 10 and all(len(letter) == 1 for letter in SLOTS["letter"])
    assert NUM_SENTENCES == 8 * 8 * 8 * 10 * 10 * 8


def test_no_sentence_is_drawn_twice():
    lists = draw_sentences([3000, 60, 150, 100], np.random.default_rng(0))
    assert [len(sentences) for sentences in lists] == [3000, 60, 150, 100]
    sentences = [sentence for sentences in lists for sentence in sentences]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("count", [1, 7, 80, 150])
def test_words_of_a_slot_occur_equally_often(count):
    (sentences,) = draw_sentences([count], np.random.default_rng(1))
    for slot, column in zip(SLOTS, zip(*(s.split() for s in sentences), strict=True), strict=True):
        occurrences = [Counter(column)[word] for word in SLOTS[slot]]
        assert sum(occurrences) == count
        assert max(occurrences) - min(occurrences) <= 1


def test_the_seed_decides_the_sentences():
    draw = [draw_sentences([20], np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert draw[0] == draw[1] != draw[2]


def test_more_sentences_than_the_grammar_should_give_are_refused():
    with pytest.raises(ConfigError, match="too many sentences: found 50000"):
        draw_sentences([50000], np.random.default_rng(0))


def test_chance_is_the_best_constant_answer_by_brute_force():
    texts = [
        "bring amber by b one now",
        "bring blue by f two now",
        "fetch blue over f one soon",
    ]
    choices = [sorted({text.split()[slot] for text in texts} | {""}) for slot in range(len(SLOTS))]
    answers = [" ".join(" ".join(answer).split()) for answer in product(*choices)]
    answers = sorted(set(answers) - {""})
    errors = [jiwer.wer(texts, [answer] * len(texts)) for answer in answers]
    assert chance_wer(texts) == pytest.approx(min(errors))


def test_chance_over_all_sentences_is_that_of_a_long_balanced_list():
    (sentences,) = draw_sentences([4000], np.random.default_rng(2))
    assert chance_wer() == pytest.approx(chance_wer(sentences))
    assert chance_wer() == pytest.approx(1 - (4 / 8 + 2 / 10) / 6)


@pytest.mark.parametrize("texts", [[], ["bring blue"], ["bring blue by b one one"], ["blue bring by b one now"]])
def test_chance_of_something_else_is_refused(texts):
    with pytest.raises(DataError):
        chance_wer(texts)
