"""amp_dtype: the towers compute in it, losses in float32, and a device that only emulates it is refused."""

import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.precision import check_amp_dtype, precision_for_inference
from tests import tiny

BATCH = {
    "video": torch.randint(0, 256, (2, 9, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    "video_lengths": torch.tensor([9, 7]),
    "speech": torch.randn(2, 9 * 640, generator=torch.Generator().manual_seed(0)),
    "speech_lengths": torch.tensor([9 * 640, 7 * 640]),
    "text": torch.tensor([[1, 2], [3, -1]]),
    "text_lengths": torch.tensor([2, 1]),
}
CPU = torch.device("cpu")


def model(amp_dtype, **options):
    torch.manual_seed(0)
    return tiny.tiny_e2e("multimodal", amp_dtype=amp_dtype, **options)


def test_bfloat16_reaches_the_towers_and_leaves_losses_and_states_in_float32():
    seen = {}

    def note(name):
        def hook(module, inputs, output):
            seen[name] = output.dtype

        return hook

    def note_scores(module, inputs):
        seen["loss"] = inputs[0].dtype

    mixed = model("bfloat16")
    mixed.vision_encoder.vivit.layers[0].mlp.fc1.register_forward_hook(note("vision"))
    mixed.audio_encoder.trunk.conv1.register_forward_hook(note("audio"))
    mixed.encoder.encoders[0].self_attn.linear_q.register_forward_hook(note("encoder"))
    mixed.decoder.decoders[0].feed_forward.w_1.register_forward_hook(note("decoder"))
    mixed.ctc.ctc_lo.register_forward_hook(note("ctc"))
    mixed.criterion_att.criterion.register_forward_pre_hook(note_scores)
    loss, _, _ = mixed.train()(**BATCH)
    towers = {name: seen[name] for name in ("vision", "audio", "encoder", "decoder")}
    assert towers == dict.fromkeys(towers, torch.bfloat16)
    assert seen["ctc"] == seen["loss"] == loss.dtype == torch.float32
    loss.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in mixed.parameters())


def test_bfloat16_is_near_float32_and_none_is_float32():
    exact, none, mixed = (model(name).eval() for name in (None, "none", "bfloat16"))
    losses = [one(**BATCH)[0] for one in (exact, none, mixed)]
    assert torch.equal(losses[0], losses[1])
    assert losses[2] != losses[0]
    torch.testing.assert_close(losses[2], losses[0], rtol=0.03, atol=0)
    streams = {name: value for name, value in BATCH.items() if "text" not in name}
    states, _ = mixed.encode(**streams)
    assert states.dtype == torch.float32 and not torch.equal(states, exact.encode(**streams)[0])


def test_intermediate_ctc_works_in_bfloat16():
    conf = {"interctc_layer_idx": [1], "interctc_use_conditioning": True}
    mixed = model("bfloat16", encoder_conf=conf, interctc_weight=0.3).train()
    loss, stats, _ = mixed(**BATCH)
    assert torch.isfinite(loss) and stats["loss_interctc"].dtype == torch.float32


def test_float16_on_the_cpu_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"the CPU PyTorch emulates it.*Use bfloat16"):
        model("float16")(**BATCH)
    with pytest.raises(ConfigError, match="Did you mean 'bfloat16'"):
        model("bfloat61")


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_on_a_gpu_that_emulates_it_is_refused(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Turing")
    cuda = torch.device("cuda")
    check_amp_dtype("float16", cuda)
    if native:
        check_amp_dtype("bfloat16", cuda)
    else:
        with pytest.raises(ConfigError, match=r"only emulated.*Turing, compute capability 7\.5.*Use float16"):
            check_amp_dtype("bfloat16", cuda)


def test_a_model_trained_in_float16_decodes_on_the_cpu_in_float32(caplog):
    assert precision_for_inference("float16", CPU).dtype is None
    assert "computing in float32" in caplog.text
    assert precision_for_inference("bfloat16", CPU).dtype is torch.bfloat16
    assert precision_for_inference(None, CPU).dtype is None
