"""The live benchmark's bookkeeping: when a word was shown and final, and which were revised."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from espnet_vivit.data.word_times import WordTime

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("live")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("live", None)


class Scripted:
    """A recognizer that says "lay", then "bin red" instead; "bin" is settled at once, "red" when the clip ends."""

    def __init__(self):
        self.pushed = 0

    def push(self, frames, samples):
        self.pushed += len(frames)
        words = ((), ("lay",), ("bin", "red"))[min(2, self.pushed // 10)]
        return SimpleNamespace(finished=(), words=words, settled=len(words) // 2)

    def finish(self):
        words = [SimpleNamespace(text="bin"), SimpleNamespace(text="red")]
        return SimpleNamespace(finished=(SimpleNamespace(words=words),), words=(), settled=0)


def test_delays_and_revisions_are_counted(benchmark):
    reading = benchmark.Reading()
    known = [WordTime(0.1, 0.5, "bin"), WordTime(0.5, 0.7, "red"), WordTime(0.7, 0.9, "at")]
    benchmark.read(Scripted(), "a", np.zeros((25, 96, 96), np.uint8), None, known, reading)
    assert reading.texts == {"a": "bin red"} and reading.video_s == 1.0
    assert reading.first_s == pytest.approx([0.8 - 0.5, 0.8 - 0.7], abs=0.01)
    assert reading.final_s == pytest.approx([0.8 - 0.5, 1.0 - 0.7], abs=0.01)
    assert (reading.shown, reading.revised) == (3, 1)
    assert reading.row("160 ms", 0.5, 0.2).startswith("| 160 ms | 50.0 % | 0.20 | 0.2")
