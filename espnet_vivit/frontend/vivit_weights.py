"""Where a ViViT tower comes from: a hub id, a local folder, or random weights of a known size.

In: a model name. Out: transformers' `VivitModel` without its pooler, with its position table resized to the wanted
picture size and number of frames. Checkpoints under the names of transformers 4 and 5, `.bin` and `.safetensors`, load
alike (the library converts them). Local copies are looked up first, so a machine without network answers at once.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, StrictDataclassError
from torch import nn
from transformers import VivitConfig, VivitModel

from espnet_vivit.errors import ConfigError, MissingDependencyError, WeightsError, unknown_name
from espnet_vivit.frontend.positions import resize_positions
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
_HUB_TIMEOUT_S = 2.0  # the library itself would retry for 46 s before it says that there is no network


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
        tower = _from_checkpoint(model_name, dtype=dtype, local_files_only=local_files_only, **options)
    else:
        fields = dict(config) if config is not None else size_of(model_name)
        fields.setdefault("num_frames", num_frames)
        if image_size is not None:
            fields["image_size"] = image_size
        tower = _from_scratch(fields, attn_implementation, dtype)
    _check_geometry(tower.config)
    target = image_size if image_size is not None else tower.config.image_size
    return resize_tower(tower, image_size=target, num_frames=num_frames)


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


def resize_tower(tower: VivitModel, *, image_size, num_frames: int) -> VivitModel:
    """Change the clip size that `tower` takes, in place: its position table is resized, all other weights stay."""
    config = tower.config
    old = grid_of(config)
    if (_pair(image_size), num_frames) == (_pair(config.image_size), config.num_frames):
        return tower
    config.image_size, config.num_frames = image_size, num_frames
    _check_geometry(config)
    embeddings = tower.embeddings
    table = resize_positions(embeddings.position_embeddings.data, old, grid_of(config))
    embeddings.position_embeddings = nn.Parameter(table)
    embeddings.image_size = embeddings.patch_embeddings.image_size = _pair(image_size)
    embeddings.patch_embeddings.num_patches = table.size(1) - 1
    return tower


def grid_of(config: VivitConfig) -> tuple[int, int, int]:
    """Tubelets in time, height and width of a full window."""
    (frames, patch_h, patch_w), (height, width) = config.tubelet_size, _pair(config.image_size)
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


def _pair(size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _check_geometry(config: VivitConfig) -> None:
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
    height, width = _pair(config.image_size)
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
    try:
        config = VivitConfig(**{"hidden_act": "gelu_pytorch_tanh", **fields})
    except StrictDataclassError as error:
        raise ConfigError(f"config is not a valid VivitConfig: {error}") from error
    tower = VivitModel._from_config(config, attn_implementation=attn_implementation, add_pooling_layer=False)
    # transformers starts the position table at zero; scenic, where ViViT comes from, at N(0, 0.02)
    nn.init.normal_(tower.embeddings.position_embeddings, std=config.initializer_range)
    return tower if dtype is None else tower.to(dtype)


def _from_checkpoint(name: str, *, dtype, local_files_only: bool, cache_dir: str | None, **options) -> VivitModel:
    if _looks_like_folder(name) and not Path(name).is_dir():
        raise WeightsError("the folder of pretrained weights does not exist", found=name, fix="Check the path")
    options |= {"add_pooling_layer": False, "dtype": dtype or torch.float32, "cache_dir": cache_dir}
    try:
        tower, report = VivitModel.from_pretrained(name, local_files_only=True, output_loading_info=True, **options)
    except ImportError as error:
        raise MissingDependencyError(f"the weights of {name} need a package that is not installed: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        if Path(name).is_dir():
            raise WeightsError(f"the folder {name} holds no ViViT that can be loaded: {error}") from error
        if local_files_only or constants.HF_HUB_OFFLINE:
            raise _not_at_hand(name, cache_dir, "downloads are switched off") from error
        _ask_hub(name, options["revision"], cache_dir)
        tower, report = VivitModel.from_pretrained(name, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        raise WeightsError(
            f"{name} is not a complete ViViT checkpoint",
            found=f"missing {missing[:5]}, mismatched {list(report['mismatched_keys'])[:5]}",
            expected="every weight of VivitModel",
        )
    tower.config = copy.deepcopy(tower.config)  # a config shared with another model would change with ours
    if tower.config.hidden_act == "gelu_fast":  # the same function, computed by PyTorch in one kernel
        _use_fused_gelu(tower)
    return tower


def _use_fused_gelu(tower: VivitModel) -> None:
    tower.config.hidden_act = "gelu_pytorch_tanh"
    for layer in tower.layers:
        layer.mlp.activation_fn = nn.GELU(approximate="tanh")


def _looks_like_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1  # a hub id is "owner/name" or "name"


def _ask_hub(name: str, revision: str | None, cache_dir: str | None) -> None:
    try:
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WeightsError("the hub has no such model", found=name, fix="Check the spelling of model_name") from error
    except Exception as error:  # every network library has its own tree of errors; the cause is kept
        raise _not_at_hand(name, cache_dir, f"the hub did not answer ({type(error).__name__})") from error


def _not_at_hand(name: str, cache_dir: str | None, reason: str) -> WeightsError:
    return WeightsError(
        f"the weights of {name} are not on this machine, and {reason}",
        found=f"no copy in {cache_dir or constants.HF_HUB_CACHE}",
        expected="a cached download, or a network",
        fix=(
            f"Either run `hf download {name}` where there is a network and copy that folder here, "
            "or train from random weights with `pretrained: false`"
        ),
    )
