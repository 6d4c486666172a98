"""The offset between mouth and sound is found, in both directions, and not invented where there is none."""

import math

import numpy as np
import pytest

from espnet_vivit.media.quality.sound import IN_STEP, _canonical_correlation, levels, measure_offset
from espnet_vivit.media.quality.verdict import SURE_NATS
from tests.media.talking_mouth import talking


@pytest.mark.parametrize("lag", [-10, -5, -3, 3, 5, 10])
def test_a_shift_is_found_with_its_sign(lag):
    clip = talking(seed=1, lag=lag)
    found = measure_offset(clip.frames, clip.speech)
    assert found["av_offset_ms"] == pytest.approx(40 * lag, abs=40)
    assert found["av_evidence"] > SURE_NATS


@pytest.mark.parametrize("lag", range(-IN_STEP, IN_STEP + 1))
def test_small_shifts_are_no_evidence(lag):
    clip = talking(seed=1, lag=lag)
    assert measure_offset(clip.frames, clip.speech)["av_evidence"] < SURE_NATS


def test_another_clips_sound_is_hardly_ever_believed():
    believed = 0
    for seed in range(8):
        clip, other = talking(seed=seed), talking(seed=seed + 100)
        believed += measure_offset(clip.frames, other.speech)["av_evidence"] > 4 * SURE_NATS
    assert believed == 0


def test_the_opening_of_a_detector_is_used():
    """A mouth whose pictures say little, and whose opening says all."""
    clip = talking(seed=2, lag=5, with_opening=True)
    noise = np.random.default_rng(0).integers(0, 255, clip.frames.shape).astype(np.uint8)
    without = measure_offset(noise, clip.speech)
    found = measure_offset(noise, clip.speech, clip.mouth_opening)
    assert abs(found["av_offset_ms"] - 200) <= 40
    assert found["av_evidence"] > 2 * without["av_evidence"]


@pytest.mark.parametrize("what", ["short", "still", "silent", "constant"])
def test_where_nothing_can_be_said_nothing_is(what):
    clip = talking(seed=1)
    pictures, speech = clip.frames, clip.speech
    if what == "short":
        pictures = pictures[:40]
    elif what == "still":
        pictures = np.repeat(pictures[:1], 100, axis=0)
    elif what == "silent":
        speech = np.zeros_like(speech)
    else:
        speech = np.full_like(speech, 0.2)
    assert all(math.isnan(value) for value in measure_offset(pictures, speech).values())


def test_a_track_that_ends_before_the_pictures_is_filled_with_silence():
    speech = np.full(16_000, 0.5, np.float32)
    assert levels(speech, 30)[:25] == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert levels(speech, 30)[25:] == pytest.approx(-60)


def test_the_canonical_correlation_is_the_best_that_search_finds():
    """The largest correlation of any two mixtures: SciPy finds it by search, ours by decomposition."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    common = rng.standard_normal(400)
    one = np.column_stack([common + rng.standard_normal(400), rng.standard_normal(400)])
    other = np.column_stack([rng.standard_normal(400), 2 * rng.standard_normal(400) - common])

    def lost(weights):
        return -abs(np.corrcoef(one @ weights[:2], other @ weights[2:])[0, 1])

    best = min(minimize(lost, start, method="Nelder-Mead").fun for start in rng.standard_normal((8, 4)))
    assert _canonical_correlation(one, other) == pytest.approx(-best, abs=0.04)  # ours is damped


def test_a_correlation_does_not_depend_on_the_unit_of_either_side():
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((100, 5)), rng.standard_normal((100, 3))
    expected = _canonical_correlation(one, other)
    assert _canonical_correlation(1000 * one, other / 100) == pytest.approx(expected, rel=1e-3)
