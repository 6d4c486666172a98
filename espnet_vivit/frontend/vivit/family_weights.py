"""Where the weights of a factorised or causal ViViT come from: random, a folder of ours, a scenic file, an image ViT.

In: a description. Out: a `FamilyTower`, or transformers' `VivitModel` where the weights are of joint attention, with
position tables brought to the wanted picture size and window. A folder holds config.json (`FamilyConfig`) and
model.safetensors; `espnet-vivit convert` writes one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import ViTModel, VivitConfig, VivitModel

from espnet_vivit.base.torch_file import check_numbers, read_safetensors, write_safetensors
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.frontend.vivit.checkpoint import read_checkpoint
from espnet_vivit.frontend.vivit.factorised_dot_product import FactorisedDotProduct
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.factorised_self_attention import FactorisedSelfAttention
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.image_start import fields_of_image, image_state
from espnet_vivit.frontend.vivit.scenic_checkpoint import read_scenic_params
from espnet_vivit.frontend.vivit.scenic_weights import fields_of, state_dict_of
from espnet_vivit.frontend.vivit.weights import pair, resize_positions

_TOWERS = {
    "factorised_encoder": FactorisedEncoder,
    "causal": FactorisedEncoder,
    "factorised_self_attention": FactorisedSelfAttention,
    "factorised_dot_product": FactorisedDotProduct,
}
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def random_tower(config: FamilyConfig) -> FamilyTower:
    """A tower to train from scratch."""
    tower = _TOWERS[config.attention](config)
    tower.start()
    return tower


def read_scenic(
    path: str | Path,
    *,
    attention: str | None = None,
    num_frames: int = 32,
    image_size: int | None = None,
    options: Mapping | None = None,
) -> FamilyTower | VivitModel:
    """The tower of a scenic checkpoint file, with the sizes it was trained with.

    attention, num_frames, image_size: needed where the file does not tell, see `scenic_weights.fields_of`. options:
    further fields of `FamilyConfig`, for factorised variants; the pooling is CLS where the file has one in space.

    Raises ConfigError for options that contradict the file, WeightsError for a file that is not one of a ViViT.
    """
    params = read_scenic_params(path)
    size = None if image_size is None else pair(image_size)
    fields = fields_of(params, attention=attention, num_frames=num_frames, image_size=size)
    if fields["attention"] == "joint":
        if options:
            raise ConfigError(
                "the scenic checkpoint is of joint attention, which has no such option", found=", ".join(options)
            )
        del fields["attention"]
        config = VivitConfig(**fields, hidden_act="gelu_pytorch_tanh")
        tower = VivitModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False)
        return _filled(tower, state_dict_of(params), path)
    fields |= {"temporal_positions": "learned", "pooling": "cls" if fields.get("cls_token") else "mean"}
    for name, value in (options or {}).items():
        if name in ("temporal_layers", "temporal_positions", "temporal_tokens") and value != fields.get(name, "steps"):
            raise ConfigError(
                f"{name} contradicts the scenic checkpoint", found=value, expected=fields.get(name, "steps")
            )
    config = FamilyConfig.from_dict(fields | dict(options or {}))
    return _filled(random_tower(config), state_dict_of(params), path, fresh=_fresh(config))


def _fresh(config: FamilyConfig) -> tuple[str, ...]:
    """Parameters that no published checkpoint holds."""
    return ("pooling.", "embeddings.register_tokens") if config.registers else ("pooling.",)


def _filled(tower, state: Mapping[str, torch.Tensor], source: object, *, fresh: tuple[str, ...] = ()):
    """`tower` with the weights of `state`; all of them must be there but those that begin with `fresh`."""
    own = tower.state_dict()
    missing = [name for name in own if name not in state and not name.startswith(fresh or ("\0",))]
    wrong = [name for name in state if name not in own or own[name].shape != state[name].shape]
    if missing or wrong:
        raise WeightsError(
            f"{source} does not hold exactly the weights of its ViViT",
            found=f"missing {missing[:5]}, without a place or of another shape {wrong[:5]}",
        )
    check_numbers(state, source, like=own)
    tower.load_state_dict(state, strict=False)
    return tower


def from_image(
    name: str,
    *,
    attention: str,
    kernel_init: str,
    frames: int,
    image_size: int | None,
    num_frames: int,
    options: Mapping,
    source: Mapping,
) -> FamilyTower | VivitModel:
    """A tower that starts as a 2-D image ViT, Hugging Face's `ViTModel`, a folder or hub id `name`.

    frames: of a tubelet. options: further fields of `FamilyConfig`. source: as `read_checkpoint` takes it.
    """
    image = read_checkpoint(name, architecture=ViTModel, **source)
    fields: dict[str, Any] = fields_of_image(image.config) | {"tubelet_size": [frames, *pair(image.config.patch_size)]}
    fields |= {"num_frames": num_frames, "image_size": image_size or image.config.image_size}
    if attention == "joint":
        if options:
            raise ConfigError("joint attention has no such option", found=", ".join(options))
        config = VivitConfig(**fields, hidden_act="gelu_pytorch_tanh")
        tower = VivitModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False)
        nn.init.normal_(tower.embeddings.position_embeddings, std=config.initializer_range)
        height, width = (n // p for n, p in zip(pair(config.image_size), config.tubelet_size[1:], strict=True))
        grid = (config.num_frames // frames, height, width)
    else:
        split = attention in ("factorised_encoder", "causal")
        fields |= {"attention": attention, "cls_token": split, "pooling": "cls" if split else "mean"}
        tower = random_tower(FamilyConfig.from_dict(fields | dict(options)))
        grid = (tower.embeddings.steps_in_table, *tower.config.grid)
    state = image_state(image.state_dict(), tower.state_dict(), grid=grid, kernel_init=kernel_init)
    tower.load_state_dict(state, strict=False)
    return tower


def save_tower(tower: FamilyTower | VivitModel, folder: str | Path) -> Path:
    """Write a folder that `model_name` reads. Returns its path."""
    folder = Path(folder)
    if isinstance(tower, VivitModel):
        tower.save_pretrained(folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(tower.state_dict(), folder / WEIGHTS)
    text = json.dumps(tower.config.to_dict(), indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return folder


def folder_config(name: str) -> dict | None:
    """The configuration in a folder of ours; None for anything else."""
    path = Path(name) / CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # transformers reads it next, and says so
    return config if isinstance(config, dict) and "attention" in config else None


def read_folder(folder: str, config: Mapping) -> FamilyTower:
    """The tower of a folder that `save_tower` has written, under `config`: its own, or changed where no weight is."""
    state = read_safetensors(Path(folder) / WEIGHTS)
    family = FamilyConfig.from_dict(config)
    return _filled(random_tower(family), state, folder, fresh=("pooling.",))


def resize_family(tower: FamilyTower, *, image_size: int | None, num_frames: int | None) -> FamilyTower:
    """`tower` for pictures and windows of other sizes: its position tables are resized, all other weights stay."""
    old = tower.config
    changes = {"image_size": image_size, "num_frames": num_frames}
    changes = {name: value for name, value in changes.items() if value is not None}
    config = FamilyConfig.from_dict(old.to_dict() | changes)
    if config == old:
        return tower
    state = tower.state_dict()
    steps = tower.embeddings.steps_in_table
    new_steps = steps if steps == 1 else config.window_steps
    name = "embeddings.position_embeddings"
    state[name] = _resized(state[name], (steps, *old.grid), (new_steps, *config.grid), cls=old.cls_token)
    name = "temporal.position_embeddings"
    if name in state:
        state[name] = _resized(state[name], (old.window_steps, 1, 1), (config.window_steps, 1, 1), cls=old.cls_token)
    resized = _TOWERS[config.attention](config)
    if config.pooling == "gaussian" and old.grid != config.grid:
        for axis in range(2):  # widths are counted in places; centres in halves of the picture
            state["pooling.gaussian.std"][:, axis] *= config.grid[axis] / old.grid[axis]
    resized.load_state_dict(state)
    return resized.to(tower.dtype)


def _resized(table: torch.Tensor, old: tuple[int, int, int], new: tuple[int, int, int], *, cls: bool) -> torch.Tensor:
    """A table (1, cls + t * h * w, D), whose CLS row stays as it is."""
    with_cls = table if cls else torch.cat([table[:, :1], table], dim=1)
    return resize_positions(with_cls, old, new)[:, 0 if cls else 1 :]
