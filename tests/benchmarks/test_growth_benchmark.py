"""Growth: the power is found again, and the picture and the table are made of what was measured."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import growth

    yield growth
    for name in ("growth", "search"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_power_of_what_grows_so_is_found(benchmark, power):
    sizes = [10, 20, 50, 100]
    assert benchmark.power(sizes, [3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_lists_take_memory_in_proportion_and_the_picture_shows_it(benchmark, tmp_path):
    lists = next(subject for subject in benchmark.subjects(tmp_path) if subject.unit == "lines")
    rows = [(size, *benchmark.measure(lists, size)) for size in (500, 1000, 2000)]
    assert 0.7 < benchmark.power([row[0] for row in rows], [row[2] for row in rows]) < 1.3
    assert benchmark.row(lists, rows).count("|") == 8
    benchmark.draw({lists: rows, benchmark.Subject("other", "things", (1, 2), lists.prepare): rows}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
