"""scenic's checkpoint files: every layout that flax wrote, what the arrays tell, and files that are something else."""

import msgpack
import numpy as np
import pytest
import torch
from transformers import VivitModel

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.family_weights import folder_config, read_scenic, save_tower
from espnet_vivit.frontend.vivit.scenic_checkpoint import read_scenic_params
from espnet_vivit.frontend.vivit.scenic_weights import fields_of
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from tests.frontend.vivit.family_oracle import (
    CHECKPOINT_SEED,
    assert_equal_to,
    fill_scenic,
    folder_of,
    input_of,
    names_of,
    steps_of,
)

JOINT = ["joint_optimizer_target", "joint_params", "joint_pre_linen_nesting", "joint_bfloat16"]
FACTORISED = ["fe_optimizer_target", "fe_params", "fe_chunked"]
VIDEO = (2, 8, 32, 32, 3)


@pytest.fixture(scope="module")
def files(shared_dir):
    return folder_of(shared_dir) / "checkpoints"


@pytest.fixture(scope="module")
def expected(files):
    return np.load(files / "expected.npz")


def logits_of(features: torch.Tensor, path) -> torch.Tensor:
    params = read_scenic_params(path)
    kernel, bias = (torch.from_numpy(np.array(params[f"output_projection/{leaf}"])) for leaf in ("kernel", "bias"))
    return features @ kernel + bias


@pytest.mark.parametrize("name", JOINT)
def test_joint_files_become_transformers_vivit(files, expected, name):
    tower = read_scenic(files / name, num_frames=8).eval()
    assert isinstance(tower, VivitModel)
    video = torch.from_numpy(input_of(VIDEO, seed=CHECKPOINT_SEED)).permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        tokens = tower(video).last_hidden_state
    case = "joint_bfloat16" if name == "joint_bfloat16" else "joint"
    assert_equal_to(tokens, expected[f"{case}/norm"])
    assert_equal_to(logits_of(tokens[:, 0], files / name), expected[f"{case}/logits"])


@pytest.mark.parametrize("name", FACTORISED)
def test_factorised_encoder_files(files, expected, name):
    tower = read_scenic(files / name).eval()
    assert isinstance(tower, FactorisedEncoder)
    assert (tower.config.num_hidden_layers, tower.config.temporal_layers) == (2, 2)
    assert (tower.config.pooling, tower.config.num_frames, tower.config.picture) == ("cls", 8, (32, 32))
    seen = []
    tower.temporal.layernorm.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        tower(steps_of(input_of(VIDEO, seed=CHECKPOINT_SEED), 2), (1.0, 0.0), StepLayout.of_equal(2, 4))
    pooled = seen[0][:, 0]  # the temporal CLS, which scenic classifies by
    assert_equal_to(pooled, expected["fe/pooled"])
    assert_equal_to(logits_of(pooled, files / name), expected["fe/logits"])


def test_a_joint_file_is_the_hubs_folder(files):
    file = vivit_encoder(weights=str(files / "joint_params"), num_frames=8).eval()
    folder = vivit_encoder(str(files / "hf_joint_v4"), num_frames=8).eval()
    clip = torch.randint(0, 256, (1, 8, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(file(clip), folder(clip), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["joint_params", "fe_params"])
def test_a_converted_file_is_a_folder_that_model_name_reads(files, tmp_path, name):
    options = {"image_size": 16, "num_frames": 8, "frame_adjust": "window", "window_overlap": 4}
    save_tower(read_scenic(files / name, num_frames=8), tmp_path / "folder")
    from_file = vivit_encoder(weights=str(files / name), **options).eval()
    from_folder = vivit_encoder(str(tmp_path / "folder"), **options).eval()
    assert (folder_config(str(tmp_path / "folder")) is None) == (name == "joint_params")
    clip = torch.randint(0, 256, (1, 13, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(from_file(clip), from_folder(clip))


# what the arrays tell ------------------------------------------------------------------------------------------------


def published(*, spatial: int, temporal: int, places: int) -> dict[str, np.ndarray]:
    """The names and shapes of a factorised encoder file, as much as is read of it."""
    params = {
        "embedding/kernel": (2, 16, 16, 3, 8),
        "cls_SpatialTransformer": (1, 1, 8),
        "cls_TemporalTransformer": (1, 1, 8),
    }
    params["SpatialTransformer/posembed_input/pos_embedding"] = (1, 1 + places, 8)
    params["TemporalTransformer/posembed_input/pos_embedding"] = (1, 17, 8)
    for transformer, layers in (("Spatial", spatial), ("Temporal", temporal)):
        for i in range(layers):
            block = f"{transformer}Transformer/encoderblock_{i}"
            params[f"{block}/MultiHeadDotProductAttention_0/query/kernel"] = (8, 2, 4)
            params[f"{block}/MlpBlock_0/Dense_0/kernel"] = (8, 32)
    return {name: np.zeros(shape, np.float32) for name, shape in params.items()}


def test_layers_are_counted_not_assumed():
    fields = fields_of(published(spatial=24, temporal=24, places=196))
    assert (fields["num_hidden_layers"], fields["temporal_layers"]) == (24, 24)
    assert fields["image_size"] == [224, 224] and fields["num_frames"] == 32


def test_pictures_that_are_not_square_are_asked_for():
    params = published(spatial=1, temporal=1, places=6)
    with pytest.raises(ConfigError, match="image_size"):
        fields_of(params)
    assert fields_of(params, image_size=(32, 48))["image_size"] == [32, 48]


def test_without_a_cls_token_the_variant_is_asked_for(shared_dir):
    params = fill_scenic(names_of(shared_dir)["scenic_family"]["g1/m4_gap"])
    with pytest.raises(ConfigError, match="factorised_dot_product"):
        fields_of(params, num_frames=8, image_size=(24, 16))


def test_another_variant_than_the_files_is_refused(files):
    with pytest.raises(ConfigError, match=r"attention=factorised_dot_product.*factorised_encoder"):
        vivit_encoder(weights=str(files / "fe_params"), attention="factorised_dot_product")
    with pytest.raises(ConfigError, match="joint"):
        vivit_encoder(weights=str(files / "joint_params"), num_frames=8, drop_path=0.1)
    with pytest.raises(ConfigError, match="temporal_layers"):
        vivit_encoder(weights=str(files / "fe_params"), temporal_layers=4)


@pytest.mark.parametrize("other", [{"pretrained": False}, {"config": {}}, {"image_weights": "google/vit"}])
def test_weights_come_from_one_place(files, other):
    with pytest.raises(ConfigError, match="one place"):
        vivit_encoder(weights=str(files / "fe_params"), **other)


# files that are something else ---------------------------------------------------------------------------------------


def packed(array: np.ndarray, *, shape=None, dtype=None) -> msgpack.ExtType:
    content = (list(array.shape) if shape is None else shape, dtype or array.dtype.name, array.tobytes())
    return msgpack.ExtType(1, msgpack.packb(content))


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
BAD_FILES = {
    "empty": b"",
    "text": b"model_checkpoint_path: here",
    "a list": msgpack.packb([1, 2]),
    "no parameters": msgpack.packb({"step": 3}),
    "no arrays": msgpack.packb({"params": {"embedding": {"kernel": 1.0}}}),
    "shape beyond the bytes": msgpack.packb({"params": {"cls": packed(ARRAY, shape=[2, 4])}}),
    "negative shape": msgpack.packb({"params": {"cls": packed(ARRAY, shape=[-2, -3])}}),
    "unknown dtype": msgpack.packb({"params": {"cls": packed(ARRAY, dtype="object")}}),
    "bytes behind it": msgpack.packb({"params": {"cls": packed(ARRAY)}}) + b"x",
    "cut short": msgpack.packb({"params": {"cls": packed(ARRAY)}})[:-9],
    "chunks that do not fit": msgpack.packb(
        {
            "params": {
                "cls": {"__msgpack_chunked_array__": True, "shape": {"0": 7}, "chunks": {"0": packed(ARRAY.ravel())}}
            }
        }
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, what):
    path = tmp_path / "checkpoint"
    path.write_bytes(BAD_FILES[what])
    with pytest.raises(WeightsError):
        read_scenic_params(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match="checkpoint_9"):
        vivit_encoder(weights=str(tmp_path / "checkpoint_9"))


def test_what_is_read_of_a_small_file(tmp_path):
    """The toy of the tests above, without a fault; more than ten chunks come in numeric order."""
    chunks = {str(i): packed(np.full(2, i, np.float32)) for i in range(12)}
    chunked = {"__msgpack_chunked_array__": True, "shape": {"0": 12, "1": 2}, "chunks": dict(sorted(chunks.items()))}
    path = tmp_path / "checkpoint"
    path.write_bytes(msgpack.packb({"params": {"a": {"b": packed(ARRAY)}, "c": chunked}, "opt_state": None}))
    params = read_scenic_params(path)
    np.testing.assert_array_equal(params["a/b"], ARRAY)
    np.testing.assert_array_equal(params["c"][:, 0], np.arange(12))


def test_a_parameter_of_another_model_is_named(tmp_path):
    path = tmp_path / "checkpoint"
    params = {name.replace("/", "|"): value for name, value in published(spatial=1, temporal=1, places=4).items()}
    tree: dict = {}
    for name, value in {**params, "SpatialTransformer|conv|kernel": ARRAY}.items():
        *folders, leaf = name.split("|")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = packed(value)
    path.write_bytes(msgpack.packb({"params": tree}))
    with pytest.raises(WeightsError, match="SpatialTransformer/conv/kernel"):
        read_scenic(path)
