"""Video models that start as a 2-D image ViT: scenic's own numbers, and identities that need no reference."""

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel, VivitConfig, VivitModel

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_weights import random_tower
from espnet_vivit.frontend.vivit.image_start import image_state, rank_weights, tubelet_kernel, zoom
from espnet_vivit.frontend.vivit.scenic_weights import state_dict_of
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from tests.frontend.vivit.family_oracle import (
    CHECKPOINT_SEED,
    assert_equal_to,
    fill_scenic,
    fill_torch,
    folder_of,
    input_of,
    steps_of,
)
from tests.tiny import randomize

IMAGE = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
AS_OURS = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
AS_IT_IS = (1.0, 0.0)


def image_model(**changes) -> ViTModel:
    config = ViTConfig(**{**IMAGE, "num_hidden_layers": 2, **AS_OURS, **changes})
    return ViTModel(config, add_pooling_layer=False).eval()


# scenic's initialise_from_train_state --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs(shared_dir):
    return np.load(folder_of(shared_dir) / "image_init.npz")


@pytest.fixture(scope="module")
def image_weights():
    shapes = {name: value.shape for name, value in image_model().state_dict().items()}
    renamed = {_version_4(name): shape for name, shape in shapes.items()}
    return fill_torch(renamed, seed=CHECKPOINT_SEED)


def _version_4(name: str) -> str:
    """The fixture's weights are drawn by the names of transformers 4."""
    if not name.startswith("layers."):
        return name
    for new, old in {
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }.items():
        name = name.replace(new, old)
    return f"encoder.{name.replace('layers.', 'layer.', 1)}"


CASES = {  # case -> (attention, pixels, frames of a tubelet, kernel)
    "joint_32px_t2_central_tile": ("joint", 32, 2, "central_frame"),
    "fe_32px_t2_central_tile": ("factorised_encoder", 32, 2, "central_frame"),
    "m3_32px_t2_average_tile": ("factorised_self_attention", 32, 2, "average"),
    "m4_32px_t2_central_tile": ("factorised_dot_product", 32, 2, "central_frame"),
    "joint_24px_t4_average_arp_resize_tile": ("joint", 24, 4, "average_arp"),
    "fe_48px_t4_average_resize": ("factorised_encoder", 48, 4, "average"),
}


def video_tower(attention: str, pixels: int, frames: int):
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"image_size": pixels, "num_frames": 8}
    if attention == "joint":
        config = VivitConfig(**sizes, tubelet_size=[frames, 8, 8], hidden_act="gelu_pytorch_tanh")
        return VivitModel(config, add_pooling_layer=False).eval(), (8 // frames, pixels // 8, pixels // 8)
    split = attention == "factorised_encoder"
    config = FamilyConfig(
        attention=attention,
        attention_order="time_space",
        temporal_positions="learned",
        temporal_layers=2,
        tubelet_size=[2, 8, 8],
        cls_token=split,
        pooling="cls" if split else "mean",
        **sizes,
    )
    object.__setattr__(config, "tubelet_size", (frames, 8, 8))  # four frames are too slow for speech, not for a test
    tower = random_tower(config).eval()
    return tower, (tower.embeddings.steps_in_table, *config.grid)


def own_weights(attention: str, shapes: dict) -> dict[str, torch.Tensor]:
    """What the image does not give: scenic's rule with the prefix own/."""
    names = {}
    if attention == "factorised_encoder":
        names = {"cls_SpatialTransformer": (1, 1, 16), "cls_TemporalTransformer": (1, 1, 16)}
        steps = shapes["temporal.position_embeddings"][1]
        names["TemporalTransformer/posembed_input/pos_embedding"] = (1, steps, 16)
        names |= {f"TemporalTransformer/encoder_norm/{leaf}": (16,) for leaf in ("scale", "bias")}
        for i in range(2):
            block = f"TemporalTransformer/encoderblock_{i}"
            names |= {f"{block}/LayerNorm_{n}/{leaf}": (16,) for n in (0, 1) for leaf in ("scale", "bias")}
            for name in ("query", "key", "value"):
                names |= {f"{block}/MultiHeadDotProductAttention_0/{name}/kernel": (16, 2, 8)}
                names |= {f"{block}/MultiHeadDotProductAttention_0/{name}/bias": (2, 8)}
            names |= {f"{block}/MultiHeadDotProductAttention_0/out/kernel": (2, 8, 16)}
            names |= {f"{block}/MultiHeadDotProductAttention_0/out/bias": (16,)}
            names |= {f"{block}/MlpBlock_0/Dense_0/kernel": (16, 24), f"{block}/MlpBlock_0/Dense_0/bias": (24,)}
            names |= {f"{block}/MlpBlock_0/Dense_1/kernel": (24, 16), f"{block}/MlpBlock_0/Dense_1/bias": (16,)}
    if attention == "factorised_self_attention":
        for i in range(2):
            names |= {f"Transformer/encoderblock_{i}/LayerNorm_time/{leaf}": (16,) for leaf in ("scale", "bias")}
    return state_dict_of(fill_scenic(names, seed=CHECKPOINT_SEED, prefix="own/"))


@pytest.mark.parametrize("case", CASES)
def test_scenics_own_start(outputs, image_weights, case):
    attention, pixels, frames, kernel = CASES[case]
    tower, grid = video_tower(attention, pixels, frames)
    state = image_state(image_weights, tower.state_dict(), grid=grid, kernel_init=kernel, time_from_zero=False)
    own = own_weights(attention, {name: value.shape for name, value in tower.state_dict().items()})
    tower.load_state_dict(state, strict=False)
    tower.load_state_dict(own, strict=False)  # for the factorised encoder CLS too, which scenic does not copy
    assert {*state, *own} == set(tower.state_dict())
    theirs = torch.from_numpy(outputs[f"{case}/embedding_kernel"]).permute(4, 3, 0, 1, 2)
    assert_equal_to(state["embeddings.patch_embeddings.projection.weight"], theirs.numpy())
    assert_equal_to(state["embeddings.position_embeddings"], outputs[f"{case}/pos_embedding"])
    video = input_of((2, 8, pixels, pixels, 3), seed=CHECKPOINT_SEED)
    seen = []
    norm = tower.temporal.layernorm if attention == "factorised_encoder" else tower.layernorm
    norm.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        if attention == "joint":
            tower(torch.from_numpy(video).permute(0, 1, 4, 2, 3))
        else:
            tower(steps_of(video, frames), AS_IT_IS, StepLayout.of_equal(2, 8 // frames))
    if attention == "factorised_encoder":
        assert_equal_to(seen[0][:, 0], outputs[f"{case}/pooled"])
    else:
        assert_equal_to(seen[0].flatten(0, -2).unflatten(0, (2, -1)), outputs[f"{case}/norm"])


@pytest.mark.parametrize("sizes", [(5, 8), (8, 5), (16, 6)])
def test_temporal_tables_are_resized_as_scenic_does(outputs, sizes):
    old, new = sizes
    table = torch.from_numpy(outputs[f"temporal_table/{old}"])
    assert_equal_to(zoom(table, (new,)), outputs[f"temporal_table/{old}_to_{new}"])


# identities -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    """An image ViT with weights large enough to show a mistake, and the folder it is stored in."""
    model = randomize(image_model())
    model.save_pretrained(tmp_path / "vit")
    return model, str(tmp_path / "vit")


def as_image(frames: torch.Tensor) -> torch.Tensor:
    """Gray frames (T, H, W) -> (T, 3, H, W)."""
    return frames[:, None].expand(-1, 3, -1, -1)


def test_the_spatial_stage_is_the_image_vit_on_the_central_frames(image):
    model, folder = image
    encoder = vivit_encoder(image_weights=folder, attention="factorised_encoder").eval()
    clip = torch.randn(8, 32, 32)
    with torch.no_grad():
        expected = model(as_image(clip)[1::2]).last_hidden_state[:, 0]
        layout = StepLayout.of([4])
        steps = clip.unflatten(0, (4, 2))[:, None].expand(-1, 3, -1, -1, -1)
        tower = encoder.vivit
        tokens = tower.embeddings(steps, AS_IT_IS, layout)
        image_tokens = model.embeddings(as_image(clip)[1::2])
        found = tower.in_space(steps, AS_IT_IS, layout)[:, 0]
    torch.testing.assert_close(tokens, image_tokens, atol=2e-5, rtol=0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel_init", ["average", "central_frame"])
def test_a_clip_of_equal_frames_is_the_image(image, kernel_init):
    model, folder = image
    encoder = vivit_encoder(image_weights=folder, attention="causal", kernel_init=kernel_init).eval()
    frame = torch.randn(1, 32, 32)
    with torch.no_grad():
        expected = model(as_image(frame)).last_hidden_state[:, 0]
        found = encoder.vivit.in_space(frame[None, None].expand(-1, -1, 2, -1, -1), AS_IT_IS, StepLayout.of([1]))
    torch.testing.assert_close(found[:, 0], expected, atol=1e-5, rtol=0)


def test_model_3_begins_as_the_image_vit_without_cls(image):
    model, folder = image
    encoder = vivit_encoder(image_weights=folder, attention="factorised_self_attention", frame_adjust="window").eval()
    clip = torch.randn(1, 8, 32, 32)
    with torch.no_grad():
        hidden = model.embeddings(as_image(clip[0, 1::2]))[:, 1:]
        for layer in model.layers:
            hidden = layer(hidden)
        expected = model.layernorm(hidden if isinstance(hidden, torch.Tensor) else hidden[0]).mean(1)
        found = encoder(clip)[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        block = encoder.vivit.layers[0].time_attention
        block.o_proj.bias.add_(torch.randn(16))
        assert (encoder(clip)[0] - expected).abs().max() > 0.1
    assert not block.o_proj.weight.any() and block.q_proj.weight.any()


def test_a_joint_model_starts_too(image):
    _, folder = image
    encoder = vivit_encoder(image_weights=folder, num_frames=8, frame_adjust="window", window_overlap=4).eval()
    assert encoder.vivit.embeddings.position_embeddings.shape == (1, 1 + 4 * 16, 16)
    table = encoder.vivit.embeddings.position_embeddings[0, 1:].unflatten(0, (4, 16))
    assert torch.equal(table[0], table[3])


def test_rank_pooling_sees_change_alone():
    kernel = torch.randn(3, 3, 4, 4)
    for frames in (2, 3, 4, 8):
        assert rank_weights(frames).sum().abs() < 1e-5
        assert tubelet_kernel(kernel, frames, "average_arp").sum(2).abs().max() < 1e-5
    torch.testing.assert_close(tubelet_kernel(kernel, 4, "average").sum(2), kernel)
    central = tubelet_kernel(kernel, 2, "central_frame")
    assert torch.equal(central[:, :, 1], kernel) and not central[:, :, 0].any()


def test_wrong_starts_are_refused(image):
    _, folder = image
    with pytest.raises(ConfigError, match="kernel_init"):
        vivit_encoder(image_weights=folder, attention="causal", kernel_init="centre")
    with pytest.raises(ConfigError, match="image_weights"):
        vivit_encoder("vivit-ti-8x2", pretrained=False, kernel_init="average")
