"""Reliability on confidences whose accuracy is known, and on planted over-confidence."""

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.calibration import judged_words, reliability


def drawn(share_right, count=20_000):
    """Confidences and judgements: a word of confidence c is right with the probability share_right(c)."""
    rng = np.random.default_rng(0)
    confidences = rng.random(count)
    return confidences, rng.random(count) < share_right(confidences)


def test_confidences_that_are_probabilities_have_no_error_and_boasting_ones_have():
    honest = reliability(*drawn(lambda c: c))
    boasting = reliability(*drawn(lambda c: c / 2))
    assert honest.expected_calibration_error < 0.02
    assert boasting.expected_calibration_error == pytest.approx(0.25, abs=0.02)
    assert all(part.accuracy == pytest.approx(part.confidence, abs=0.05) for part in honest.bins)


def test_separation_is_the_share_of_pairs_in_the_right_order():
    confidences, correct = [0.1, 0.4, 0.4, 0.8, 0.9], [False, False, True, False, True]
    pairs = [(c > w) + 0.5 * (c == w) for c in (0.4, 0.9) for w in (0.1, 0.4, 0.8)]
    assert reliability(confidences, correct).separation == pytest.approx(np.mean(pairs))
    assert reliability([0.1, 0.9], [True, True]).separation is None


def test_bins_hold_every_word_once_the_edges_too():
    found = reliability([0.0, 0.1, 0.100001, 0.5, 1.0], [False, True, True, False, True], bins=10)
    assert [part.words for part in found.bins] == [2, 1, 0, 0, 1, 0, 0, 0, 0, 1]
    assert found.bins[0].accuracy == 0.5 and found.table().splitlines()[1].split()[-1] == "0.500"


def test_the_threshold_is_the_lowest_that_reaches_the_accuracy():
    confidences = [0.9, 0.8, 0.8, 0.6, 0.3]
    found = reliability(confidences, [True, True, False, True, False])
    assert found.threshold(0.75) == (0.6, 0.8)
    assert found.threshold(1.0) == (0.9, 0.2)
    assert found.threshold(0.5) == (0.3, 1.0)
    assert reliability([0.5, 0.4], [False, True]).threshold(0.9) is None
    with pytest.raises(ConfigError, match="accuracy is a share"):
        found.threshold(90)


def test_words_are_judged_by_the_alignment_of_the_error_rate():
    references = {"a": "bin blue at f two now", "b": "set red", "c": ""}
    hypotheses = {"a": "bin at at f two oh now", "b": "", "c": "hm"}
    confidences = {"a": [0.9, 0.2, 0.8, 0.7, 0.6, 0.1, 0.5], "b": [], "c": [0.3]}
    found, correct = judged_words(references, hypotheses, confidences)
    assert found == [*confidences["a"], 0.3]
    assert correct == [True, False, True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("references", "confidences", "message"),
    [
        ({}, {"a": [0.5]}, "1 decoded utterances have no reference, as a"),
        ({"a": "x"}, {}, "1 decoded utterances have no confidences, as a"),
        ({"a": "x"}, {"a": [0.5, 0.5]}, "confidences of a: found 2; expected 1 words"),
    ],
)
def test_what_does_not_belong_together_is_an_error(references, confidences, message):
    with pytest.raises(DataError, match=message):
        judged_words(references, {"a": "x"}, confidences)


@pytest.mark.parametrize(
    ("confidences", "correct"), [([], []), ([0.5], [True, False]), ([1.5], [True]), ([float("nan")], [True])]
)
def test_bad_confidences_are_errors(confidences, correct):
    with pytest.raises(DataError):
        reliability(confidences, correct)
