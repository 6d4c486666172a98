"""The table of a training step: what is made slower is what gets slower, forward and backward."""

import sys
import time
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
DELAY_S = 0.2


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import step

    monkeypatch.setattr(step, "clock", time.perf_counter)  # a delay takes no processor time
    yield step
    sys.modules.pop("step")


@pytest.fixture
def config(tmp_path):
    sizes = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}
    options = {
        "modality": "video",
        "vision_encoder": "linear",
        "encoder_conf": {"output_size": 16, **sizes},
        "decoder_conf": sizes,
        "model_conf": {"frame_loss_weight": 1.0},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(options))
    return tmp_path / "train.yaml"


@pytest.mark.parametrize(("slow", "part"), [("fusion", "TOWERS"), ("encoder", "ENCODER"), ("ctc", "LOSSES")])
@pytest.mark.parametrize("when", ["forward", "backward"])
def test_a_delay_is_counted_where_it_is(benchmark, config, monkeypatch, slow, part, when):
    watch = benchmark.watch

    def delayed(model):
        module = getattr(model, slow)
        if when == "forward":
            module.register_forward_pre_hook(lambda *_: time.sleep(DELAY_S))
        else:
            first = next(module.parameters())
            first.register_hook(lambda gradient: time.sleep(DELAY_S))
        return watch(model)

    monkeypatch.setattr(benchmark, "watch", delayed)
    found = benchmark.measure(config, batch=2, frames=8, steps=1)
    expected = getattr(benchmark, part)
    assert found[expected] > DELAY_S
    assert all(seconds < DELAY_S for name, seconds in found.items() if name != expected)
    assert all(seconds > 0 for seconds in found.values())
