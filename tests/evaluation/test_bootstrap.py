"""Intervals against SciPy's bootstrap and against every possible draw of a tiny set."""

import itertools

import numpy as np
import pytest
from scipy import stats

from espnet_vivit.errors import InputError
from espnet_vivit.evaluation.bootstrap import Interval, _percentile_interval, compare_error_rates, error_rate_interval


@pytest.fixture
def counts():
    """Errors of two systems (the second worse, and correlated) and reference words of 200 utterances."""
    rng = np.random.default_rng(3)
    words = rng.integers(3, 12, size=200)
    hard = rng.beta(1, 3, size=200)
    return rng.binomial(words, hard), rng.binomial(words, np.minimum(1, 1.5 * hard)), words


def scipy_interval(statistic, *samples):
    result = stats.bootstrap(
        samples, statistic, paired=True, vectorized=True, method="percentile", n_resamples=20_000, random_state=11
    )
    return result.confidence_interval


def test_interval_of_a_rate_agrees_with_scipy(counts):
    errors, _, words = counts
    ours = error_rate_interval(errors, words, resamples=20_000)
    theirs = scipy_interval(lambda e, w, axis: e.sum(axis) / w.sum(axis), errors, words)
    # both are Monte Carlo: the ends differ by far less than the interval is wide
    assert abs(ours.low - theirs.low) + abs(ours.high - theirs.high) < 0.04 * (theirs.high - theirs.low)


def test_paired_intervals_agree_with_scipy(counts):
    a, b, words = counts
    ours = compare_error_rates(a, b, words, resamples=20_000)
    difference = scipy_interval(lambda a, b, w, axis: (a.sum(axis) - b.sum(axis)) / w.sum(axis), a, b, words)
    ratio = scipy_interval(lambda a, b, w, axis: a.sum(axis) / b.sum(axis), a, b, words)
    for interval, theirs in ((ours.difference_interval, difference), (ours.ratio_interval, ratio)):
        assert abs(interval.low - theirs.low) + abs(interval.high - theirs.high) < 0.04 * (theirs.high - theirs.low)
    assert ours.ratio == pytest.approx(a.sum() / b.sum())
    assert ours.excludes_equality


def test_interval_agrees_with_all_draws_of_four_utterances():
    errors, words = np.array([0, 1, 3, 2]), np.array([4, 5, 6, 3])
    rates = [errors[list(d)].sum() / words[list(d)].sum() for d in itertools.product(range(4), repeat=4)]
    interval = error_rate_interval(errors, words, resamples=50_000, level=0.9)
    assert interval.low == pytest.approx(np.quantile(rates, 0.05, method="lower"), abs=0.02)
    assert interval.high == pytest.approx(np.quantile(rates, 0.95, method="higher"), abs=0.02)


def test_limits_are_drawn_values_rounded_outwards():
    assert _percentile_interval(np.arange(10.0), 0.5) == Interval(2.0, 7.0)  # the quantiles lie at 2.25 and 6.75
    assert _percentile_interval(np.array([1.0] * 9 + [np.inf]), 0.9) == Interval(1.0, np.inf)


def test_same_seed_same_interval_other_seed_another(counts):
    errors, _, words = counts
    first = error_rate_interval(errors, words, resamples=500, seed=1)
    assert first == error_rate_interval(errors, words, resamples=500, seed=1)
    assert first != error_rate_interval(errors, words, resamples=500, seed=2)


def test_pairing_matters(counts):
    """Equal systems are equal in every draw: an unpaired bootstrap would give an interval around zero."""
    errors, _, words = counts
    same = compare_error_rates(errors, errors, words, resamples=500)
    assert same.difference_interval == Interval(0.0, 0.0) and same.ratio_interval == Interval(1.0, 1.0)
    assert not same.excludes_equality


def test_faultless_systems_have_a_ratio():
    words = np.full(20, 5)
    rare = np.zeros(20, dtype=int)
    rare[0] = 1
    against_faultless = compare_error_rates(rare, np.zeros(20), words, resamples=500)
    assert against_faultless.ratio == np.inf and against_faultless.ratio_interval == Interval(1.0, np.inf)
    both = compare_error_rates(np.zeros(20), np.zeros(20), words, resamples=500)
    assert both.ratio == 1.0 and not both.excludes_equality


def test_large_sets_in_pieces_equal_one_piece(counts, monkeypatch):
    errors, _, words = counts
    whole = error_rate_interval(errors, words, resamples=300)
    monkeypatch.setattr("espnet_vivit.evaluation.bootstrap._DRAWS_AT_ONCE", 1000)
    assert error_rate_interval(errors, words, resamples=300) == whole


def test_bad_counts_are_refused():
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
        error_rate_interval([1, 2, 3], [4, 5])
    with pytest.raises(InputError, match="reference words"):
        error_rate_interval([1, 2], [0, 0])
