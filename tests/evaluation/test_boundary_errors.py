"""Boundary errors on times whose differences are known."""

import pytest

from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.boundary_errors import boundary_errors

KNOWN = {"a": (WordTime(0.0, 0.5, "bin"), WordTime(0.5, 1.0, "blue")), "b": (WordTime(0.2, 0.4, "now"),)}


def test_errors_are_found_minus_known():
    found = {"a": (WordTime(0.1, 0.5, "bin"), WordTime(0.5, 0.7, "blue")), "b": (WordTime(0.2, 0.45, "now"),)}
    errors = boundary_errors(KNOWN, found)
    assert errors.starts == pytest.approx([0.1, 0.0, 0.0]) and errors.ends == pytest.approx([0.0, -0.3, 0.05])
    assert errors.median_s == pytest.approx(0.025)  # of 0, 0, 0, 0.05, 0.1, 0.3
    assert errors.p90_s == pytest.approx(0.2)  # half-way from the fifth of the six to the last
    lines = errors.table().splitlines()
    assert lines[0] == "word boundaries of 3 right words, of 3 known, in 2 clips"
    assert lines[-1].split() == ["both", "0.025", "0.200", "-0.025", "50.0", "%", "66.7", "%", "83.3", "%"]


def test_only_words_that_are_right_count_and_they_are_matched_across_errors():
    said = (WordTime(0.0, 0.1, "oh"), WordTime(0.1, 0.5, "bin"), WordTime(0.5, 0.9, "red"))
    errors = boundary_errors(KNOWN, {"a": said, "b": ()})
    assert errors.starts == pytest.approx([0.1]) and errors.ends == pytest.approx([0.0])
    assert (errors.known_words, errors.clips) == (3, 2)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"z": KNOWN["a"]}, "1 utterances have no known word times, as z"),
        ({"b": (WordTime(0.2, 0.4, "soon"),)}, "no word can be compared"),
    ],
)
def test_what_cannot_be_compared_is_an_error(found, message):
    with pytest.raises(DataError, match=message):
        boundary_errors(KNOWN, found)
