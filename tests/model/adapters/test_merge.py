"""Merged adapters answer as the adapted model did: exactly on float32 bases, up to compute_dtype on 4-bit ones."""

import pytest
import torch

from espnet_vivit.model.adapters.merge import merge_adapters
from espnet_vivit.release.merge_adapters import answers
from tests import tiny
from tests.model.adapters.adapted import STREAM, model_on, qlora_or_skip, save_tower, step

AUDIO = {"speech": torch.randn(2, 6400), "speech_lengths": torch.tensor([6400, 5000])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tower(tmp_path_factory.mktemp("tower"))


def merged_into(plain, adapted):
    """`plain` with the weights of `adapted`, all of its adapters merged."""
    state = {name: value for name, value in adapted.state_dict().items() if name in plain.state_dict()}
    for name in adapted.tower_adapters:
        state |= {f"{name}.{key}": value for key, value in merge_adapters(adapted.towers()[name]).items()}
    plain.load_state_dict(state)
    return plain


def difference(one, other, streams):
    with torch.no_grad():
        first, second = (model.eval().encode(**streams)[0] for model in (one, other))
    return float((first - second).abs().max()), float(first.abs().max())


@pytest.mark.parametrize(
    ("config", "bound"),
    [
        ({"type": "lora"}, 1e-5),
        ({"type": "qlora", "compute_dtype": "float32"}, 1e-5),
        ({"type": "qlora", "compute_dtype": "bfloat16"}, 0.1),
    ],
    ids=["lora", "4bit-float32", "4bit-bfloat16"],
)
def test_the_merged_vivit_answers_as_the_adapted_one(folder, config, bound, record_property):
    if config["type"] == "qlora":
        qlora_or_skip()
    adapted = step(model_on(folder, tower_adapters={"vision_encoder": {**config, "r": 4}}), steps=3)
    merged = merged_into(model_on(folder, seed=3), adapted)
    assert not any("lora" in name for name in merged.state_dict())
    largest, scale = difference(adapted, merged, STREAM)
    record_property("difference", largest)
    print(f"{config}: the states differ by {largest:.1e} at most, of {scale:.3g}")
    assert largest <= bound
    assert bound < 1e-3 or largest > 1e-5, "bfloat16 products are as exact as float32's?"
    plain, _ = difference(adapted, model_on(folder, seed=3), STREAM)
    assert plain > 10 * bound, "three steps and other weights change less than the bound lets pass"


@pytest.mark.parametrize(
    ("tower", "targets"), [("encoder", None), ("audio_encoder", ["conv1", "conv2"]), ("decoder", None)]
)
def test_other_towers_merge_too_convolutions_and_statistics_with_them(tower, targets):
    torch.manual_seed(0)
    config = {"type": "lora", "r": 2, "target_modules": targets}
    adapted = tiny.tiny_e2e("audio", tower_adapters={tower: config})
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    before = tiny.tiny_e2e("audio")
    before.load_state_dict({name: value for name, value in base_of(adapted).items() if name in before.state_dict()})
    merged = merged_into(tiny.tiny_e2e("audio"), adapted)
    assert scores(merged) == pytest.approx(scores(adapted), abs=1e-4)
    assert scores(before) != pytest.approx(scores(adapted), abs=1e-2)


def base_of(adapted):
    """Its weights under the names of a model without adapters, the adapters left out."""
    return {name.replace(".base_layer.", "."): value for name, value in adapted.state_dict().items()}


@torch.no_grad()
def scores(model):
    """All that the model says of two clips: encoder states, and the decoder's scores of a token."""
    states, lengths = model.eval().encode(**AUDIO)
    tokens = torch.tensor([[model.sos, 2], [model.sos, 3]])
    return torch.cat(
        [states.flatten(), model.decoder(states, lengths, tokens, torch.tensor([2, 2]))[0].flatten()]
    ).tolist()


def test_models_with_intermediate_ctc_are_compared_by_their_last_states():
    torch.manual_seed(0)
    model = tiny.tiny_e2e("audio", encoder_conf={"interctc_layer_idx": [1]}, interctc_weight=0.3)
    states, decoded = answers(model, {name: value[:1] for name, value in AUDIO.items()})
    assert states.shape == (1, 10, model.encoder.output_size())
    assert decoded.shape == (1, 2, len(model.token_list))


def test_what_a_merged_tower_holds_is_float32_biases_too(folder):
    qlora_or_skip()
    config = {"type": "qlora", "compute_dtype": "bfloat16", "r": 4}
    adapted = model_on(folder, tower_adapters={"vision_encoder": config})
    base = dict(adapted.vision_encoder.named_parameters())
    assert any(value.dtype == torch.bfloat16 for name, value in base.items() if name.endswith("bias"))
    assert {value.dtype for value in merge_adapters(adapted.vision_encoder).values()} == {torch.float32}
