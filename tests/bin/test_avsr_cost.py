"""Counted work against what the sizes of the layers say."""

import json

import pytest
import torch

from espnet_vivit.bin import avsr_cost
from espnet_vivit.e2e_asr_conformer import E2E

D, LAYERS, PATCH = 32, 2, 16  # of the small ViViT below
VIVIT = {
    "pretrained": False,
    "image_size": 32,
    "num_frames": 4,
    "frame_adjust": "window",
    "window_overlap": 0,
    "config": {
        "tubelet_size": [2, PATCH, PATCH],
        "hidden_size": D,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * D,
    },
}
CONFORMER = {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 1, "cnn_module_kernel": 7}


@pytest.fixture(scope="module")
def model() -> E2E:
    torch.manual_seed(0)
    return E2E(10, vision_encoder="vivit", vision_encoder_conf=VIVIT, modality="video", encoder_conf=CONFORMER).eval()


def vivit_macs_per_frame() -> float:
    """Multiply-accumulates of windows of 4 frames, 2 tubelets of 4 patches each, and the class token, per frame."""
    tokens, inner = 2 * 4 + 1, 2 * D
    layer = tokens * (4 * D * D + 2 * D * inner) + 2 * tokens * tokens * D
    embedding = (tokens - 1) * 2 * PATCH * PATCH * D  # gray: a third of RGB
    return (LAYERS * layer + embedding) / 4


def test_a_vivit_costs_what_its_layers_say(model):
    found = avsr_cost.cost_of(model, video_size=(32, 32))
    assert found["parameters"]["all"] == sum(p.numel() for p in model.parameters())
    assert found["parameters"]["vision_encoder"] == sum(p.numel() for p in model.vision_encoder.parameters())
    measured, known = 1e9 * found["gmacs_per_frame"]["vision_encoder"], vivit_macs_per_frame()
    upsample = found["parameters"]["vision_encoder"]  # projections to the frame rate: less than one use of each weight
    assert known <= measured <= known + upsample
    parts = [work for name, work in found["gmacs_per_frame"].items() if name != "all"]
    assert set(found["gmacs_per_frame"]) == {"all", "vision_encoder", "encoder"}
    assert sum(parts) <= found["gmacs_per_frame"]["all"] <= 1.1 * sum(parts)


def test_the_counts_are_written_and_printed(model, tmp_path, monkeypatch, capsys):
    counts = avsr_cost.cost_of(model, video_size=(32, 32))
    monkeypatch.setattr(avsr_cost, "measure", lambda model_file, config: counts)
    avsr_cost.main(["--asr_model_file", "exp/model.pth", "--out", str(tmp_path / "cost.json")])
    assert json.loads((tmp_path / "cost.json").read_text()) == counts
    assert f"all: {counts['parameters']['all']:,} parameters, " in capsys.readouterr().out
