"""`log.jsonl` in the experiment's folder: a line per finished epoch, for scripts and people, always.

    {"epoch": 3, "ended": "2030-01-01T10:00:00+00:00", "train": {"loss": 41.2, "acc": 0.31, …}, "valid": {…, "wer_ctc":
     0.87}, "seconds": {"train": 61.0, "valid": 4.2}, "frames": 51200, "frames_per_s": 839.3, "peak_memory_bytes": …,
     "warnings": []}

`train` and `valid` are ESPnet's own means. A value that is not finite is null. `frames` are those trained on, without
padding, `frames_per_s` by the training's seconds. Resuming after epoch N drops the lines beyond N, and one that a kill
has cut off.
"""

import datetime
import json
import math
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from espnet_vivit.base.whole_file import make_folder, write_whole

NAME = "log.jsonl"


class RunLog:
    """`add(…)` writes a line and syncs; `entries` are those of the finished epochs, as dicts."""

    def __init__(self, folder: Path, *, finished_epochs: int):
        self.path = Path(folder) / NAME
        self.entries = [entry for entry in read_log(self.path) if entry["epoch"] <= finished_epochs]
        make_folder(self.path.parent)
        write_whole(self.path, "".join(_line(entry) for entry in self.entries))

    def add(
        self,
        *,
        epoch: int,
        train: Mapping[str, float],
        valid: Mapping[str, float],
        train_s: float,
        valid_s: float,
        frames: int,
        warnings: Sequence[str],
    ) -> None:
        entry = {
            "epoch": epoch,
            "ended": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "train": _finite(train),
            "valid": _finite(valid),
            "seconds": {"train": round(train_s, 3), "valid": round(valid_s, 3)},
            "frames": frames,
            "frames_per_s": round(frames / train_s, 2),
            "peak_memory_bytes": peak_memory_bytes(),
            "warnings": list(warnings),
        }
        self.entries.append(entry)
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write(_line(entry))
            lines.flush()
            os.fsync(lines.fileno())

    def values(self, phase: str, name: str) -> list[float]:
        """Of every epoch that has it, in order."""
        return [value for entry in self.entries if (value := entry[phase].get(name)) is not None]


def read_log(path: Path) -> list[dict]:
    """The entries of a `log.jsonl`; none if it does not exist. A last line that was cut off is left out."""
    if not Path(path).is_file():
        return []
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last line feed is not finished


def peak_memory_bytes() -> int:
    """Since the start: of the GPU what tensors took, where one is in use; else of this process in main memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def _line(entry: Mapping) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
