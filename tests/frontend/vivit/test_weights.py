"""Towers by size, resized towers, and checkpoints of ours under the names of transformers 4."""

import pytest
import torch
from transformers import VivitConfig, VivitModel

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.weights import grid_of, rename_v4_keys, resize_positions, size_of
from tests.tiny import CONFIG, PIXELS, WINDOW, randomize, tiny_vivit

MILLION = 1e6


def build(**options):
    return vivit_encoder(pretrained=False, **{"num_frames": WINDOW, **options}).vivit


@pytest.mark.parametrize(
    ("name", "image_size", "millions"),
    [
        ("google/vivit-b-16x2-kinetics400", None, 88.6),  # its 3137 tokens at 224 pixels; notes of the paper's sizes
        ("vivit-b-16x2", 96, 86.7),
        ("vivit-l-16x2", 96, 304.5),
        ("vivit-h-14x2", 224, 636.4),
        ("vivit-s-16x2", 96, 22.1),
        ("ViViT-Ti-8x2", 88, 5.785),  # 12 (12 D² + 13 D) + 2·8·8·3 D + 3 D + (1 + 16·11·11) D + D, D = 192
    ],
)
def test_names_state_the_published_sizes(name, image_size, millions):
    with torch.device("meta"):
        encoder = vivit_encoder(name, pretrained=False, image_size=image_size)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert parameters / MILLION == pytest.approx(millions, abs=0.05)
    assert encoder.vivit.config.image_size == (image_size or 224)


def test_a_name_that_states_no_size_needs_a_config():
    with pytest.raises(ConfigError, match=r"states no size: found 'my-model'.*vivit-b-16x2.*config=\{...\}"):
        vivit_encoder("my-model", pretrained=False)


def test_a_size_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="unknown ViViT size: found 'x'; expected one of b, h, l, s, ti"):
        size_of("vivit-x-16x2")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_sizes": 16}, "unknown VivitConfig field: found 'hidden_sizes'.*Did you mean 'hidden_size'"),
        ({"hidden_size": "sixteen"}, r"(?s)not a valid VivitConfig: .*'hidden_size' expected int, got str"),
        ({"hidden_act": "geluu"}, "unknown hidden_act: found 'geluu'.*Did you mean 'gelu'"),
        ({"tubelet_size": [2, 8]}, r"tubelet_size.*found \[2, 8\]; expected \[frames, height, width\]"),
        ({"tubelet_size": [4, 8, 8]}, r"last two frames.*found tubelet_size=\[4, 8, 8\]; expected \[2, 8, 8\]"),
    ],
)
def test_a_bad_config_field_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        build(config={**CONFIG, **config})


def test_a_misspelt_attention_is_named():
    with pytest.raises(ConfigError, match='attn_implementation="sdpaa"` is not supported'):
        build(config=CONFIG, attn_implementation="sdpaa")


@pytest.mark.parametrize("option", ["num_frames", "image_size"])
def test_a_size_given_twice_differently_is_a_contradiction(option):
    with pytest.raises(ConfigError, match=f"{option} is given twice, differently: found {option}=32 and"):
        build(config=CONFIG, **{option: 32})


@pytest.mark.parametrize(
    ("image_size", "patch", "nearest"), [(88, 16, "96x96"), (96, 14, "98x98"), (100, 16, "96x96"), (8, 16, "16x16")]
)
def test_patches_that_do_not_tile_the_picture_are_an_error_that_names_the_nearest_size(image_size, patch, nearest):
    """The library cuts 8 of 88 pixels off at the right and below, without a word."""
    config = {**CONFIG, "tubelet_size": [2, patch, patch]}
    del config["image_size"]
    with pytest.raises(ConfigError, match=f"do not tile.*image_size={image_size}x{image_size}.*nearest is {nearest}"):
        build(config=config, image_size=image_size)


@pytest.mark.parametrize("num_frames", [0, 1, 7])
def test_a_window_of_no_whole_tubelets_is_an_error(num_frames):
    config = {**CONFIG, "num_frames": num_frames}
    with pytest.raises(ConfigError, match=f"num_frames is not a whole number of tubelets: found {num_frames}"):
        build(config=config, num_frames=num_frames)


def test_random_weights_have_positions_that_differ():
    """The library starts the position table at zero, so that the order of frames would be invisible at first."""
    table = build(config=CONFIG).embeddings.position_embeddings
    assert table.std().item() == pytest.approx(0.02, rel=0.2)


# other sizes than the checkpoint's ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(5)
    tower = randomize(VivitModel(VivitConfig(**CONFIG), add_pooling_layer=False))
    folder = tmp_path_factory.mktemp("vivit")
    tower.save_pretrained(folder)
    return str(folder), tower


@pytest.mark.parametrize(
    ("num_frames", "image_size"), [(WINDOW, 24), (4, PIXELS), (16, 32), (16, None), (WINDOW, [16, 32])]
)
def test_another_size_resizes_the_position_table_and_nothing_else(checkpoint, num_frames, image_size):
    folder, tower = checkpoint
    encoder = vivit_encoder(folder, num_frames=num_frames, image_size=image_size).eval()
    resized, config = encoder.vivit, encoder.vivit.config
    assert (config.num_frames, config.image_size) == (num_frames, image_size or PIXELS)
    table = tower.embeddings.position_embeddings
    expected = resize_positions(table, grid_of(tower.config), grid_of(config))
    assert expected.shape != table.shape
    for name, value in tower.state_dict().items():
        wanted = expected if name == "embeddings.position_embeddings" else value
        assert torch.equal(resized.state_dict()[name], wanted), name
    height, width = (
        (PIXELS, PIXELS) if image_size is None else (image_size,) * 2 if type(image_size) is int else image_size
    )
    assert encoder(torch.randn(1, 4, height, width)).shape == (1, 2, 16)
    # the library agrees on the new size: its own forward pass takes it
    video = torch.randn(1, num_frames, 3, height, width)
    assert resized(video).last_hidden_state.shape == (1, expected.size(1), 16)


def test_a_resized_tower_saves_and_loads_in_the_library(checkpoint, tmp_path):
    encoder = vivit_encoder(checkpoint[0], num_frames=16, image_size=32)
    encoder.vivit.save_pretrained(tmp_path)
    again = VivitModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert again.config.image_size == 32 and again.config.num_frames == 16
    for name, value in encoder.vivit.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_resizing_one_tower_leaves_another_of_the_same_checkpoint_alone(checkpoint):
    first = vivit_encoder(checkpoint[0], num_frames=WINDOW)
    vivit_encoder(checkpoint[0], num_frames=16, attn_implementation="eager")
    assert first.vivit.config.num_frames == WINDOW
    assert first.vivit.config._attn_implementation == "sdpa"


# names of transformers 4 --------------------------------------------------------------------------------------------


def v4_names(encoder, folder, prefix):
    """The tower's state as the library itself writes it, under the names of transformers 4."""
    from safetensors.torch import load_file

    encoder.vivit.save_pretrained(folder)
    return {prefix + name: value for name, value in load_file(folder / "model.safetensors").items()}


LAYER_NAMES = (
    "attention.q_proj attention.k_proj attention.v_proj attention.o_proj "
    "layernorm_before layernorm_after mlp.fc1 mlp.fc2"
).split()


def test_the_names_of_our_checkpoints_are_these_whatever_the_library_calls_its_own():
    encoder = tiny_vivit(output_dim=6, feature_rate="frame")
    layers = [f"vivit.layers.{i}.{name}" for i in range(2) for name in LAYER_NAMES]
    modules = [*layers, "vivit.layernorm", "vivit.embeddings.patch_embeddings.projection", "projection"]
    modules.append("upsample.linear")
    expected = {f"{name}.{kind}" for name in modules for kind in ("weight", "bias")}
    expected |= {"vivit.embeddings.cls_token", "vivit.embeddings.position_embeddings"}
    assert set(encoder.state_dict()) == expected


def test_our_checkpoints_with_names_of_transformers_4_load(tmp_path):
    saved, other = (tiny_vivit(output_dim=6, frame_adjust="window", window_overlap=2) for _ in range(2))
    state = {name: value for name, value in saved.state_dict().items() if not name.startswith("vivit.")}
    old = v4_names(saved, tmp_path, "vivit.")
    assert any(name.startswith("vivit.encoder.layer.") for name in old)
    other.load_state_dict({**state, **old})
    video = torch.randn(1, 9, PIXELS, PIXELS)
    with torch.no_grad():
        assert torch.equal(other(video), saved(video))


def test_they_load_deep_inside_a_model_too(tmp_path):
    saved, other = torch.nn.ModuleDict({"tower": tiny_vivit()}), torch.nn.ModuleDict({"tower": tiny_vivit()})
    other.load_state_dict(v4_names(saved["tower"], tmp_path, "tower.vivit."))
    for name, value in saved.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_renaming_takes_every_name_of_transformers_4_to_ours(tmp_path):
    encoder = tiny_vivit()
    state = v4_names(encoder, tmp_path, "vivit.")
    rename_v4_keys(state, "vivit.")
    assert state.keys() == encoder.state_dict().keys()


def test_a_missing_and_an_unknown_key_are_named():
    encoder = tiny_vivit()
    state = encoder.state_dict()
    state["vivit.layers.2.extra"] = state.pop("vivit.layers.1.mlp.fc2.bias")
    with pytest.raises(RuntimeError, match=r"(?s)vivit\.layers\.1\.mlp\.fc2\.bias.*vivit\.layers\.2\.extra"):
        encoder.load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 0), ("intermediate_size", -1), ("num_attention_heads", 0), ("num_hidden_layers", 10**30)],
)
def test_a_tower_of_impossible_sizes_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} in config"):
        vivit_encoder(pretrained=False, num_frames=WINDOW, config={**CONFIG, name: value})


def test_a_picture_larger_than_any_and_a_config_that_is_none_are_refused():
    with pytest.raises(ConfigError, match=r"^image_size in .*at most 16384 pixels"):
        vivit_encoder(pretrained=False, num_frames=WINDOW, config={**CONFIG, "image_size": 10**30})
    with pytest.raises(ConfigError, match="config of a ViViT: found 3; expected a mapping"):
        vivit_encoder(pretrained=False, config=3)
