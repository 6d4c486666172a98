"""Compute confidence intervals from per-utterance error counts: the bootstrap over utterances (Bisani and Ney,
ICASSP 2004).

Utterances are drawn with replacement, as often as there are, and the error rate of each draw is
`sum(errors) / sum(words)`; percentiles of these rates are the interval. To compare two systems both are rated on
the same draws, because utterances that are hard for one are hard for the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from espnet_vivit.errors import InputError

RESAMPLES = 10_000
LEVEL = 0.95  # share of the resampled rates that an interval encloses
_DRAWS_AT_ONCE = 2**22  # utterance indices held in memory at a time (32 MiB)


@dataclass(frozen=True)
class Interval:
    """The percentile interval, in the unit of the resampled quantity (rates are fractions, 0.25 for 25 %)."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Comparison:
    """The comparison of systems A and B on the same utterances: `difference` is A - B, `ratio` is A / B, of error
    rates.
    """

    rate_a: float
    rate_b: float
    difference: float
    difference_interval: Interval
    ratio: float
    ratio_interval: Interval

    @property
    def excludes_equality(self) -> bool:
        """Whether both intervals leave out "A and B are equally good"."""
        return self.difference_interval.excludes(0.0) and self.ratio_interval.excludes(1.0)

    def __str__(self) -> str:
        points, ratio = self.difference_interval, self.ratio_interval
        text = (
            f"WER {100 * self.rate_a:.2f} % vs {100 * self.rate_b:.2f} %, "
            f"difference {100 * self.difference:+.2f} [{100 * points.low:+.2f}, {100 * points.high:+.2f}] points"
        )
        if self.rate_b == 0:  # nothing is any number of times no errors
            return text
        return f"{text}, ratio {self.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def error_rate_interval(
    errors: ArrayLike, words: ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The interval of `sum(errors) / sum(words)`; both `(U,)`, one count per utterance.

    A draw without a single reference word has no rate and is left out (it needs empty references to occur at all).
    """
    counts = np.stack(_counts(errors, words), axis=1)
    sums = _resampled_sums(counts, resamples=resamples, seed=seed)  # (R, 2)
    sums = sums[sums[:, 1] > 0]
    return _percentile_interval(sums[:, 0] / sums[:, 1], level)


def compare_error_rates(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    words: ArrayLike,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two systems' errors `(U,)` on the same utterances by a paired bootstrap; `words` (U,) are the
    reference lengths.

    In a draw where B makes no error the ratio is infinite, and 1 where neither does.
    """
    (a, reference), (b, _) = _counts(errors_a, words), _counts(errors_b, words)
    sums = _resampled_sums(np.stack([a, b, reference], axis=1), resamples=resamples, seed=seed)  # (R, 3)
    sums = sums[sums[:, 2] > 0]
    total_a, total_b, total = (float(counts.sum()) for counts in (a, b, reference))
    return Comparison(
        rate_a=total_a / total,
        rate_b=total_b / total,
        difference=(total_a - total_b) / total,
        difference_interval=_percentile_interval((sums[:, 0] - sums[:, 1]) / sums[:, 2], level),
        ratio=float(_ratio(np.array(total_a), np.array(total_b))),
        ratio_interval=_percentile_interval(_ratio(sums[:, 0], sums[:, 1]), level),
    )


def _counts(given_errors: ArrayLike, given_words: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    errors, words = np.asarray(given_errors, dtype=np.int64), np.asarray(given_words, dtype=np.int64)
    if errors.ndim != 1 or errors.shape != words.shape:
        raise InputError(
            "a bootstrap needs one error count and one word count per utterance",
            found=f"shapes {errors.shape} and {words.shape}",
            expected="(U,) twice",
        )
    if words.sum() == 0:
        raise InputError(
            "an error rate needs reference words",
            found=f"none in {len(words)} utterances",
            fix="Check that the reference file holds transcripts.",
        )
    return errors, words


def _resampled_sums(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Sum the columns of `resamples` draws with replacement of the rows of `values` (U, K): (R, K) int64."""
    rng = np.random.default_rng(seed)
    count = len(values)
    rows = max(1, _DRAWS_AT_ONCE // count)
    sums = np.empty((resamples, values.shape[1]), dtype=np.int64)
    for start in range(0, resamples, rows):
        drawn = rng.integers(count, size=(min(rows, resamples - start), count))
        for column in range(values.shape[1]):
            sums[start : start + len(drawn), column] = values[drawn, column].sum(axis=1)
    return sums


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    equal = np.where(numerator == 0, 1.0, np.inf)  # 0/0: both without an error, so equally good
    return np.divide(numerator, denominator, out=equal, where=denominator > 0)


def _percentile_interval(values: np.ndarray, level: float) -> Interval:
    tail = (1 - level) / 2
    # an observed value on each side, rounded outwards: interpolating next to an infinite ratio would give NaN
    low, high = np.quantile(values, tail, method="lower"), np.quantile(values, 1 - tail, method="higher")
    return Interval(float(low), float(high))
