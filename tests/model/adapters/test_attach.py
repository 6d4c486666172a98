"""Adapters start as nothing, train, and leave the weights below them alone. Quantisation is judged by bitsandbytes."""

import sys

import pytest
import torch
from espnet2.torch_utils.load_pretrained_model import load_pretrained_model

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.model.adapters.attach import base_of
from tests import tiny
from tests.model.adapters.adapted import BATCH, STREAM, model_on, qlora_or_skip, save_tower, step

LORA = {"type": "lora", "r": 4}
QLORA = {"type": "qlora", "r": 4}
LINEAR = {"image_size": 16, "output_dim": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tower(tmp_path_factory.mktemp("tower"))


def encoded(model):
    with torch.no_grad():
        return model.eval().encode(**STREAM)[0]


def base_weights(tower) -> dict[str, torch.Tensor]:
    base = base_of(tower)
    tensors = [*base.named_parameters(), *base.named_buffers()]
    return {name: value.detach().clone() for name, value in tensors if "lora_" not in name}


def test_lora_changes_nothing_before_the_first_step_and_something_after_it(folder):
    plain, adapted = model_on(folder), model_on(folder, tower_adapters={"vision_encoder": LORA})
    before = encoded(adapted)
    torch.testing.assert_close(before, encoded(plain), rtol=0, atol=1e-6)
    tower = adapted.vision_encoder
    seen = tower(**dict(zip(("video", "lengths"), STREAM.values(), strict=True)))[0]
    step(adapted).eval()
    changed = tower(**dict(zip(("video", "lengths"), STREAM.values(), strict=True)))[0]
    assert (changed - seen).abs().max() > 1e-4
    for name, parameter in adapted.named_parameters():
        if "lora_" in name and ".layers.1." not in name:
            assert parameter.grad is not None, name


@pytest.mark.parametrize("double_quant", [True, False, None], ids=["twice", "once", "not said: twice"])
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_qlora_starts_as_the_tower_whose_weights_are_rounded_to_4_bits(folder, quant_type, double_quant):
    bitsandbytes = qlora_or_skip()
    config = {**QLORA, "quant_type": quant_type, "double_quant": double_quant}
    adapted, rounded = model_on(folder, tower_adapters={"vision_encoder": config}), model_on(folder)
    for layer in rounded.vision_encoder.vivit.modules():
        if isinstance(layer, torch.nn.Linear):
            options = {"quant_type": quant_type, "compress_statistics": double_quant is not False}
            bits, state = bitsandbytes.functional.quantize_4bit(layer.weight.data, **options)
            layer.weight.data = bitsandbytes.functional.dequantize_4bit(bits, state)
    torch.testing.assert_close(encoded(adapted), encoded(rounded), rtol=0, atol=1e-5)
    assert (encoded(adapted) - encoded(model_on(folder))).abs().max() > 1e-3
    types = {type(layer).__name__ for layer in adapted.vision_encoder.vivit.modules()}
    assert "Linear4bit" in types and torch.nn.Linear.__name__ in types  # the adapters themselves are plain


@pytest.mark.parametrize("config", [LORA, QLORA], ids=["lora", "qlora"])
@pytest.mark.parametrize("amp_dtype", [None, "bfloat16"])
def test_training_leaves_the_base_bit_identical_and_moves_adapters_and_the_rest(folder, config, amp_dtype):
    if config is QLORA:
        qlora_or_skip()
    model = model_on(folder, tower_adapters={"vision_encoder": config}, amp_dtype=amp_dtype)
    base = base_weights(model.vision_encoder)
    others = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    step(model, steps=3)
    encoded(model)  # evaluation too: bitsandbytes repacks weights there, unless told not to
    for name, value in base_weights(model.vision_encoder).items():
        assert torch.equal(value, base[name]), name
    moved = {name for name, p in model.named_parameters() if p.requires_grad and not torch.equal(p, others[name])}
    assert {name for name in others if "lora_" in name} <= moved
    assert any(name.startswith("decoder.") for name in moved) and any(name.startswith("ctc.") for name in moved)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(name.startswith("vision_encoder.vivit.") and "lora_" not in name for name in frozen)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("config", [LORA, QLORA], ids=["lora", "qlora"])
def test_adapters_train_under_ddp_without_unused_parameters(folder, config, tmp_path):
    """In a process group of this process alone DDP still sends all weights around, 4-bit ones too, and counts."""
    if config is QLORA:
        qlora_or_skip()
    model = model_on(folder, tower_adapters={"vision_encoder": config}).train()
    base = base_weights(model.vision_encoder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(2):  # the second forward raises if a parameter of the first had no gradient
            optimizer.zero_grad()
            parallel(**BATCH)[0].sum().backward()
            optimizer.step()
    finally:
        torch.distributed.destroy_process_group()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)
    for name, value in base_weights(model.vision_encoder).items():
        assert torch.equal(value, base[name]), name


def test_what_stands_behind_vivit_keeps_training(folder):
    conf = {"vision_encoder_conf": {**model_conf(folder), "output_dim": 8}}
    torch.manual_seed(0)
    model = step(tiny.tiny_e2e("video", **conf, tower_adapters={"vision_encoder": LORA}))
    assert model.vision_encoder.projection.weight.grad.abs().sum() > 0


def model_conf(folder):
    return {"model_name": str(folder), "num_frames": tiny.WINDOW}


def test_gradient_checkpointing_gives_the_adapters_the_same_gradients(folder):
    gradients = []
    for checkpointing in (False, True):
        conf = {**model_conf(folder), "gradient_checkpointing": checkpointing}
        torch.manual_seed(0)
        model = tiny.tiny_e2e("video", vision_encoder_conf=conf, tower_adapters={"vision_encoder": LORA})
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.01)
        model.train()(**BATCH)[0].sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if "lora_" in name})
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients[1].values())
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("tower", "targets", "expected"),
    [
        ("encoder", None, "encoders.0.self_attn.linear_q"),
        ("decoder", None, "decoders.0.src_attn.linear_v"),
        ("audio_encoder", ["conv1", "conv2"], "trunk.layer1.0.conv1"),
    ],
)
def test_every_tower_takes_weights_of_init_param_and_adapters_and_keeps_its_statistics(
    tmp_path, tower, targets, expected
):
    audio = {"speech": torch.randn(2, 6400), "speech_lengths": torch.tensor([6400, 5000])}
    batch = {**audio, "text": BATCH["text"], "text_lengths": BATCH["text_lengths"]}
    torch.manual_seed(0)
    plain = tiny.tiny_e2e("audio")
    torch.manual_seed(0)
    model = tiny.tiny_e2e("audio", tower_adapters={tower: {**LORA, "target_modules": targets}})
    mine = model.towers()[tower]
    assert f"{expected}.lora_A.default.weight" in dict(mine.named_parameters())
    state = {name: value for name, value in plain.state_dict().items() if name not in model.state_dict()}
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    load_pretrained_model(init_param=str(tmp_path / "plain.pth"), model=model, ignore_init_mismatch=False)
    assert state, "the adapted layers are named otherwise, so that this shows something"
    torch.testing.assert_close(model.eval().encode(**audio)[0], plain.eval().encode(**audio)[0], rtol=0, atol=1e-6)
    base = base_weights(mine)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()(**batch)[0].sum().backward()
    optimizer.step()
    for name, value in base_weights(mine).items():
        assert torch.equal(value, base[name]), name
    assert not torch.equal(model.eval().encode(**audio)[0], plain.encode(**audio)[0]) or tower == "decoder"


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        (
            {"vision_encoder": {**LORA, "target_modules": ["q_proj", "query"]}},
            "name no layer of it: found 'query'; expected its layers are called fc1, fc2, k_proj, o_proj, q_proj, v_pr",
        ),
        ({"vision_encoder": {**LORA, "target_modules": ["projection"]}}, "name no layer of it: found 'projection'"),
        ({"audio_encoder": LORA}, "names audio_encoder, which the model does not have"),
        ({"encoder": QLORA}, "could not be found again for decoding.*Use type: lora for encoder"),
    ],
)
def test_what_cannot_be_adapted_is_refused(folder, adapters, message):
    with pytest.raises(ConfigError, match=message):
        model_on(folder, tower_adapters=adapters)


@pytest.mark.parametrize(
    ("streams", "tower", "options", "names"),
    [
        ("audio", "encoder", {}, "linear_k, linear_out, linear_pos, linear_q, linear_v, pointwise_conv1"),
        ("audio", "decoder", {}, "linear_k, linear_out, linear_q, linear_v, output_layer, w_1, w_2"),
        ("audio", "audio_encoder", {}, "0, conv1, conv2"),
        ("video", "vision_encoder", {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 2}}, "0, conv1"),
        ("video", "vision_encoder", {"vision_encoder": "linear", "vision_encoder_conf": LINEAR}, "projection"),
    ],
)
def test_a_layer_that_a_tower_does_not_have_is_named_with_those_it_has(streams, tower, options, names):
    adapters = {tower: {**LORA, "target_modules": ["q_prj"]}}
    message = f"of {tower} name no layer of it: found 'q_prj'; expected its layers are called {names}"
    with pytest.raises(ConfigError, match=message):
        tiny.tiny_e2e(streams, tower_adapters=adapters, **options)


def test_a_tower_without_default_targets_lists_its_layers():
    with pytest.raises(ConfigError, match=r"no default for which layers of audio_encoder.* called 0, conv1, conv2"):
        tiny.tiny_e2e("audio", tower_adapters={"audio_encoder": LORA})


def test_a_random_base_is_refused_in_4_bits():
    conf = {**tiny.WINDOWED_VIVIT}
    with pytest.raises(ConfigError, match=r"vivit or huggingface with pretrained: true.*type: lora"):
        tiny.tiny_e2e("video", vision_encoder_conf=conf, tower_adapters={"vision_encoder": QLORA})


def test_a_tower_that_is_frozen_as_a_whole_is_refused(folder):
    conf = {**model_conf(folder), "frozen": True}
    with pytest.raises(ConfigError, match="frozen as a whole, so its adapters would never train"):
        tiny.tiny_e2e("video", vision_encoder_conf=conf, tower_adapters={"vision_encoder": LORA})


@pytest.mark.parametrize(("package", "config"), [("peft", LORA), ("bitsandbytes", QLORA)])
def test_a_missing_package_is_named_with_what_to_install(folder, monkeypatch, package, config):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*pip install espnet-vivit\[qlora\]"):
        model_on(folder, tower_adapters={"vision_encoder": config})


@pytest.mark.parametrize("failure", ["missing", "refuses"])
def test_where_4_bits_cannot_be_had_the_error_names_lora(folder, monkeypatch, failure):
    if failure == "missing":
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    else:
        bitsandbytes = qlora_or_skip()

        def refuse(*args, **kwargs):
            raise RuntimeError("no kernel for this device")

        monkeypatch.setattr(bitsandbytes.nn.Params4bit, "to", refuse)
    with pytest.raises((ConfigError, MissingDependencyError), match=r"[Uu]se type: lora"):
        model_on(folder, tower_adapters={"vision_encoder": QLORA})


@pytest.mark.parametrize(
    ("compute_dtype", "amp_dtype", "expected"),
    [(None, None, torch.float32), (None, "bfloat16", torch.bfloat16), ("bfloat16", None, torch.bfloat16)],
)
def test_products_with_4_bit_weights_have_the_compute_dtype(folder, compute_dtype, amp_dtype, expected):
    qlora_or_skip()
    config = {**QLORA, "compute_dtype": compute_dtype}
    model = model_on(folder, tower_adapters={"vision_encoder": config}, amp_dtype=amp_dtype)
    layers = [layer for layer in model.vision_encoder.modules() if hasattr(layer, "compute_dtype")]
    assert layers and {layer.compute_dtype for layer in layers} == {expected}
    assert torch.isfinite(encoded(model)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("amp_dtype", [None, "bfloat16"])
def test_qlora_trains_on_the_gpu_and_leaves_its_base_alone(folder, quant_type, amp_dtype):
    qlora_or_skip()
    config = {**QLORA, "quant_type": quant_type}
    model = model_on(folder, tower_adapters={"vision_encoder": config}, amp_dtype=amp_dtype).cuda()
    base = base_weights(model.vision_encoder)
    adapters = {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batch = {name: value.cuda() for name, value in BATCH.items()}
    for _ in range(3):
        optimizer.zero_grad()
        loss, _, _ = model.train()(**batch)
        loss.sum().backward()
        optimizer.step()
    assert torch.isfinite(loss).all()
    for name, value in base_weights(model.vision_encoder).items():
        assert torch.equal(value, base[name]), name
    moved = dict(model.named_parameters())
    assert all(not torch.equal(moved[name], value) for name, value in adapters.items())
