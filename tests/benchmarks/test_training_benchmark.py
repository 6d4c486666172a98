"""What the training benchmark measures with: memory of what exists and of a step, rows, a line of the table."""

import importlib
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = {
    "vivit": {
        "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
        "pixels": 32,
    },
    "resnet": {"channels": 2, "pixels": 32},
    "conformer": {"output_size": 16, "attention_heads": 2, "linear_units": 32, "num_blocks": 2},
    "decoder": {"num_blocks": 1},
    "batch": (1, 32),
}


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("training")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("training", None)


def test_each_tower_is_measured_in_each_way_dtype_and_with_and_without_recomputation(benchmark):
    vivit, resnet = (list(benchmark.rows(tower, list(benchmark.WAYS))) for tower in ("vivit", "resnet"))
    assert len({tuple(row.values()) for row in vivit}) == 4 * 2 * 2 and len(resnet) == 3 * 2 * 2
    assert vivit[0] == {"tower": "vivit", "way": "full", "dtype": "fp32", "recompute": False}


def test_what_is_held_is_what_was_made(benchmark):
    before = benchmark.held_bytes()
    tensors = [torch.zeros(1000), torch.zeros(2000)[:10], torch.nn.Parameter(torch.zeros(500, dtype=torch.bfloat16))]
    assert benchmark.held_bytes() - before == 4 * 1000 + 4 * 2000 + 2 * 500
    del tensors
    assert benchmark.held_bytes() == before


@pytest.mark.slow
def test_a_row_of_each_way_trains_what_it_says_and_full_training_takes_the_most(benchmark, tmp_path, monkeypatch):
    pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")
    monkeypatch.setattr(benchmark, "REDUCED", SMALL)
    benchmark.save_tower(SMALL["vivit"], str(tmp_path))
    options = Namespace(device="cpu", size="reduced", batch=(1, 32), threads=torch.get_num_threads(), steps=1)
    row = {"tower": "vivit", "dtype": "fp32", "recompute": False}
    found = {way: benchmark.measure(options, str(tmp_path), way=way, **row) for way in benchmark.WAYS}
    trained = {way: values["trainable"] for way, values in found.items()}
    assert trained["frozen"] < trained["lora"] == trained["qlora"] < trained["full"]
    weights = 4 * sum(p.numel() for p in benchmark.build(SMALL, "vivit", "full", "fp32", str(tmp_path)).parameters())
    assert found["full"]["peak"] > 4 * weights  # weights, gradients, two moments
    assert all(values["seconds"] > 0 for values in found.values())


def test_a_line_has_the_ratios_to_full_fp32_and_to_fp32(benchmark):
    row = {"tower": "vivit", "way": "lora", "dtype": "bf16", "recompute": True}
    found = {"seconds": 0.5, "peak": 3 * 2**20, "trainable": 2**20, "flops": 2e12}
    line = benchmark.line(row, found, 96, 12 * 2**20, 1.0, 8.0)
    assert line == "| vivit | lora | bf16 | yes | 0.500 | 2.00 | 192 | 3 | 25% | 1.0 | 50% |"
    assert benchmark.line(row, found, 96, None, 1.0, None).endswith("| 3 | – | 1.0 | – |")
    assert benchmark.line(row, {"error": "RuntimeError: no"}, 96, None, None, None).endswith("| RuntimeError: no |")
