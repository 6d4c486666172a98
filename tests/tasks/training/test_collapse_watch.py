"""A collapsed training is told by its transcripts or its error rates, a healthy one and a young one are left alone."""

import jiwer
import pytest

from espnet_vivit.errors import InputError
from espnet_vivit.tasks.training.collapse_watch import STUCK_EPOCHS, collapse_warnings

REFERENCES = [
    "bin blue at f two now",
    "lay red by a one soon",
    "set green in z six please",
    "bin white with q nine again",
]
LEARNING = [1.0, 0.9, 0.7, 0.6]


def wer(hypotheses):
    return jiwer.wer(REFERENCES, hypotheses)


def test_a_training_that_learns_is_left_alone():
    hypotheses = ["bin blue at e two now", "lay red by a one soon", "set green in z six", "bin white with q nine"]
    assert collapse_warnings(hypotheses, REFERENCES, [*LEARNING, wer(hypotheses)]) == []


def test_one_hypothesis_for_every_clip_is_named_with_its_count_and_causes():
    hypotheses = ["bin blue at f now"] * 3 + ["set red"]
    (warning,) = collapse_warnings(hypotheses, REFERENCES, [*LEARNING, wer(hypotheses)])  # in the fifth epoch
    assert warning.startswith("3 of 4 utterances got the same hypothesis, 'bin blue at f now',")
    assert "Usual causes: the video shows no mouth" in warning and "optim_conf" in warning


def test_blank_everywhere_is_named_and_the_learning_rate_comes_first():
    (warning,) = collapse_warnings([""] * 4, REFERENCES, [1.0, 0.98, 1.0, 0.98, 1.0])
    assert warning.startswith("4 of 4 utterances got an empty hypothesis")
    assert "Usual causes: the learning rate is too high" in warning and "avsr_feasibility" in warning


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_the_first_epochs_of_ctc_are_no_collapse(epochs):
    assert collapse_warnings([""] * 4, REFERENCES, [1.0] * epochs) == []
    same = collapse_warnings(["bin blue"] * 4, REFERENCES, [1.0] * epochs)
    assert len(same) == (epochs >= 3), "to say the same of every clip is judged from the third epoch on"


def test_causes_are_told_at_first_and_then_every_fifth_epoch():
    lines = {epoch: collapse_warnings([""] * 4, REFERENCES, [1.0] * epoch) for epoch in range(1, 21)}
    told = [epoch for epoch, found in lines.items() if any("Usual causes" in line for line in found)]
    assert told == [5, 10, 15, 20]
    assert "has not left 100.0% for 7 epochs" in lines[7][1]


def test_a_rate_that_stays_at_100_percent_is_told_after_five_epochs_even_with_different_hypotheses():
    hypotheses = ["a", "b", "c", "d"]
    assert collapse_warnings(hypotheses, REFERENCES, [1.0] * (STUCK_EPOCHS - 1)) == []
    for rates, count in (([1.0] * 5, 5), ([0.995] * 8, 8), ([0.98, *[1.2] * 6], 6)):
        (warning,) = collapse_warnings(hypotheses, REFERENCES, rates)
        assert f"has not left {rates[-1]:.1%} for {count} epochs" in warning
        assert ("Usual causes: " in warning) == (len(rates) == 5)
    assert collapse_warnings(hypotheses, REFERENCES, [1.0, 1.0, 1.0, 1.0, 0.97]) == []


def test_causes_are_not_said_twice_when_both_hold():
    same, stuck = collapse_warnings([""] * 4, REFERENCES, [1.0] * 5)
    assert "Usual causes" in same and "Usual causes" not in stuck and "for 5 epochs" in stuck


def test_a_rate_that_comes_back_to_100_percent_has_diverged():
    (warning,) = collapse_warnings(["a", "b", "c", "d"], REFERENCES, [1.0, 0.5, 0.3, 1.0])
    assert "was 30.0% in epoch 3 and is 100.0% again" in warning and "lr_scale" in warning


def test_references_that_repeat_may_be_repeated():
    """Two digits as a corpus: half of the hypotheses are equal because half of the references are."""
    references = ["one", "two"] * 4
    assert collapse_warnings(references, references, [0.5, 0.2, 0.0]) == []


def test_a_validation_set_without_transcripts_says_nothing():
    assert collapse_warnings([], [], LEARNING) == []


def test_lists_of_different_lengths_are_an_error():
    with pytest.raises(InputError, match="found 3 hypotheses, 4 references; expected one of each per utterance"):
        collapse_warnings(REFERENCES[:3], REFERENCES, LEARNING)
