"""Where the errors are, against counts made by hand and by jiwer."""

import importlib.util
import math
from pathlib import Path

import jiwer
import pytest

from espnet_vivit.evaluation.bootstrap import Interval
from espnet_vivit.evaluation.decoded import Result
from espnet_vivit.evaluation.error_breakdown import (
    NOTHING,
    Rate,
    by_class,
    by_length,
    by_noise,
    confused_words,
    lip_shapes,
    viseme_confusions,
    word_class,
)
from espnet_vivit.evaluation.error_rates import score

SAID = {"u1": "bin blue at f two now", "u2": "lay red by m nine soon", "u3": "set green in b four please"}
READ = {"u1": "bin blue at s two now", "u2": "lay red m nine soon", "u3": "set green in p four please again"}


@pytest.fixture
def scored():
    return score(SAID, READ)


def test_classes_count_what_was_said_and_not_what_was_put_in(scored):
    assert by_class(scored) == {"letter": Rate(2, 3), "number": Rate(0, 3), "word": Rate(1, 12)}
    assert [word_class(word) for word in ("b", "7", "nine", "ninety", "ä")] == [
        "letter",
        "number",
        "number",
        "word",
        "letter",
    ]


def test_one_letter_words_of_sentences_are_words():
    said = {"u1": "I have seen a boat", "u2": "Six of them"}
    assert by_class(score(said, said)) == {"number": Rate(0, 1), "word": Rate(0, 7)}
    spelled = {**said, "u3": "a b c"}
    assert by_class(score(spelled, spelled))["letter"] == Rate(0, 5)


def test_confusions_name_words_left_out_and_put_in(scored):
    assert confused_words(scored) == [("b", "p", 1), ("by", NOTHING, 1), ("f", "s", 1), (NOTHING, "again", 1)]
    assert confused_words(scored, most=1) == [("b", "p", 1)]


def test_length_groups_hold_jiwers_rates_of_their_clips(scored):
    groups = by_length(scored, {"u1": 75, "u2": 25, "u3": 50}, bins=2)
    (short, longest, few), (third, last, rest) = groups
    assert (short, longest, third, last) == (1.0, 2.0, 3.0, 3.0)
    expected = jiwer.wer([SAID["u2"], SAID["u3"]], [READ["u2"], READ["u3"]])
    assert few.rate == pytest.approx(expected) and rest.rate == pytest.approx(1 / 6)
    assert len(by_length(scored, {"u1": 1, "u2": 1, "u3": 1}, bins=9)) == 3


def test_noise_curves_are_of_one_test_set_and_leave_controls_out(scored):
    def result(test_set: str, modality: str, condition: str) -> Result:
        return Result(test_set, modality, condition, Path("x"), scored, Interval(0.0, 1.0))

    conditions = ("clean", "-5 dB babble", "0 dB babble", "video zeroed")
    results = [result("seen", "both", condition) for condition in conditions]
    results += [result("seen", "video", "clean"), result("other", "both", "10 dB white")]
    curve = {-5.0: scored.wer, 0.0: scored.wer, math.inf: scored.wer}
    assert by_noise(results, "seen") == {"both": curve}
    kinds = {"both, babble": curve, "both, white": {0.0: scored.wer, math.inf: scored.wer}}
    assert by_noise([*results, result("seen", "both", "0 dB white")], "seen") == kinds


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed")
def test_lip_shapes_tell_homophenes_from_others(scored):
    assert lip_shapes("bat") == lip_shapes("pat") == lip_shapes("mat")
    assert lip_shapes("fat") != lip_shapes("bat")
    names, counts = viseme_confusions(scored)
    assert names[-1] == NOTHING and counts.sum(axis=1)[:-1].min() > 0
    p, f, s = (names.index(name) for name in ("p", "f", "s"))
    assert counts[p, p] > 0  # b read as p: the same on the lips
    assert (counts[f, f], counts[f, s]) == (1, 1)  # that of `four`; the letter was read as s
