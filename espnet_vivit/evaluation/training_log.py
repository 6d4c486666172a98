"""Read the loss, accuracy and time of every epoch from an ESPnet experiment folder.

ESPnet's trainer keeps these numbers in `checkpoint.pth` (under "reporter", full precision, every epoch since the
first start, resumed runs included). Where that file is gone, cut off or not loadable they are read from the lines
`3epoch results: ...` of train.log (three digits). The checkpoint is read with `weights_only=True`: a folder that
somebody else made cannot run code here.
"""

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.errors import DataError, WeightsError

RESULTS = re.compile(r"(\d+)epoch results: (.*)")
PHASE = re.compile(r"\[(\w+)\] ([^\[]*)")
VALUE = re.compile(r"(\w+)=(-?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))(?=,|\s*$)")
TIME = re.compile(r"\btime=([^=]*?)(?:, \w+=|,?\s*$)")
UNIT_S = {"week": 604_800, "day": 86_400, "hour": 3600, "minute": 60, "second": 1, "millisecond": 0.001}


@dataclass(frozen=True)
class TrainingHistory:
    """The reported numbers as `phases[phase][name][epoch]`: phase is "train" or "valid", epochs count from 1."""

    phases: dict[str, dict[str, dict[int, float]]]
    seconds: float  # training and validation of all epochs, without start-up and saving
    source: Path  # the file that it was read from

    @property
    def epochs(self) -> int:
        """The last epoch that was finished."""
        return max(epoch for names in self.phases.values() for values in names.values() for epoch in values)

    def curve(self, phase: str, name: str) -> dict[int, float]:
        """Collect `epoch -> value`; empty if this number was never reported."""
        return self.phases.get(phase, {}).get(name, {})


def read_training_history(experiment: str | Path) -> TrainingHistory:
    """Read `experiment`/checkpoint.pth, or else train.log. Raises DataError if neither holds a finished epoch."""
    experiment = Path(experiment)
    checkpoint, log = experiment / "checkpoint.pth", experiment / "train.log"
    reasons = []
    for path, read in ((checkpoint, _stats_of_checkpoint), (log, _stats_of_log)):
        if not path.is_file():
            reasons.append(f"no {path.name}")
            continue
        try:
            stats = read(path)
        except (WeightsError, KeyError, TypeError, IndexError, OSError) as error:  # cut off, or another kind of file
            reasons.append(f"{path.name} cannot be read ({str(error).splitlines()[0]})")
            continue
        if stats:
            return _history(stats, path)
        reasons.append(f"no finished epoch in {path.name}")
    raise DataError(f"no training history in {experiment}", found=", ".join(reasons), fix="Train first (stage 11).")


def _history(stats: dict[int, dict[str, dict]], source: Path) -> TrainingHistory:
    phases: dict[str, dict[str, dict[int, float]]] = {}
    seconds = 0.0
    for epoch in sorted(stats):
        for phase, values in stats[epoch].items():
            for name, value in values.items():
                if isinstance(value, datetime.timedelta):
                    seconds += value.total_seconds()
                elif isinstance(value, dict):  # how ESPnet 202609 and later store a timedelta
                    seconds += value["__timedelta_seconds__"]
                elif name != "total_count":
                    phases.setdefault(phase, {}).setdefault(name, {})[epoch] = float(value)
    return TrainingHistory(phases, seconds, source)


def _stats_of_checkpoint(path: Path) -> dict[int, dict[str, dict]]:
    from espnet_vivit.base.torch_file import read_torch_file

    return read_torch_file(path, mmap=True)["reporter"]["stats"]


def _stats_of_log(path: Path) -> dict[int, dict[str, dict]]:
    stats: dict[int, dict[str, dict]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not (match := RESULTS.search(line)):
            continue
        epoch = int(match[1])
        # a log that was appended to by a new start: what it had from this epoch on is void
        stats = {earlier: values for earlier, values in stats.items() if earlier < epoch}
        stats[epoch] = {phase: _values_of_log(text) for phase, text in PHASE.findall(match[2])}
    return stats


def _values_of_log(text: str) -> dict[str, float | datetime.timedelta]:
    values: dict[str, float | datetime.timedelta] = {name: float(value) for name, value in VALUE.findall(text)}
    if match := TIME.search(text):
        values["time"] = datetime.timedelta(seconds=_seconds(match[1]))
    return values


def _seconds(text: str) -> float:
    """Convert `1 hour, 2 minutes and 3.5 seconds` (humanfriendly's format) to seconds."""
    return sum(float(number) * UNIT_S[unit] for number, unit in re.findall(r"([\d.]+) (\w+?)s?\b", text))
