"""Where a ViViT tower comes from: a stored checkpoint, or random weights of a known size.

In: a model name. Out: transformers' `VivitModel` without its pooler, with its position table resized to the wanted
picture size and number of frames.
"""

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import VivitConfig, VivitModel
from transformers.activations import ACT2FN

from espnet_vivit.base.option_types import check_value, check_values
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.checkpoint import missing_package, read_checkpoint
from espnet_vivit.units import TUBELET_FRAMES

# Widths of the ViT family (Dosovitskiy et al. 2021, Touvron et al. 2021 for ti and s); b is what the hub holds.
SIZES = {
    "ti": {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
    "s": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
    "b": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "l": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "h": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120},
}
_SIZE_NAME = re.compile(r"vivit-(?P<size>[a-z]+)-(?P<patch>\d+)x(?P<frames>\d+)", re.IGNORECASE)


def load_vivit(
    model_name: str,
    *,
    pretrained: bool,
    config: Mapping | None,
    image_size: int | None,
    num_frames: int,
    dtype: torch.dtype | None,
    revision: str | None,
    cache_dir: str | None,
    local_files_only: bool,
    attn_implementation: str,
) -> VivitModel:
    """The tower for `vivit_encoder`, whose docstring describes the arguments."""
    if pretrained:
        if config is not None:
            raise ConfigError(
                "config describes random weights, but pretrained is true",
                found=f"config with {', '.join(sorted(config))} and model_name={model_name!r}",
                fix="Set pretrained: false, or leave config out",
            )
        options = {"revision": revision, "cache_dir": cache_dir, "attn_implementation": attn_implementation}
        tower = read_checkpoint(model_name, dtype=dtype, local_files_only=local_files_only, **options)
        if tower.config.hidden_act == "gelu_fast":  # the same function, computed by PyTorch in one kernel
            _use_fused_gelu(tower)
    else:
        fields = dict(config) if config is not None else size_of(model_name)
        _set_once(fields, "num_frames", num_frames)
        if image_size is not None:
            _set_once(fields, "image_size", image_size)
        tower = _from_scratch(fields, attn_implementation, dtype)
    _check_geometry(tower.config)
    target = image_size if image_size is not None else tower.config.image_size
    return resize_tower(tower, image_size=target, num_frames=num_frames)


def _set_once(fields: dict, name: str, value) -> None:
    if fields.setdefault(name, value) != value:
        raise ConfigError(
            f"{name} is given twice, differently",
            found=f"{name}={value} and config with {name}={fields[name]}",
            fix=f"Give {name} as the encoder's own option only",
        )


def size_of(model_name: str) -> dict:
    """`VivitConfig` fields that a name such as "google/vivit-b-16x2-kinetics400" or "vivit-ti-8x2" states."""
    match = _SIZE_NAME.search(model_name)
    if match is None:
        raise ConfigError(
            "pretrained is false, and the model's name states no size",
            found=repr(model_name),
            expected="a name like vivit-b-16x2 (size, patch in pixels x tubelet in frames), or a config",
            fix="Pass config={...} with VivitConfig fields",
        )
    size = match["size"].lower()
    if size not in SIZES:
        raise unknown_name("ViViT size", size, SIZES)
    patch = int(match["patch"])
    return {**SIZES[size], "tubelet_size": [int(match["frames"]), patch, patch]}


def resize_tower(tower: VivitModel, *, image_size: int | list[int] | tuple[int, int], num_frames: int) -> VivitModel:
    """Change the clip size that `tower` takes, in place: its position table is resized, all other weights stay."""
    config = tower.config
    old = grid_of(config)
    if (pair(image_size), num_frames) == (pair(config.image_size), config.num_frames):
        return tower
    config.image_size, config.num_frames = image_size, num_frames
    _check_geometry(config)
    embeddings = tower.embeddings
    table = resize_positions(embeddings.position_embeddings.data, old, grid_of(config))
    embeddings.position_embeddings = nn.Parameter(table)
    embeddings.image_size = embeddings.patch_embeddings.image_size = pair(image_size)
    embeddings.patch_embeddings.num_patches = table.size(1) - 1
    return tower


def grid_of(config: VivitConfig) -> tuple[int, int, int]:
    """Tubelets in time, height and width of a full window."""
    (frames, patch_h, patch_w), (height, width) = config.tubelet_size, pair(config.image_size)
    return config.num_frames // frames, height // patch_h, width // patch_w


_V4_NAMES = (  # transformers 4 -> 5; longer names first
    ("encoder.layer.", "layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)


def rename_v4_keys(state_dict: dict, prefix: str) -> None:
    """Bring keys of a tower below `prefix` that transformers 4 wrote to the names used here, in place."""
    for key in [key for key in state_dict if key.startswith(prefix + "encoder.layer.")]:
        name = key[len(prefix) :]
        for old, new in _V4_NAMES:
            name = name.replace(old, new)
        state_dict[prefix + name] = state_dict.pop(key)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of a picture size as configurations write it, of a square one as one number."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _check_geometry(config: VivitConfig) -> None:
    if len(config.tubelet_size) != 3:
        found, expected = list(config.tubelet_size), "[frames, height, width]"
        raise ConfigError("tubelet_size is not the size of a box", found=found, expected=expected)
    frames, patch_h, patch_w = config.tubelet_size
    if frames != TUBELET_FRAMES:
        raise ConfigError(
            "ViViT's tubelets must last two frames, so that a feature step is 80 ms",
            found=f"tubelet_size={list(config.tubelet_size)}",
            expected=f"[{TUBELET_FRAMES}, {patch_h}, {patch_w}]",
        )
    if config.num_frames < frames or config.num_frames % frames:
        found, expected = config.num_frames, "an even number"
        raise ConfigError("num_frames is not a whole number of tubelets", found=found, expected=expected)
    height, width = pair(config.image_size)
    if height % patch_h or width % patch_w or not height or not width:
        near = max(patch_h, round(height / patch_h) * patch_h), max(patch_w, round(width / patch_w) * patch_w)
        raise ConfigError(
            "the patches do not tile the picture, its right and lower border would be ignored",
            found=f"image_size={height}x{width} with patches of {patch_h}x{patch_w} pixels",
            expected=f"a multiple, the nearest is {near[0]}x{near[1]}",
            fix="Crop or resize the video to that size, or use another patch size",
        )


def _from_scratch(fields: Mapping, attn_implementation: str, dtype: torch.dtype | None) -> VivitModel:
    known = set(VivitConfig().to_dict())
    for name in fields:
        if name not in known:
            raise unknown_name("VivitConfig field", name, known)
    numbers = {name: value for name, value in fields.items() if isinstance(value, int | float)}
    check_values("vivit", numbers, where="{name} in config")  # of other kinds VivitConfig judges itself
    try:
        config = VivitConfig(**{"hidden_act": "gelu_pytorch_tanh", **fields})
    except StrictDataclassError as error:
        raise ConfigError(f"config is not a valid VivitConfig: {error}") from error
    check_value("part", "image_size", max(pair(config.image_size)), where="image_size in config")
    _check_geometry(config)
    if config.hidden_act not in ACT2FN:
        raise unknown_name("hidden_act", config.hidden_act, ACT2FN)
    try:
        tower = VivitModel._from_config(config, attn_implementation=attn_implementation, add_pooling_layer=False)
    except ImportError as error:
        raise missing_package(f"attn_implementation={attn_implementation!r}", error) from error
    except ValueError as error:
        raise ConfigError(f"this ViViT cannot be built: {error}") from error
    # transformers starts the position table at zero; scenic, where ViViT comes from, at N(0, 0.02)
    nn.init.normal_(tower.embeddings.position_embeddings, std=config.initializer_range)
    return tower if dtype is None else tower.to(dtype)  # pyright: ignore[reportArgumentType]  a wrapper hides that it is bound


def _use_fused_gelu(tower: VivitModel) -> None:
    tower.config.hidden_act = "gelu_pytorch_tanh"
    for layer in tower.layers:
        layer.get_submodule("mlp").activation_fn = nn.GELU(approximate="tanh")


def dtype_named(name: str) -> torch.dtype:
    """The dtype that a YAML file names."""
    choices = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in choices:
        raise unknown_name("dtype", name, choices)
    return choices[name]


Grid = tuple[int, int, int]  # tubelets in time, height, width


def resize_positions(table: torch.Tensor, old: Grid, new: Grid, *, antialias: bool | None = None) -> torch.Tensor:
    """`table` (1, 1 + t*h*w, D), CLS row first and time the slowest axis, brought from grid `old` to grid `new`.

    The library's own `interpolate_pos_encoding` takes the three-dimensional grid for a square picture and fails on
    other sizes (transformers 5.23); scenic resizes pictures only. Here: bicubic over height and width (as for 2-D ViTs,
    with antialiasing where the grid shrinks, unless `antialias` says otherwise), then linear over time; an unchanged
    axis is left alone, so identity is exact.
    """
    if tuple(old) == tuple(new):
        return table
    (t, h, w), (new_t, new_h, new_w) = old, new
    cls = table[:, :1]
    grid = table[0, 1:].double().unflatten(0, (t, h, w))  # (t, h, w, D); in float32 constants would not stay constant
    if (h, w) != (new_h, new_w):
        pictures = grid.permute(0, 3, 1, 2)  # (t, D, h, w)
        smooth = (new_h < h or new_w < w) if antialias is None else antialias
        pictures = F.interpolate(pictures, (new_h, new_w), mode="bicubic", align_corners=False, antialias=smooth)
        grid = pictures.permute(0, 2, 3, 1)  # (t, new_h, new_w, D)
    if t != new_t:
        tracks = grid.permute(1, 2, 3, 0).flatten(0, 1)  # (new_h * new_w, D, t)
        tracks = F.interpolate(tracks, new_t, mode="linear", align_corners=False)
        grid = tracks.unflatten(0, (new_h, new_w)).permute(3, 0, 1, 2)  # (new_t, new_h, new_w, D)
    rows = grid.reshape(1, new_t * new_h * new_w, -1).to(table.dtype)
    return torch.cat([cls, rows], dim=1)
