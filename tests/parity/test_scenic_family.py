"""Factorised ViViTs against scenic's own modules: every stored activation, on two grids whose sides all differ."""

import numpy as np
import pytest
import torch

from espnet_vivit.frontend.vivit.blocks import Block
from espnet_vivit.frontend.vivit.factorised_dot_product import FactorisedDotProduct
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.factorised_self_attention import FactorisedSelfAttention
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.scenic_weights import fields_of, state_dict_of
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from tests.frontend.vivit.family_oracle import assert_equal_to, fill_scenic, folder_of, input_of, names_of, steps_of

GRIDS = {"g1": ((2, 8, 8), 8, (24, 16)), "g2": ((4, 6, 4), 20, (12, 16))}  # tubelet, frames, pixels
AS_IT_IS = (1.0, 0.0)  # float input is normalised already


@pytest.fixture(scope="module")
def outputs(shared_dir):
    return np.load(folder_of(shared_dir) / "scenic_family.npz")


@pytest.fixture(scope="module")
def names(shared_dir):
    return names_of(shared_dir)["scenic_family"]


def fields(params: dict, grid: str, attention: str | None = None) -> dict:
    _, frames, pixels = GRIDS[grid]
    found = fields_of(params, attention=attention, num_frames=frames, image_size=pixels)
    return found | {"temporal_positions": "learned"}


def config_of(values: dict) -> FamilyConfig:
    """Tubelets of four frames are too slow for speech and refused; the modules themselves do not care."""
    config = FamilyConfig.from_dict(values | {"tubelet_size": [2, *values["tubelet_size"][1:]]})
    object.__setattr__(config, "tubelet_size", tuple(values["tubelet_size"]))
    return config


def watch(modules: dict) -> dict:
    """What each of the modules answers, after the next pass."""
    seen = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    return seen


def run(tower, grid: str) -> tuple[dict, torch.Tensor]:
    (frames, _, _), total, (height, width) = GRIDS[grid]
    video = input_of((2, total, height, width, 3))
    layout = StepLayout.of_equal(2, total // frames)
    tokens = tower.embeddings.embed(steps_of(video, frames), AS_IT_IS)
    seen = watch({f"block_{i}": block for i, block in enumerate(tower.layers)} | {"norm": tower.layernorm})
    if hasattr(tower, "temporal"):
        temporal = {f"temporal_block_{i}": block for i, block in enumerate(tower.temporal.layers)}
        seen_in_time = watch(temporal | {"temporal_norm": tower.temporal.layernorm})
    with torch.no_grad():
        pooled = tower(steps_of(video, frames), AS_IT_IS, layout)
    if hasattr(tower, "temporal"):
        seen = {f"spatial_{name}": value for name, value in seen.items()} | seen_in_time
    return {name: value.detach() for name, value in seen.items()} | {"tokens": tokens}, pooled


def test_the_input_rule_is_the_fixtures(outputs):
    np.testing.assert_array_equal(input_of((2, 8, 24, 16, 3)).flatten()[:8], outputs["input_g1_first8"])


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("grid", GRIDS)
def test_factorised_encoder(outputs, names, grid, classifier):
    case = f"{grid}/fe_{classifier}"
    params = fill_scenic(names[case])
    values = fields(params, grid) | {"pooling": "cls" if classifier == "token" else "mean"}
    assert (values["num_hidden_layers"], values["temporal_layers"]) == (2, 3)
    tower = FactorisedEncoder(config_of(values)).eval()
    tower.load_state_dict(state_dict_of(params))
    seen, pooled = run(tower, grid)
    steps = outputs[f"{case}/spatial"].shape[1]
    assert_equal_to(seen.pop("tokens").unflatten(0, (2, steps)), outputs[f"{case}/tokens"])
    for name, value in seen.items():
        value = value.unflatten(0, (2, steps)) if name.startswith("spatial") else value
        assert_equal_to(value, outputs[f"{case}/{name}"])
    rows = outputs[f"{case}/temporal_norm"]
    assert_equal_to(pooled.unflatten(0, (2, steps)), rows[:, 1:] if classifier == "token" else rows)


def m3(order: str):
    return lambda values: FactorisedSelfAttention(config_of(values | {"attention_order": order}))


MODELS = {
    "m3_time_space_gap": (None, m3("time_space")),
    "m3_space_time_gap": (None, m3("space_time")),
    "m4_gap": ("factorised_dot_product", lambda values: FactorisedDotProduct(config_of(values))),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("grid", GRIDS)
def test_factorised_attention(outputs, names, grid, model):
    case, (attention, build) = f"{grid}/{model}", MODELS[model]
    params = fill_scenic(names[case])
    tower = build(fields(params, grid, attention)).eval()
    tower.load_state_dict(state_dict_of(params))
    seen, pooled = run(tower, grid)
    for name, value in seen.items():  # (B * n, h * w, D) -> (B, n * h * w, D): time slowest
        assert_equal_to(value.unflatten(0, (2, -1)).flatten(1, 2), outputs[f"{case}/{name}"])
    assert_equal_to(pooled.unflatten(0, (2, -1)).mean(1), outputs[f"{case}/pooled"])


def swap_head_halves(state: dict) -> dict:
    for name in [name for name in state if "q_proj" in name]:
        state[name] = torch.cat(state[name].chunk(2, dim=0)[::-1])
    return state


FAULTS = {
    "the halves of the heads": lambda build, values, state: (build(values), swap_head_halves(state)),
    "height and width": lambda build, values, state: (
        build(values | {"image_size": values["image_size"][::-1], "tubelet_size": [2, 8, 8]}),
        state,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees_a_wrong_convention(outputs, names, fault):
    case = "g1/m4_gap"
    params = fill_scenic(names[case])
    build = MODELS["m4_gap"][1]
    tower, state = FAULTS[fault](build, fields(params, "g1", "factorised_dot_product"), state_dict_of(params))
    tower.eval().load_state_dict(state)
    video = input_of((2, 8, 24, 16, 3))
    video = video.swapaxes(2, 3) if fault == "height and width" else video
    with torch.no_grad():
        tokens = tower(steps_of(video, 2), AS_IT_IS, StepLayout.of_equal(2, 4)).unflatten(0, (2, 4)).mean(1)
    assert (tokens - torch.from_numpy(outputs[f"{case}/pooled"])).abs().max() > 0.02


def test_the_order_of_model_3_is_seen(outputs, names):
    params = fill_scenic(names["g1/m3_time_space_gap"])
    tower = m3("space_time")(fields(params, "g1")).eval()
    tower.load_state_dict(state_dict_of(params))
    seen, _ = run(tower, "g1")
    found = seen["norm"].unflatten(0, (2, -1)).flatten(1, 2)
    assert (found - torch.from_numpy(outputs["g1/m3_time_space_gap/norm"])).abs().max() > 0.1


@pytest.fixture(scope="module")
def joint(names):
    """Joint attention built of our blocks: (block configuration, state, tokens after positions)."""
    params = fill_scenic(names["g1/joint_token"])
    values = fields_of(params, num_frames=8, image_size=(24, 16))
    return FamilyConfig.from_dict(values | {"attention": "factorised_dot_product"}), state_dict_of(params)


def blocks_of(config: FamilyConfig, state: dict, rates: list[float]) -> list[Block]:
    blocks = [Block(config, rate) for rate in rates]
    for i, block in enumerate(blocks):
        prefix = f"layers.{i}."
        block.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return blocks


def test_our_block_is_scenics(outputs, joint):
    x = torch.from_numpy(outputs["g1/joint_token/embedded"])
    for i, block in enumerate(blocks_of(*joint, rates=[0.0] * 3)):
        x = block.eval()(x)
        assert_equal_to(x, outputs[f"g1/joint_token/block_{i}"])


def test_stochastic_depth_drops_what_scenic_drops(outputs, joint, monkeypatch):
    """scenic does not rescale the branches that stay: here the factor 1 / (1 - rate) is taken back."""
    config, state = joint
    drop, x = outputs["stochastic_depth/drop"], torch.from_numpy(outputs["g1/joint_token/embedded"])
    blocks = blocks_of(config, state, list(outputs["stochastic_depth/rates"]))
    for layer, block in enumerate(blocks):
        patterns = iter(torch.from_numpy(1 - drop[layer]) * (1 - block.drop_path.rate))
        monkeypatch.setattr(block.drop_path, "draw", lambda clips, device, patterns=patterns: next(patterns))
        if block.drop_path.rate:
            x = block.train()(x)
        else:
            x = block.eval()(x)
    norm = torch.nn.LayerNorm(24, eps=1e-6)
    norm.load_state_dict({"weight": state["layernorm.weight"], "bias": state["layernorm.bias"]})
    assert_equal_to(norm(x), outputs["stochastic_depth/norm"])
