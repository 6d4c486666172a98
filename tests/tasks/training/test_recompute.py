"""Gradient checkpointing changes memory and nothing else: gradients, BatchNorm statistics and random numbers agree."""

import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.training.recompute import check_tower_names, checkpoint_towers
from tests import tiny
from tests.model.test_precision import BATCH


def trained(names, **options):
    """(loss, gradients, buffers, blocks that ran twice) of one step."""
    torch.manual_seed(0)
    dropout = {"dropout_rate": 0.2}
    model = tiny.tiny_e2e("multimodal", encoder_conf=dropout, decoder_conf=dropout, **options).train()
    runs = {"encoder": 0, "audio_encoder": 0, "vision_encoder": 0, "decoder": 0}
    parts = {
        "encoder": model.encoder.encoders[0].norm_mha,
        "decoder": model.decoder.decoders[0].norm1,
        "audio_encoder": model.audio_encoder.trunk.layer1[0].bn1,
    }
    if options.get("vision_encoder") == "resnet":
        parts["vision_encoder"] = model.vision_encoder.trunk.layer1[0].bn1
    else:
        parts["vision_encoder"] = model.vision_encoder.vivit.layers[0].mlp.fc1

    def count(name):
        def hook(module, inputs):
            runs[name] += 1

        return hook

    for name, part in parts.items():
        part.register_forward_pre_hook(count(name))
    checkpoint_towers(model.towers(), names)
    torch.manual_seed(1)
    loss, _, _ = model(**BATCH)
    loss.sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return loss.detach(), gradients, dict(model.named_buffers()), runs


RESNET = {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 2}}


@pytest.mark.parametrize("vision", [{}, RESNET], ids=["vivit", "resnet"])
def test_the_same_step_with_each_block_run_twice(vision):
    names = ["vision_encoder", "audio_encoder", "encoder", "decoder"]
    plain, kept = trained([], **vision), trained(names, **vision)
    assert min(plain[3].values()) >= 1 and kept[3] == {name: 2 * runs for name, runs in plain[3].items()}
    torch.testing.assert_close(kept[0], plain[0])
    torch.testing.assert_close(kept[1], plain[1])
    torch.testing.assert_close(kept[2], plain[2], rtol=0, atol=1e-7)
    assert any("num_batches_tracked" in name and count == 1 for name, count in kept[2].items())


def test_the_second_run_would_count_twice_without_its_guard(monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr("espnet_vivit.tasks.training.recompute.statistics_kept", lambda module: nullcontext())
    buffers = trained(["encoder"])[2]
    assert buffers["encoder.encoders.0.conv_module.norm.num_batches_tracked"] == 2


def test_nothing_is_computed_twice_in_evaluation():
    model = tiny.tiny_e2e("multimodal").eval()
    before = model(**BATCH)[0]
    assert checkpoint_towers(model.towers(), ["encoder"]) == 2
    assert torch.equal(model(**BATCH)[0], before)
    assert sorted(model.state_dict()) == sorted(tiny.tiny_e2e("multimodal").state_dict())


@pytest.mark.parametrize(
    ("names", "streams", "options", "message"),
    [
        (["encodr"], "video", {}, "Did you mean 'encoder'"),
        (["audio_encoder"], "video", {}, "names audio_encoder, which the model does not have"),
        ("encoder", "video", {}, r"a list such as \[vision_encoder\]"),
        (
            ["vision_encoder"],
            "video",
            {"vision_encoder": "linear", "vision_encoder_conf": {"image_size": 16}},
            "gradient_checkpointing of vision_encoder: found Linear",
        ),
    ],
)
def test_towers_that_cannot_are_named(names, streams, options, message):
    with pytest.raises(ConfigError, match=message):
        checkpoint_towers(tiny.tiny_e2e(streams, **options).towers(), names)


def test_left_out_it_is_off():
    assert check_tower_names(None) == []
