"""The search benchmark on small models: both searches find the same tokens, and a row says how fast each was."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("search")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("search", None)


@pytest.mark.parametrize("lm_layers", [0, 1])
def test_both_searches_find_the_same_and_the_ratio_of_their_times_is_given(benchmark, lm_layers):
    case = benchmark.Case(
        width=32, heads=2, linear_units=32, vocabulary=20, encoder_steps=12, beam_size=4, tokens=6, lm_layers=lm_layers
    )
    row, ratio, whole = benchmark.compare(case, rounds=1)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-1] == "4 of 4"
    assert float(cells[-2]) < 1e-4
    assert ratio > 0 and whole > 0
