"""What the frontend's benchmark measures with, against PyTorch's counters, and the benchmark itself, run small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import PIXELS, WINDOW, tiny_vivit

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import measure

    return measure


@pytest.fixture
def stock_vivit(measure):
    import stock_vivit

    return stock_vivit


def test_peak_memory_is_what_lives_at_the_same_time(measure):
    def run():
        kept = torch.empty(1000)
        for _ in range(3):
            torch.empty(5000)  # gone before the next one comes
        return kept

    held, result = measure.watched(run)
    assert held == 4 * 6000 and len(result) == 1000
    assert measure.peak_bytes(run) == held


def test_ratios_are_taken_within_a_round(measure):
    slow_machine_from_the_second_round_on = [1.0, 10.0, 10.0], [0.5, 5.0, 5.0]
    assert measure.paired_ratio(*slow_machine_from_the_second_round_on) == 2.0


def test_each_row_runs_once_more_than_it_is_counted(measure):
    calls = []
    times = measure.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {label: len(seconds) for label, seconds in times.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize("packed", [False, True])
def test_the_matrix_products_of_the_peak_are_counted_right(measure, packed):
    run, flops = measure.matmul(torch.float32, packed=packed, repeats=2)
    m, k, n = measure.PEAK_SHAPE
    assert flops == 2 * 2 * m * k * n
    assert [tuple(product.shape) for product in run()] == [(m, n)] * 2


def test_the_work_of_a_window_is_what_pytorch_counts(stock_vivit):
    encoder = tiny_vivit(frame_adjust="window", window_overlap=0, attn_implementation="eager")
    clip = torch.zeros(1, WINDOW, PIXELS, PIXELS, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(clip)
    assert stock_vivit.window_flops(encoder.vivit.config) == counter.get_total_flops()


def test_the_library_gives_the_same_steps(stock_vivit):
    encoder = tiny_vivit(frame_adjust="window", window_overlap=0)
    clip = torch.randint(0, 256, (2, WINDOW, PIXELS, PIXELS), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(stock_vivit.library_steps(encoder, clip)(), encoder(clip), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_table_has_every_row_and_equal_features():
    command = [sys.executable, FOLDER / "frontend.py", "--size", "ti", "--rounds", "1", "--no-compile"]
    done = subprocess.run([*command, "--only", "window", "resnet"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (vivit_encoder.*?) \| .*? \| .*? \| (.*?) \|", done.stdout, flags=re.MULTILINE))
    kinds = ("", ", packed", ", bfloat16", ", bfloat16, packed", ", int8, packed")
    assert list(rows) == [f"vivit_encoder{kind}" for kind in kinds]
    assert 0 < float(rows["vivit_encoder, int8, packed"]) <= 0.2
    assert all(float(rows[f"vivit_encoder{kind}"]) <= 5e-5 for kind in ("", ", packed"))
    assert all(float(rows[name].removesuffix(" relative")) <= 1.5e-2 for name in rows if "bfloat16" in name)
    costs = re.findall(r"^\| (\S*ViT\S* .*?) \| .*? \| (.*?) \|", done.stdout, flags=re.MULTILINE)
    assert any(float(cost) <= 1.5 for _, cost in costs), "no preset for training from scratch costs what ResNet18 does"
