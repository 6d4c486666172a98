"""Read how long decoding took: the file `timing` of a decode folder holds the lines `spent_s S` and `clip_s S`.

Spent is the model's time, from the streams of a clip to its n best, without loading model and data; their quotient is
the real-time factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.errors import DataError

TIMING = "timing"


@dataclass(frozen=True)
class Timing:
    """The seconds spent computing and the seconds of the recordings."""

    spent_s: float
    clip_s: float

    @property
    def real_time_factor(self) -> float:
        return self.spent_s / self.clip_s


def write_timing(path: Path, spent_s: float, clip_s: float) -> None:
    Path(path).write_text(f"spent_s {spent_s:.3f}\nclip_s {clip_s:.3f}\n", encoding="utf-8")


def read_timing(path: Path) -> Timing | None:
    """Read a timing file; None if there is none, as in older decode folders. Raises DataError for a malformed one."""
    if not Path(path).is_file():
        return None
    text = Path(path).read_text(encoding="utf-8")
    try:
        fields = {name: float(value) for name, value in (line.split() for line in text.splitlines())}
        timing = Timing(fields["spent_s"], fields["clip_s"])
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is no timing of a decoding", found=repr(text[:80])) from error
    if timing.clip_s <= 0:
        raise DataError(f"{path} times no recording", found=f"clip_s {timing.clip_s}")
    return timing


def join_timings(paths: Sequence[Path]) -> Timing | None:
    """Add up the timings of the parts of one job; None unless each part has one."""
    timings = [timing for path in paths if (timing := read_timing(path)) is not None]
    if not timings or len(timings) < len(paths):
        return None
    return Timing(sum(timing.spent_s for timing in timings), sum(timing.clip_s for timing in timings))
