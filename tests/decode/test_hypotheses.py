"""Length bounds, end detection and ranking of one clip's hypotheses, against ESPnet's functions."""

import importlib
import random

import pytest

from espnet_vivit.decode.hypotheses import Candidate, ClipHypotheses, LengthBounds
from espnet_vivit.espnet_compat import quiet_espnet_import
from espnet_vivit.espnet_compat.names import LEGACY

END = 9


@pytest.mark.parametrize(
    ("ratios", "bounds"),
    [
        ((0.0, 0.0), (25, 0, True)),
        ((0.5, 0.1), (12, 2, False)),
        ((0.01, 0.0), (1, 0, False)),
        ((-7.0, -3.0), (7, 3, False)),
        ((0.0, 0.3), (25, 7, True)),
    ],
)
def test_ratios_are_tokens_per_step_and_negative_ones_are_numbers(ratios, bounds):
    assert LengthBounds.of_ratios(25, *ratios) == bounds


def test_the_search_ends_when_espnets_end_detection_says_so():
    with quiet_espnet_import():
        end_detect = importlib.import_module(f"{LEGACY}.nets.e2e_asr_common").end_detect
    rng, ends = random.Random(0), []
    for _ in range(60):
        clip, ended = ClipHypotheses(END, END, LengthBounds(40, 0, True)), []
        while not clip.done:
            step = clip.steps
            beam = [Candidate(0, 1, -1.0, ())]
            if rng.random() < 0.8:
                score = -step * rng.choice([0.5, 3.0])
                beam.append(Candidate(0, END, score, ()))
                ended.append({"yseq": [END] + [1] * step + [END], "score": score})
            clip.advance(beam)
            assert clip.done == (end_detect(ended, step) or step == 39)
        ends.append(clip.steps)
    assert len(set(ends)) > 5 and min(ends) < 15 < max(ends), "the cases are all alike"


def test_hypotheses_end_run_on_and_are_ranked():
    clip = ClipHypotheses(END, END, LengthBounds(3, 1, False))
    assert clip.advance([Candidate(0, 4, -1.0, ()), Candidate(0, END, -2.0, ()), Candidate(0, 5, -3.0, ())]) == [0, 2]
    assert clip.running == [[END, 4], [END, 5]] and not clip.ended, "what ends before the shortest length is left out"
    assert clip.advance([Candidate(1, END, -3.5, (7.0,)), Candidate(0, 6, -4.0, ())]) == [1]
    impossible = Candidate(0, 2, -float("inf"), ())
    assert clip.advance([Candidate(0, END, -4.5, ()), Candidate(0, 3, -4.6, ()), impossible]) == []
    assert clip.done
    assert [(found.tokens, found.score) for found in clip.best(normalize_length=False)] == [
        ((5,), -3.5),
        ((4, 6), -4.5),
        ((4, 6, 3), -4.6),
    ]
    assert clip.best(normalize_length=False)[0].parts == (7.0,)
    by_length = [found.tokens for found in clip.best(normalize_length=True)]
    assert by_length == [(4, 6), (4, 6, 3), (5,)]  # -4.5/4, -4.6/4, -3.5/2: the bound counts one more, as in ESPnet


def test_a_clip_is_done_when_nothing_runs():
    clip = ClipHypotheses(END, END, LengthBounds(30, 0, True))
    assert clip.advance([Candidate(0, END, -1.0, ())]) == [] and clip.done
