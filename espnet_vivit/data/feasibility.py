"""Find the utterances that CTC cannot align, from the numbers of labels and feature steps.

CTC (Graves et al., ICML 2006) emits at most one label per feature step and needs a blank between equal neighbours, so a
label sequence fits only if `T' >= L + (equal neighbours)`. An utterance that does not fit has infinite loss, which
`zero_infinity` turns into a silent zero: it would never be trained on. These are excluded before training, with a
count, and refused above a stated share.

The bound over the whole clip is weak, because a clip also holds silence. Where word times are known the same bound is
checked inside the spoken span, and the labels per step there are reported: of GRID's sentences in characters at 12.5 Hz
all fit their clips and almost none its spoken part. Those are not excluded (CTC may borrow steps from the silence), but
told. The command is `python -m espnet_vivit.bin.avsr_feasibility`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from espnet_vivit.data.data_dir import parse_word_times
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.units import FEATURE_RATES, VIDEO_RATE_HZ, tubelet_steps

SHOWN_IDS = 5
MAX_EXCLUDED = 0.05  # share of utterances that may be left out, unless told otherwise


@dataclass(frozen=True)
class UtteranceFit:
    """The labels of one utterance compared with its feature steps."""

    utt_id: str
    frames: int  # video frames at 25 per second
    steps: int  # T', feature steps of the clip
    labels: int  # L
    repeats: int  # labels equal to the one before: each needs a blank between
    span_steps: float | None  # feature steps from the start of the first word to the end of the last; None: unknown

    @property
    def needed(self) -> int:
        """The number of feature steps that CTC needs."""
        return self.labels + self.repeats

    @property
    def fits(self) -> bool:
        """Whether CTC has any alignment; an utterance without labels has nothing to learn from and counts as unfit."""
        return 0 < self.labels and self.needed <= self.steps

    @property
    def fits_span(self) -> bool | None:
        return None if self.span_steps is None else self.needed <= self.span_steps


@dataclass(frozen=True)
class FeasibilityReport:
    """The comparisons of all utterances of a set, in the order of their ids."""

    feature_rate: str
    utterances: tuple[UtteranceFit, ...]

    @property
    def excluded(self) -> tuple[UtteranceFit, ...]:
        return tuple(utt for utt in self.utterances if not utt.fits)

    @property
    def kept_ids(self) -> list[str]:
        return [utt.utt_id for utt in self.utterances if utt.fits]

    @property
    def excluded_share(self) -> float:
        return len(self.excluded) / len(self.utterances)

    @property
    def timed(self) -> tuple[UtteranceFit, ...]:
        """The utterances whose spoken span is known."""
        return tuple(utt for utt in self.utterances if utt.span_steps is not None)

    @property
    def crowded(self) -> tuple[UtteranceFit, ...]:
        """The utterances whose labels do not fit into the feature steps of their spoken span."""
        return tuple(utt for utt in self.timed if not utt.fits_span)

    def summary(self) -> str:
        """The printed summary: one line on the clips, one on the spoken spans, one per kind of exclusion."""
        total, rate_hz = len(self.utterances), steps_per_second(self.feature_rate)
        tightest = max(self.utterances, key=lambda utt: utt.needed / max(utt.steps, 1))
        lines = [
            f"CTC feasibility at {rate_hz:g} steps per second (feature_rate: {self.feature_rate}): "
            f"{total - len(self.excluded)} of {total} utterances fit; the tightest, {tightest.utt_id}, "
            f"needs {tightest.needed} of its {tightest.steps} steps"
        ]
        if self.timed:
            density = [utt.labels / utt.span_steps for utt in self.timed if utt.span_steps is not None]
            lines.append(
                f"within the spoken span: {len(self.timed) - len(self.crowded)} of {len(self.timed)} fit; "
                f"labels per step: median {median(density):.2f}, largest {max(density):.2f}"
            )
            if 2 * len(self.crowded) > len(self.timed):
                lines.append(f"warning: CTC has to borrow steps from the silence for most utterances. {self.way_out()}")
        else:
            lines.append("within the spoken span: not known without word times")
        unlabelled = [utt.utt_id for utt in self.excluded if utt.labels == 0]
        too_long = [utt.utt_id for utt in self.excluded if utt.labels > 0]
        if too_long:
            lines.append(f"excluded, more labels than steps: {_some(too_long)}")
        if unlabelled:
            lines.append(f"excluded, no labels at all: {_some(unlabelled)}")
        return "\n".join(lines)

    def way_out(self) -> str:
        """Suggest changes after which more utterances fit, with the number of exclusions that would remain."""
        ways = []
        if self.feature_rate == "tubelet":
            remaining = sum(utt.labels == 0 or utt.needed > utt.frames for utt in self.utterances)
            ways.append(f"set feature_rate: frame ({remaining} of {len(self.utterances)} excluded then)")
        ways.append("use longer tokens (--token_type word, or bpe with a larger --nbpe)")
        return "To make room, " + " or ".join(ways) + "."

    def require_share(self, max_excluded: float) -> None:
        """Raise DataError if more than the share `max_excluded` (0..1) of the utterances is excluded."""
        if not 0 <= max_excluded <= 1:
            raise ConfigError("max_excluded is a share", found=max_excluded, expected="0 to 1 (0.05 for 5 %)")
        if self.excluded_share > max_excluded or not self.kept_ids:
            raise DataError(
                f"{len(self.excluded)} of {len(self.utterances)} utterances cannot be aligned by CTC",
                found=f"{100 * self.excluded_share:.1f} % ({_some([utt.utt_id for utt in self.excluded])})",
                expected=f"at most {100 * max_excluded:g} %",
                fix=self.way_out(),
            )


def check_feasibility(
    labels: Mapping[str, Sequence[Hashable]],
    num_frames: Mapping[str, int],
    *,
    feature_rate: str,
    spans: Mapping[str, tuple[float, float]] | None = None,
) -> FeasibilityReport:
    """Compare each utterance's labels (token ids, or any comparable tokens) with its feature steps.

    `num_frames` counts video frames at 25 per second. `spans` holds (start, end) of what is spoken, in seconds, for as
    many utterances as have known word times. Raises DataError for ids that occur in only one of the first two.
    """
    steps_per_second(feature_rate)
    for what, ids in (
        ("utterances with labels but no number of frames", labels.keys() - num_frames.keys()),
        ("utterances with frames but no labels", num_frames.keys() - labels.keys()),
    ):
        if ids:
            raise DataError(f"{what}: {_some(sorted(ids))}", fix="Prepare the data directory again.")
    if not labels:
        raise DataError("no utterances to check", fix="Check that the transcript file is not empty.")
    return FeasibilityReport(
        feature_rate,
        tuple(_fit(utt, labels[utt], num_frames[utt], feature_rate, spans or {}) for utt in sorted(labels)),
    )


def steps_per_second(feature_rate: str) -> float:
    """The rate of feature steps: 25 for "frame", 12.5 for "tubelet"."""
    if feature_rate not in FEATURE_RATES:
        raise unknown_name("feature_rate", feature_rate, FEATURE_RATES)
    return VIDEO_RATE_HZ / FEATURE_RATES[feature_rate]


def _fit(
    utt_id: str,
    labels: Sequence[Hashable],
    frames: int,
    feature_rate: str,
    spans: Mapping[str, tuple[float, float]],
) -> UtteranceFit:
    if frames < 1:
        raise DataError(f"utterance {utt_id} has no video frames", found=frames, expected="at least 1")
    span_steps = None
    if utt_id in spans:
        start_s, end_s = spans[utt_id]
        if not 0 <= start_s < end_s:
            raise DataError(
                f"word times of {utt_id}", found=f"{start_s} to {end_s} s", expected="a start before the end"
            )
        span_steps = (end_s - start_s) * steps_per_second(feature_rate)
    return UtteranceFit(
        utt_id=utt_id,
        frames=frames,
        steps=frames if feature_rate == "frame" else tubelet_steps(frames),
        labels=len(labels),
        repeats=sum(first == second for first, second in pairwise(labels)),
        span_steps=span_steps,
    )


def _some(utt_ids: Sequence[str]) -> str:
    more = f" and {len(utt_ids) - SHOWN_IDS} more" if len(utt_ids) > SHOWN_IDS else ""
    return f"{len(utt_ids)} ({', '.join(utt_ids[:SHOWN_IDS])}{more})"


def read_num_frames(path: Path) -> dict[str, int]:
    """Read lines of `utterance number`."""
    numbers = {}
    for utt, number in read_transcripts(path).items():
        if not number.isdecimal():
            raise DataError(f"{path}: number of frames of {utt}", found=repr(number), expected="a whole number")
        numbers[utt] = int(number)
    return numbers


def read_spans(path: Path) -> dict[str, tuple[float, float]]:
    """Read `utterance -> (start of the first word, end of the last)` in seconds, of the utterances that have word
    times.
    """
    times = {utt: parse_word_times(line) for utt, line in read_transcripts(path).items() if line}
    return {utt: (words[0].start_s, words[-1].end_s) for utt, words in times.items()}
