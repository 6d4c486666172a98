"""Loops and rates that the training texts never show."""

import re

import pytest

from espnet_vivit.data.text_bounds import (
    CHARACTERS,
    FAST_PER_S,
    MANY_REPEATS,
    WORDS,
    TextBounds,
    general_bounds,
    measure_texts,
    most_repeated,
)

GRID = TextBounds(WORDS, per_s=5.3, repeats=1, count=3894)


@pytest.mark.parametrize(
    ("text", "run", "times"),
    [
        ("", "", 1),
        ("a b c d", "a", 1),
        ("a b b c", "b", 2),
        ("x eight x eight x eight", "x eight", 3),
        ("say x eight x eight x", "x eight", 2),
        ("a a a b b", "a", 3),
        ("a b c d a b c d", "a b c d", 2),
        ("a b c d e a b c d e", "a", 1),
        ("a b a c a d", "a", 1),
    ],
)
def test_a_run_of_words_is_counted_as_often_as_it_follows_itself(text, run, times):
    found = most_repeated(text.split())
    assert found == (tuple(run.split()), times)
    if times > 1:  # as a regular expression counts it
        assert re.search(rf"(?:^| )({run})( {run}){{{times - 1}}}(?: |$)", text)


def test_a_loop_and_a_rate_beyond_the_texts_are_named():
    assert GRID.exceeded("bin blue at x eight now", 1.2) == ()
    assert GRID.exceeded("bin white with with n six now", 3.0) == (), "a slip of greedy search"
    assert GRID.exceeded("x eight x eight x eight now", 3.0) == (
        "the answer is a loop: 'x eight' 3 times in a row, 2 is the most",
    )
    assert TextBounds(WORDS, per_s=5.3, repeats=4, count=3894).exceeded("no no no no", 3.0) == (), "as in training"
    words = " ".join(f"word{number}" for number in range(21))
    assert GRID.exceeded(words, 3.2) == ()
    assert GRID.exceeded(words, 3.0) == ("the answer is too fast for speech: 7.0 words per second, 6.6 is the most",)


def test_few_texts_and_none_bound_only_what_nobody_says():
    few = TextBounds(WORDS, per_s=2.0, repeats=1, count=40)
    for bounds in (few, general_bounds("no no")):
        assert bounds.exceeded(" ".join(["no"] * MANY_REPEATS), 3.0) == ()
        assert "a loop: 'no' 4 times" in bounds.exceeded(" ".join(["no"] * (MANY_REPEATS + 1)), 3.0)[0]
        assert bounds.most_per_s == FAST_PER_S[WORDS]


def test_without_blanks_characters_are_counted():
    bounds = general_bounds("是是是是是")
    assert bounds.unit == CHARACTERS and "'是' 5 times" in bounds.exceeded("是是是是是", 2.0)[0]
    assert general_bounds("高高兴兴").exceeded("高高兴兴", 2.0) == ()


def test_texts_are_measured_by_their_words_times_or_else_by_their_clips(tmp_path):
    (tmp_path / "text").write_text("a bin blue\nb no no no\nc at last\nd gone\n")
    assert measure_texts(tmp_path / "text") is None
    (tmp_path / "utt2num_frames").write_text("a 50\nb 25\nc 50\n")
    assert measure_texts(tmp_path / "text") == TextBounds(WORDS, 3.0, 3, 7)
    (tmp_path / "word_times").write_text("a 0.500:0.700:bin 0.800:1.000:blue\n")
    assert measure_texts(tmp_path / "text") == TextBounds(WORDS, 4.0, 3, 7)
    (tmp_path / "text").write_text("a 天天向上\nb 好\n")
    assert measure_texts(tmp_path / "text") == TextBounds(CHARACTERS, 8.0, 2, 5)
