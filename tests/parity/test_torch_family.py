"""Our blocks against two PyTorch ViViTs: drv-agwl's Model 3, and VisionCore's causal one with its Gaussian readout."""

import numpy as np
import pytest
import torch
from torch import nn

from espnet_vivit.frontend.vivit.blocks import Attention, Block
from espnet_vivit.frontend.vivit.causal import causal_attend
from espnet_vivit.frontend.vivit.factorised_self_attention import SpaceTimeBlock
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.gaussian_pooling import gaussian_masks
from espnet_vivit.frontend.vivit.rotary import rotary_table
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from tests.frontend.vivit.family_oracle import assert_equal_to, fill_torch, folder_of, input_of, names_of


@pytest.fixture(scope="module")
def outputs(shared_dir):
    return np.load(folder_of(shared_dir) / "torch_family.npz")


@pytest.fixture(scope="module")
def cases(shared_dir):
    return names_of(shared_dir)["torch_family"]


def attention_state(prefix: str, qkv: torch.Tensor, out: dict) -> dict:
    """A fused projection (3 * heads * d, D) taken apart."""
    parts = dict(zip(("q_proj.weight", "k_proj.weight", "v_proj.weight"), qkv.chunk(3), strict=True))
    parts |= {"o_proj.weight": out["weight"], "o_proj.bias": out["bias"]}
    return {f"{prefix}.{name}": value for name, value in parts.items()}


def below(state: dict, prefix: str) -> dict:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


# drv-agwl/ViViT-pytorch, Model 3 ------------------------------------------------------------------------------------


def drv_block(state: dict, layer: int, config: FamilyConfig) -> SpaceTimeBlock:
    block, mine = SpaceTimeBlock(config, 0.0), {}
    for index, axis in enumerate(("space", "time")):
        part = below(state, f"transformer.layers.{layer}.{index}.")
        mine |= {f"layernorm_{axis}.{leaf}": part[f"norm.{leaf}"] for leaf in ("weight", "bias")}
        out = below(part, "fn.to_out.0.")
        mine |= attention_state(f"{axis}_attention", part["fn.to_qkv.weight"], out)
        attention, inner = getattr(block, f"{axis}_attention"), out["weight"].size(1)
        for name in ("q_proj", "k_proj", "v_proj"):  # its heads are narrower than width / heads
            setattr(attention, name, nn.Linear(config.hidden_size, inner, bias=False))
        attention.o_proj = nn.Linear(inner, config.hidden_size)
    part = below(state, f"transformer.layers.{layer}.2.")
    mine |= {f"layernorm_mlp.{leaf}": part[f"norm.{leaf}"] for leaf in ("weight", "bias")}
    mine |= {f"mlp.fc{i + 1}.{leaf}": part[f"fn.net.{3 * i}.{leaf}"] for i in (0, 1) for leaf in ("weight", "bias")}
    block.load_state_dict(mine)
    return block.eval()


@pytest.mark.parametrize("case", ["drv/readme_heads", "drv/dim_head_4"])
def test_model_3_of_drv_agwl(outputs, cases, case):
    state, sizes = fill_torch(cases[case]["shapes"]), cases[case]["config"]
    config = FamilyConfig(
        attention="factorised_self_attention",
        temporal_positions="learned",
        hidden_size=sizes["dim"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["mlp_dim"],
        num_hidden_layers=sizes["depth"],
        qkv_bias=False,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    tokens = torch.from_numpy(outputs[f"{case}/tokens"])  # (B, nt, ns, D)
    table = fill_torch({"pos_embedding": [1, 1, *tokens.shape[2:]]})  # not a parameter there
    tokens = tokens + table["pos_embedding"]
    batch, steps = tokens.shape[:2]
    layout = StepLayout.of_equal(batch, steps)
    x = tokens.flatten(0, 1)
    with torch.no_grad():
        for layer in range(sizes["depth"]):
            block = drv_block(state, layer, config)
            space = block.in_space(x, layout, None)
            assert_equal_to(space, outputs[f"{case}/space_{layer}"])
            time = block.in_time(x + space, layout, None)
            by_place = layout.to_clips(time).transpose(1, 2).flatten(0, 1)  # (B * ns, nt, D), as the module has it
            assert_equal_to(by_place, outputs[f"{case}/time_{layer}"])
            x = block(x, layout, None)
    assert_equal_to(x.unflatten(0, (batch, steps)).flatten(1, 2), outputs[f"{case}/encoded"])


# VisionCore ---------------------------------------------------------------------------------------------------------


def visioncore_block(state: dict, index: int, config: FamilyConfig) -> Block:
    part = below(state, f"blocks.{index}.")
    mine = attention_state("attention", part["to_qkv.weight"], below(part, "to_out."))
    for ours, theirs in {
        "layernorm_before": "norm1",
        "layernorm_after": "ff.0",
        "mlp.fc1": "ff.1",
        "mlp.fc2": "ff.4",
    }.items():
        mine |= {f"{ours}.{leaf}": value for leaf, value in below(part, f"{theirs}.").items()}
    block = Block(config)
    block.load_state_dict(mine)
    return block.eval()


def visioncore_config(sizes: dict) -> FamilyConfig:
    return FamilyConfig(
        attention="causal",
        hidden_size=sizes["E"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ff"],
        hidden_act=sizes["act"],
        norm=sizes["norm"],
        layer_norm_eps=torch.finfo(torch.float32).eps if sizes["norm"] == "rmsnorm" else 1e-5,
        qkv_bias=False,
    )


VISIONCORE = ["visioncore/base", "visioncore/registers_layernorm_gelu", "visioncore/small_yaml_causal_space"]


@pytest.mark.parametrize("left_context", [None, 16], ids=["SDPA", "gathered windows"])
@pytest.mark.parametrize("case", VISIONCORE)
def test_visioncores_blocks(outputs, cases, case, left_context):
    """Rotary positions in space and time, causal time; RMSNorm and SwiGLU, or LayerNorm and exact GELU."""
    state, sizes = fill_torch(cases[case]["shapes"]), cases[case]["config"]
    config = visioncore_config(sizes)
    tokens = torch.from_numpy(outputs[f"{case}/tokens"])
    batch, steps = tokens.shape[:2]
    x = tokens.flatten(0, 1)
    if sizes["reg"]:
        x = torch.cat([state["register_tokens"].expand(len(x), -1, -1), x], dim=1)
    in_space = rotary_table(torch.arange(x.size(1)), config.head_width)
    in_time = rotary_table(torch.arange(steps), config.head_width)
    with torch.no_grad():
        for i in range(sizes["ns"]):
            block = visioncore_block(state, i, config)
            everywhere = block.attention.everywhere
            x = block(x, lambda q, k, v, e=everywhere: e(q, k, v, rotary=in_space, causal=sizes["sc"]))
            assert_equal_to(x, outputs[f"{case}/spatial_block_{i}"])
        x = x[:, sizes["reg"] :].unflatten(0, (batch, steps)).transpose(1, 2).flatten(0, 1)  # (B * places, T', E)
        for i in range(sizes["nt"]):
            block = visioncore_block(state, sizes["ns"] + i, config)
            x = block(x, causal_attend(block.attention.everywhere, in_time, left_context, exact=True))
            assert_equal_to(x, outputs[f"{case}/temporal_block_{i}"])


def test_neighbours_in_place_of_halves_are_seen(outputs, cases, monkeypatch):
    """Rotary positions pair channel i with i + d/2; pairs of neighbours give other features."""
    case = "visioncore/base"
    state, config = fill_torch(cases[case]["shapes"]), visioncore_config(cases[case]["config"])
    block = visioncore_block(state, 2, config)
    x = torch.from_numpy(outputs[f"{case}/spatial_block_1"]).unflatten(0, (2, 6)).transpose(1, 2).flatten(0, 1)
    table = rotary_table(torch.arange(6), config.head_width)
    expected = torch.from_numpy(outputs[f"{case}/temporal_block_0"])

    def neighbours(x, table):
        cos, sin = table
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)

    monkeypatch.setattr("espnet_vivit.frontend.vivit.blocks.rotate", neighbours)
    with torch.no_grad():
        found = block(x, causal_attend(block.attention.everywhere, table, None, exact=True))
    assert (found - expected).abs().max() > 0.1


def readout(features: torch.Tensor, state: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """One mask for each unit, over a linear map of every place: (B, E, h, w) -> masks (units, h, w), (B, units)."""
    masks = gaussian_masks(state["mean"], state["std"], state["theta"], tuple(features.shape[2:]))
    mapped = torch.einsum("ue,behw->buhw", state["features.weight"][:, :, 0, 0], features)
    return masks, (mapped * masks).sum((2, 3)) + state["bias"]


def test_the_gaussian_masks_on_a_grid_that_is_not_square(outputs, cases):
    state = fill_torch(cases["readout_alone"]["shapes"], prefix="readout_alone.")
    masks, found = readout(torch.from_numpy(input_of((2, 8, 5, 3))), state)
    assert_equal_to(masks, outputs["readout_alone/masks"])
    assert_equal_to(found, outputs["readout_alone/output"])


@pytest.mark.parametrize("case", VISIONCORE)
def test_the_gaussian_readout(outputs, cases, case):
    state = fill_torch(cases[case]["readout_shapes"], prefix="readout.")
    masks, found = readout(torch.from_numpy(outputs[f"{case}/readout_input_last_step"]), state)
    assert_equal_to(masks, outputs[f"{case}/readout_masks"])
    assert_equal_to(found, outputs[f"{case}/readout"])


def test_eps_is_ours_and_never_follows_the_dtype():
    """A wrong eps changes the features by no more than the tolerance, so it is read."""
    scenic = FamilyConfig(attention="factorised_dot_product", temporal_positions="learned")
    assert Block(scenic).layernorm_before.eps == 1e-6
    assert (
        Block(visioncore_config({"E": 8, "heads": 2, "ff": 8, "act": "swiglu", "norm": "rmsnorm"}))
        .double()
        .layernorm_before.eps
        == torch.finfo(torch.float32).eps
    )
    assert not isinstance(Attention(scenic).q_proj.bias, type(None))
