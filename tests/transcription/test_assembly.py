"""Joining: every word once, whatever the two pieces make of the time they share."""

from itertools import pairwise

import numpy as np
import pytest

from espnet_vivit.decode.word_times import Word
from espnet_vivit.transcription.assembly import join_words


def word(text, middle_s, confidence=0.9, length_s=0.2):
    return Word(text, middle_s - length_s / 2, middle_s + length_s / 2, confidence)


def joined(left, right, at_s=10.0, shared=(9.4, 10.6)):
    kept_left, kept_right = join_words(left, right, at_s=at_s, shared=shared)
    return [found.text for found in (*kept_left, *kept_right)]


LEFT = [word("bin", 8.0), word("blue", 9.0)]
RIGHT = [word("two", 11.0), word("now", 12.0)]


def test_pieces_that_share_no_word_are_put_together():
    assert joined(LEFT, RIGHT) == ["bin", "blue", "two", "now"]
    assert joined([], RIGHT) == ["two", "now"] and joined(LEFT, []) == ["bin", "blue"] and joined([], []) == []


@pytest.mark.parametrize("shift_s", [-0.2, 0.0, 0.2])
def test_a_word_that_both_heard_is_kept_once(shift_s):
    for middle_s in (9.5, 9.9, 10.0, 10.1, 10.5):
        left, right = [*LEFT, word("at", middle_s)], [word("at", middle_s + shift_s), *RIGHT]
        assert joined(left, right) == ["bin", "blue", "at", "two", "now"]


def test_beyond_the_shared_word_each_piece_is_believed_on_its_own_side():
    left = [*LEFT, word("at", 9.8), word("eh", 10.4)]  # cut off in the middle of "f"
    right = [word("hat", 9.5), word("at", 9.8), word("f", 10.4), *RIGHT]
    assert joined(left, right) == ["bin", "blue", "at", "f", "two", "now"]


def test_of_two_words_that_both_heard_the_pieces_part_at_the_one_nearest_to_the_cut():
    left = [*LEFT, word("at", 9.5), word("m", 9.8), word("f", 10.1)]
    right = [word("at", 9.5), word("n", 9.8), word("f", 10.1), *RIGHT]
    assert joined(left, right) == ["bin", "blue", "at", "m", "f", "two", "now"]
    assert joined(left, right, at_s=9.4) == ["bin", "blue", "at", "n", "f", "two", "now"]


def test_the_same_word_said_twice_stays_twice():
    left = [*LEFT, word("two", 9.5), word("two", 10.1)]
    right = [word("two", 9.55), word("two", 10.1), *RIGHT]
    assert joined(left, right) == ["bin", "blue", "two", "two", "two", "now"]


@pytest.mark.parametrize(("sure", "expected"), [(0.9, "f"), (0.3, "s")])
def test_of_two_readings_of_one_word_the_surer_is_kept(sure, expected):
    left, right = [*LEFT, word("f", 9.98, sure)], [word("s", 10.02, 0.6), *RIGHT]
    assert joined(left, right) == ["bin", "blue", expected, "two", "now"]


@pytest.mark.parametrize(("sure", "expected"), [(0.9, "f"), (0.3, "s")])
def test_a_word_that_each_puts_on_the_others_side_is_not_lost(sure, expected):
    left, right = [*LEFT, word("f", 10.05, sure)], [word("s", 9.95, 0.6), *RIGHT]
    assert joined(left, right) == ["bin", "blue", expected, "two", "now"]


def test_the_times_stay_in_order():
    rng = np.random.default_rng(0)
    for _ in range(300):
        left = [word(rng.choice(list("abc")), t, rng.random()) for t in np.sort(rng.uniform(8, 10.6, 6))]
        right = [word(rng.choice(list("abc")), t, rng.random()) for t in np.sort(rng.uniform(9.4, 12, 6))]
        kept_left, kept_right = join_words(left, right, at_s=10.0, shared=(9.4, 10.6))
        middles = [(found.start_s + found.end_s) / 2 for found in (*kept_left, *kept_right)]
        assert all(a <= b + 0.3 for a, b in pairwise(middles))


def test_two_noisy_readings_of_one_recording_give_it_back():
    """Words every 0.25 s, read by two pieces with times that are off by up to 60 ms, cut anywhere."""
    rng = np.random.default_rng(1)
    for at_s in np.linspace(9.0, 11.0, 41):
        truth = [word(f"w{i % 5}", 8.0 + 0.25 * i) for i in range(17)]
        noisy = [[word(w.text, (w.start_s + w.end_s) / 2 + rng.uniform(-0.06, 0.06)) for w in truth] for _ in range(2)]
        left = [w for w in noisy[0] if w.end_s <= at_s + 0.6]
        right = [w for w in noisy[1] if w.start_s >= at_s - 0.6]
        assert joined(left, right, at_s, (at_s - 0.6, at_s + 0.6)) == [w.text for w in truth]


@pytest.mark.parametrize("apart_s", [0.2, 0.25, 0.3])
def test_a_word_said_again_and_again_is_neither_lost_nor_doubled(apart_s):
    """Both pieces hear every "no" near the cut; a neighbour closer than SAME_WORD_S is still another word."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        middles = np.arange(0, 20, apart_s) + rng.random() * apart_s

        def heard(chosen):
            return [word("no", middle_s + rng.normal(0, 0.02), length_s=0.8 * apart_s) for middle_s in chosen]

        left, right = heard(middles[middles < 10.5]), heard(middles[middles > 9.5])
        assert len(joined(left, right)) == len(middles)
