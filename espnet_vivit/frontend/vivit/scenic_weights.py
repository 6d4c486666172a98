"""scenic's ViViT parameters as ours: what a checkpoint's arrays tell about the model, and their names and layouts here.

flax keeps a dense kernel as (in, out), attention kernels as (D, heads, d) and (heads, d, D), and the tubelet kernel as
(t, h, w, C, D); PyTorch wants (out, in) and (D, C, t, h, w). Joint attention becomes transformers' `VivitModel`, whose
names ours follow; the classifier is left out.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import torch

from espnet_vivit.errors import ConfigError, WeightsError

_BLOCK = {  # of joint attention, factorised dot product, and both transformers of the factorised encoder
    "LayerNorm_0": "layernorm_before",
    "LayerNorm_1": "layernorm_after",
    "MultiHeadDotProductAttention_0": "attention",
    "MlpBlock_0/Dense_0": "mlp.fc1",
    "MlpBlock_0/Dense_1": "mlp.fc2",
    # of factorised self-attention
    "LayerNorm_space": "layernorm_space",
    "LayerNorm_time": "layernorm_time",
    "LayerNorm_mlp": "layernorm_mlp",
    "MultiHeadDotProductAttention_space": "space_attention",
    "MultiHeadDotProductAttention_time": "time_attention",
    "MlpBlock/Dense_0": "mlp.fc1",
    "MlpBlock/Dense_1": "mlp.fc2",
}
_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
_TRANSFORMERS = {"Transformer": "", "SpatialTransformer": "", "TemporalTransformer": "temporal."}
_TOKENS = {
    "cls": "embeddings.cls_token",
    "cls_SpatialTransformer": "embeddings.cls_token",
    "cls_TemporalTransformer": "temporal.cls_token",
}
_POSITIONS = {
    "Transformer": "embeddings.position_embeddings",
    "SpatialTransformer": "embeddings.position_embeddings",
    "TemporalTransformer": "temporal.position_embeddings",
}
_HEAD = ("output_projection", "pre_logits")
_PATH = re.compile(
    r"(?P<transformer>\w*Transformer)/encoderblock_(?P<number>\d+)/(?P<part>\w+(?:/Dense_\d)?)"
    r"(?:/(?P<projection>query|key|value|out))?/(?P<leaf>kernel|bias|scale)"
)


def state_dict_of(params: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """scenic's parameters under our names, without the classifier. Raises `WeightsError` for an unknown name."""
    state = {}
    for path, array in params.items():
        if path.split("/")[0] not in _HEAD:
            name, value = _translate(path, array)
            state[name] = torch.from_numpy(np.array(value, dtype=np.float32, order="C"))
    return state


def _translate(path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    first, _, rest = path.partition("/")
    if path in _TOKENS:
        return _TOKENS[path], array
    if first == "embedding" and rest in ("kernel", "bias"):
        name = "embeddings.patch_embeddings.projection."
        return (name + "bias", array) if rest == "bias" else (name + "weight", array.transpose(4, 3, 0, 1, 2))
    if first in _POSITIONS and rest == "posembed_input/pos_embedding":
        return _POSITIONS[first], array
    if first in _TRANSFORMERS and rest in ("encoder_norm/scale", "encoder_norm/bias"):
        return f"{_TRANSFORMERS[first]}layernorm.{'weight' if rest.endswith('scale') else 'bias'}", array
    match = _PATH.fullmatch(path)
    if match is None or match["part"] not in _BLOCK or match["transformer"] not in _TRANSFORMERS:
        raise WeightsError(
            "the scenic checkpoint holds a parameter that belongs to no ViViT",
            found=path,
            fix="weights reads scenic's spacetime, factorized_encoder, factorized_self_attention_block and "
            "factorized_dot_product_attention models",
        )
    name = f"{_TRANSFORMERS[match['transformer']]}layers.{match['number']}.{_BLOCK[match['part']]}"
    if match["projection"]:
        name += f".{_PROJECTIONS[match['projection']]}"
    name += ".bias" if match["leaf"] == "bias" else ".weight"
    return name, _to_torch(array, match["projection"], match["leaf"])


def _to_torch(array: np.ndarray, projection: str | None, leaf: str) -> np.ndarray:
    if projection == "out":
        return array.reshape(-1, array.shape[-1]).T if leaf == "kernel" else array
    if projection is not None:
        return array.reshape(array.shape[0], -1).T if leaf == "kernel" else array.reshape(-1)
    return array.T if leaf == "kernel" else array


def fields_of(
    params: Mapping[str, np.ndarray],
    *,
    attention: str | None = None,
    num_frames: int = 32,
    image_size: tuple[int, int] | None = None,
) -> dict:
    """The configuration that the parameters tell: `attention` and fields of `VivitConfig` or `FamilyConfig`.

    attention, image_size: needed where the file leaves them open. num_frames: frames of the windows it was trained on.

    Raises:
        ConfigError: `attention` is another than the file's, or has to be given.
        WeightsError: arrays that are missing or do not fit together.
    """
    found = _attention_of(params, attention)
    split = found == "factorised_encoder"
    main = "SpatialTransformer" if split else "Transformer"
    try:
        frames, patch_h, patch_w, channels, width = params["embedding/kernel"].shape
        part = "MultiHeadDotProductAttention_" + ("space" if found == "factorised_self_attention" else "0")
        _, heads, _ = params[f"{main}/encoderblock_0/{part}/query/kernel"].shape
        mlp = "MlpBlock" if found == "factorised_self_attention" else "MlpBlock_0"
        inner = params[f"{main}/encoderblock_0/{mlp}/Dense_0/kernel"].shape[1]
        rows = params[f"{main}/posembed_input/pos_embedding"].shape[1]
        in_time = params["TemporalTransformer/posembed_input/pos_embedding"].shape[1] if split else None
    except (KeyError, ValueError) as error:
        raise WeightsError(f"the scenic checkpoint lacks a part of a {found} ViViT: {error}") from error
    cls = ("cls_SpatialTransformer" if split else "cls") in params
    steps = in_time - cls if in_time is not None else num_frames // frames
    places = rows - cls if split else (rows - cls) // steps
    if not split and places * steps != rows - cls:
        found_rows = f"{rows - cls} positions for {num_frames} frames in tubelets of {frames}"
        raise ConfigError("num_frames does not fit the scenic checkpoint", found=found_rows, fix="Set num_frames")
    fields = {
        "attention": found,
        "hidden_size": width,
        "num_hidden_layers": _count(params, main),
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_channels": channels,
        "tubelet_size": [frames, patch_h, patch_w],
        "num_frames": steps * frames,
        "image_size": _picture(places, (patch_h, patch_w), image_size),
    }
    if found == "factorised_self_attention":
        fields["attention_order"] = "time_space"  # scenic's default; the file does not tell
    if split:
        fields |= {"temporal_layers": _count(params, "TemporalTransformer"), "cls_token": cls}
    return fields


def _attention_of(params: Mapping[str, np.ndarray], asked: str | None) -> str:
    if any(path.startswith("SpatialTransformer/") for path in params):
        found = "factorised_encoder"
    elif any("MultiHeadDotProductAttention_time/" in path for path in params):
        found = "factorised_self_attention"
    elif "cls" in params:
        found = "joint"
    elif asked == "factorised_dot_product":
        found = asked
    else:
        raise ConfigError(
            "the scenic checkpoint has no CLS token, so it is factorised_dot_product or joint attention with mean "
            "pooling, and the file does not tell which",
            found=f"attention={asked}",
            expected="factorised_dot_product; joint attention without CLS is not supported",
            fix="Set attention: factorised_dot_product if scenic's config says so",
        )
    if asked is not None and asked != found:
        raise ConfigError("the scenic checkpoint is of another variant", found=f"attention={asked}", expected=found)
    return found


def _count(params: Mapping[str, np.ndarray], transformer: str) -> int:
    numbers = {
        match["number"] for path in params if (match := _PATH.fullmatch(path)) and match["transformer"] == transformer
    }
    return len(numbers)


def _picture(places: int, patch: tuple[int, int], asked: tuple[int, int] | None) -> list[int]:
    """Height and width that the position table was trained for: a square, or the size that was asked for."""
    if asked is not None and (asked[0] // patch[0]) * (asked[1] // patch[1]) == places:
        return [asked[0], asked[1]]
    side = math.isqrt(places)
    if side * side != places:
        raise ConfigError(
            "the scenic checkpoint was trained on pictures that are not square",
            found=f"{places} places of {patch[0]}x{patch[1]} pixels",
            fix="Set image_size: [height, width] as in scenic's config",
        )
    return [side * patch[0], side * patch[1]]
