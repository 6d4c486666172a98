"""Weights of google-research/scenic, where ViViT was trained, through our tower: the same tokens as scenic's modules.

Oracle: ../shared/fixtures/scenic_vivit_reference.npz, what scenic's own joint-attention model answered under Flax.
"""

import numpy as np
import pytest
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.frontend.vivit.tower import tower_tokens

TOLERANCE = 1e-5
HEADS = 4
ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "fixtures" / "scenic_vivit_reference.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name == "input" or name.startswith("joint/")}


def library_state(parameters):
    """Scenic's parameters, Flax layout, under the library's names."""
    state = {
        "embeddings.cls_token": parameters["cls"],
        "embeddings.position_embeddings": parameters["Transformer/posembed_input/pos_embedding"],
        "embeddings.patch_embeddings.projection.weight": parameters["embedding/kernel"].transpose(4, 3, 0, 1, 2),
        "embeddings.patch_embeddings.projection.bias": parameters["embedding/bias"],
        "layernorm.weight": parameters["Transformer/encoder_norm/scale"],
        "layernorm.bias": parameters["Transformer/encoder_norm/bias"],
    }
    layers = {name.split("/")[1] for name in parameters if "/encoderblock_" in name}
    for i in range(len(layers)):
        state |= {f"layers.{i}.{name}": value for name, value in layer_state(parameters, i).items()}
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def layer_state(parameters, i):
    block = {
        name.removeprefix(f"Transformer/encoderblock_{i}/"): value
        for name, value in parameters.items()
        if name.startswith(f"Transformer/encoderblock_{i}/")
    }
    state = {}
    for theirs, ours in (("LayerNorm_0", "layernorm_before"), ("LayerNorm_1", "layernorm_after")):
        state |= {f"{ours}.weight": block[f"{theirs}/scale"], f"{ours}.bias": block[f"{theirs}/bias"]}
    for theirs, ours in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
        kernel, bias = block[f"MlpBlock_0/{theirs}/kernel"], block[f"MlpBlock_0/{theirs}/bias"]
        state |= {f"mlp.{ours}.weight": kernel.T, f"mlp.{ours}.bias": bias}
    for theirs, ours in ATTENTION.items():
        kernel, bias = (block[f"MultiHeadDotProductAttention_0/{theirs}/{part}"] for part in ("kernel", "bias"))
        state |= {f"attention.{ours}.weight": kernel.reshape(len(kernel), -1).T, f"attention.{ours}.bias": bias.ravel()}
    kernel, bias = (block[f"MultiHeadDotProductAttention_0/out/{part}"] for part in ("kernel", "bias"))
    state |= {"attention.o_proj.weight": kernel.reshape(-1, kernel.shape[-1]).T, "attention.o_proj.bias": bias}
    return state


@pytest.fixture
def tower(reference):
    parameters = {n.removeprefix("joint/params/"): v for n, v in reference.items() if n.startswith("joint/params/")}
    _, frames, height, width, _ = reference["input"].shape
    *tubelet, _, hidden = parameters["embedding/kernel"].shape
    config = {
        "image_size": [height, width],
        "num_frames": frames,
        "tubelet_size": list(tubelet),
        "hidden_size": hidden,
        "num_hidden_layers": len({name.split("/")[1] for name in parameters if "/encoderblock_" in name}),
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * hidden,
    }
    encoder = vivit_encoder(pretrained=False, config=config, num_frames=frames).eval()
    encoder.vivit.load_state_dict(library_state(parameters), strict=True)
    return encoder


def test_tokens_and_features_are_scenics(tower, reference):
    video = torch.from_numpy(reference["input"]).permute(0, 4, 1, 2, 3)  # (B, T, H, W, C) -> (B, C, T, H, W)
    expected = torch.from_numpy(reference["joint/output"])  # (B, 1 + N, D), CLS first
    with torch.no_grad():
        torch.testing.assert_close(
            tower_tokens(tower.vivit, video, tower.pixel_affine), expected, atol=TOLERANCE, rtol=0
        )
        features = tower(video)
    steps = expected[:, 1:].unflatten(1, (features.size(1), -1)).mean(2)
    torch.testing.assert_close(features, steps, atol=TOLERANCE, rtol=0)


def test_the_exact_gelu_would_be_seen(tower, reference):
    """Scenic approximates GELU by tanh; the fixture can tell the two apart."""
    for layer in tower.vivit.layers:
        layer.mlp.activation_fn = torch.nn.GELU()
    video = torch.from_numpy(reference["input"]).permute(0, 4, 1, 2, 3)
    with torch.no_grad():
        difference = (
            (tower_tokens(tower.vivit, video, tower.pixel_affine) - torch.from_numpy(reference["joint/output"]))
            .abs()
            .max()
        )
    assert difference > 3 * TOLERANCE
