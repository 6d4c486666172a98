"""Check a recipe's claims against scored results: what was found, what was expected, and whether the claim holds.

A claim that cannot be checked, because a row of it was not decoded, gives no check: what is absent from the table is
absent here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.evaluation.decoded import CLEAN, CONTROLS, SHOWN_MODALITIES, Result

FUSION_RATIO = 0.7  # WER of both streams over that of the better single one, at 0 dB
CHANCE_POINTS = 5.0  # by which a control may be below chance, in points of WER


@dataclass(frozen=True)
class Check:
    name: str
    found: str
    wanted: str
    holds: bool


@dataclass(frozen=True)
class Target:
    """The clean WER of one row must be at most `percent`."""

    test_set: str
    modality: str
    percent: float

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse `test_seen:video:30`."""
        fields = text.split(":")
        try:
            test_set, modality, percent = fields[0], fields[1], float(fields[2])
        except (IndexError, ValueError):
            raise ConfigError("--target", found=repr(text), expected="TEST_SET:MODALITY:PERCENT") from None
        if modality not in SHOWN_MODALITIES:
            raise unknown_name("modality", modality, SHOWN_MODALITIES)
        return cls(test_set, SHOWN_MODALITIES[modality], percent)


def check_targets(results: Sequence[Result], targets: Sequence[Target]) -> list[Check]:
    """Check each target against its clean row. Raises DataError if that row was not decoded."""
    checks = []
    for target in targets:
        row = _row(results, target.test_set, target.modality, CLEAN)
        if row is None:
            raise DataError(
                f"target {target.test_set}:{target.modality}:{target.percent:g}",
                found="no such row",
                expected="one of " + ", ".join(f"{r.test_set}:{r.modality}" for r in results if r.condition == CLEAN),
            )
        wer = 100 * row.score.wer
        name = f"{target.test_set}: {target.modality}, clean"
        checks.append(Check(name, f"{wer:.1f} %", f"at most {target.percent:g} %", wer <= target.percent))
    return checks


def check_fusion(results: Sequence[Result], *, seed: int, resamples: int) -> list[Check]:
    """Check at 0 dB that both streams together beat the better single stream (sound in the same noise; video, which
    noise does not affect).

    The ratio of the word error rates must be at most 0.7 and its paired bootstrap interval must exclude 1.
    """
    checks = []
    for both in results:
        if both.modality != "both" or not both.condition.startswith("0 dB"):
            continue
        video = _row(results, both.test_set, "video", both.condition) or _row(results, both.test_set, "video", CLEAN)
        audio = _row(results, both.test_set, "audio", both.condition)
        if video is None or audio is None:
            continue
        better = min(video, audio, key=lambda row: row.score.wer)
        compared = both.score.compare(better.score, seed=seed, resamples=resamples)
        interval = compared.ratio_interval
        checks.append(
            Check(
                f"{both.test_set}: both at {both.condition} / better single ({better.modality})",
                f"{compared.ratio:.2f} [{interval.low:.2f}, {interval.high:.2f}] "
                f"({100 * compared.rate_a:.1f} / {100 * compared.rate_b:.1f} %)",
                f"at most {FUSION_RATIO}, interval below 1",
                compared.ratio <= FUSION_RATIO and interval.high < 1,
            )
        )
    return checks


def check_controls(results: Sequence[Result], chance: Mapping[str, float]) -> list[Check]:
    """Check that spoiled videos do no better than the test set's chance level.

    A lower WER means that the model has its words from elsewhere; a higher one is no leak: it may babble on.
    """
    checks = []
    for row in results:
        if row.condition not in CONTROLS.values() or row.modality != "video" or row.test_set not in chance:
            continue
        wer, level = 100 * row.score.wer, 100 * chance[row.test_set]
        wanted = f"at least chance, {level:.1f} %, less {CHANCE_POINTS:g} points"
        holds = wer >= level - CHANCE_POINTS
        checks.append(Check(f"{row.test_set}: {row.condition}", f"{wer:.1f} %", wanted, holds))
    return checks


def _row(results: Sequence[Result], test_set: str, modality: str, condition: str) -> Result | None:
    return next((r for r in results if (r.test_set, r.modality, r.condition) == (test_set, modality, condition)), None)
