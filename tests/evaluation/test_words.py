"""Accuracy of single words: counted by hand, intervals by SciPy's bootstrap, models compared on the same clips."""

import numpy as np
import pytest
from scipy import stats

from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.words import (
    FILE,
    Answers,
    Prediction,
    accuracy_table,
    class_lines,
    compared,
    confusions,
    plot_words,
    read_predictions,
    write_predictions,
)

ROWS = [("one", "one", 1), ("one", "two", 2), ("two", "two", 1), ("two", "one", 7), ("six", "two", 3)]


def answers(rows=ROWS, *, num_words=7) -> Answers:
    made = (Prediction(f"u{n}", "s1", word, guess, 0.5, rank) for n, (word, guess, rank) in enumerate(rows))
    return Answers("test", tuple(made), num_words)


def test_accuracies_are_those_counted_by_hand():
    test = answers()
    assert test.accuracy() == pytest.approx(2 / 5) and test.accuracy(5) == pytest.approx(4 / 5)
    names, counts = confusions(test)
    assert names == ["one", "six", "two"] and counts.tolist() == [[1, 0, 1], [0, 0, 1], [1, 0, 1]]
    assert class_lines(test)[0] == "right of each word, worst first: six 0/1, one 1/2, two 1/2"
    assert "one as two (1)" in class_lines(test)[1]


def test_the_interval_is_that_of_scipys_bootstrap():
    rows = [("a", "a", 1)] * 130 + [("a", "b", 2)] * 70
    interval = answers(rows).interval()
    right = np.array([1.0] * 130 + [0.0] * 70)
    theirs = stats.bootstrap((right,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.011)


def test_two_models_are_compared_on_the_same_clips():
    better = answers([(word, word, 1) for word, *_ in ROWS])
    difference, interval = compared(better, answers())
    assert difference == pytest.approx(3 / 5) and interval.low > 0
    with pytest.raises(DataError, match="not the same clips"):
        compared(better, answers(ROWS[:3]))


def test_a_file_of_predictions_is_read_as_written(tmp_path):
    test = answers()
    write_predictions(tmp_path / "test" / FILE, test.predictions, num_words=7)
    assert read_predictions(tmp_path / "test" / FILE) == test
    (tmp_path / "other").write_text("utt_id\tword\n")
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(tmp_path / "other")
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(tmp_path / "none")


def test_top_5_is_left_out_where_it_says_nothing():
    few = answers(ROWS[:3], num_words=5)
    table = accuracy_table([(["a"], answers()), (["b"], few)], ["model"])
    rows = [line.split("|")[1:-1] for line in table.splitlines()]
    assert rows[2][-1].strip() == "80.0" and rows[3][-1].strip() == ""


def test_the_confusions_are_drawn(tmp_path):
    plot_words(answers(), tmp_path / "confusions.png")
    assert (tmp_path / "confusions.png").read_bytes().startswith(b"\x89PNG")
