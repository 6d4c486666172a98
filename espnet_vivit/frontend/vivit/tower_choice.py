"""Which tower the options of `vivit_encoder` describe, and the contradictions between them.

Four sources, of which one is chosen: a hub id or folder (`model_name`), a scenic file (`weights`), a 2-D image ViT
(`image_weights`), or random weights (`pretrained: false`) of a `config`, a preset or a size in the name. Joint
attention is transformers' `VivitModel`, everything else a `FamilyTower`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from transformers import VivitModel

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.family_config import ATTENTIONS, FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.family_weights import (
    folder_config,
    from_image,
    random_tower,
    read_folder,
    read_scenic,
    resize_family,
)
from espnet_vivit.frontend.vivit.weights import load_vivit, resize_tower, size_of

WINDOW_FRAMES = 32  # of the published checkpoints
_CAUSAL_GATED = {"attention": "causal", "hidden_act": "swiglu", "norm": "rmsnorm", "qkv_bias": False}
_CAUSAL_GATED |= {"tubelet_size": [2, 8, 8], "num_channels": 1}
# Sizes of VisionCore's two ViTs, with tubelets short enough for speech.
PRESETS = {
    "vivit-small": {
        **_CAUSAL_GATED,
        **{"hidden_size": 192, "num_hidden_layers": 4, "temporal_layers": 4, "num_attention_heads": 4},
        **{"intermediate_size": 768, "drop_path": 0.05},
    },
    "vivit-baseline": {
        **_CAUSAL_GATED,
        **{"hidden_size": 384, "num_hidden_layers": 6, "temporal_layers": 6, "num_attention_heads": 6},
        **{"intermediate_size": 1536, "drop_path": 0.1},
    },
}


@dataclass(frozen=True)
class TowerRequest:
    """What `vivit_encoder` was told about its tower; None and missing keys: not told."""

    model_name: str
    pretrained: bool
    config: Mapping | None
    weights: str | None
    image_weights: str | None
    kernel_init: str | None
    attention: str | None
    image_size: int | None
    num_frames: int | None
    options: Mapping = field(default_factory=dict)  # the other fields of FamilyConfig
    source: Mapping = field(default_factory=dict)  # dtype, revision, cache_dir, local_files_only, attn_implementation

    def __post_init__(self):
        if self.attention is not None and self.attention not in ATTENTIONS:
            raise unknown_name("attention", self.attention, ATTENTIONS)
        if not isinstance(self.config, Mapping | None):
            raise ConfigError("config of a ViViT", found=repr(self.config), expected="a mapping of VivitConfig fields")
        given = [name for name in ("weights", "image_weights") if getattr(self, name) is not None]
        given += ["config"] * (self.config is not None) + ["pretrained: false"] * (not self.pretrained)
        if {"weights", "image_weights"} & set(given) and len(given) > 1:
            raise ConfigError(
                "weights come from one place", found=" and ".join(given), expected="one of weights and image_weights"
            )
        if self.kernel_init is not None and self.image_weights is None:
            found = f"kernel_init={self.kernel_init}"
            raise ConfigError("kernel_init makes tubelets of an image's patches", found=found, expected="image_weights")


def choose_tower(request: TowerRequest) -> VivitModel | FamilyTower:
    """Build or load it. Raises ConfigError, WeightsError."""
    if request.weights is not None:
        tower = _of_scenic(request)
    elif request.image_weights is not None:
        tower = _of_image(request)
    else:
        described = _described(request)
        attention = described.get("attention", "joint")
        if attention == "joint":
            _refuse_family_options(request)
            return load_vivit(
                request.model_name,
                pretrained=request.pretrained,
                config=request.config,
                image_size=request.image_size,
                num_frames=WINDOW_FRAMES if request.num_frames is None else request.num_frames,
                **request.source,
            )
        tower = _of_family(request, described)
    if isinstance(tower, FamilyTower):
        _check_family(request, tower)
    dtype = request.source.get("dtype")
    return tower if dtype is None else tower.to(dtype)  # pyright: ignore[reportArgumentType]  hidden that it is bound


def check_trained_pooling(request: TowerRequest, config: FamilyConfig) -> None:
    """Raise `ConfigError` for a frozen tower whose Gaussian masks would stay as they were drawn."""
    random = not request.pretrained and request.weights is None and request.image_weights is None
    stored = (
        folder_config(request.model_name) or {} if request.weights is None and request.image_weights is None else {}
    )
    if config.pooling == "gaussian" and not random and stored.get("pooling") != "gaussian":
        raise ConfigError(
            "the masks of gaussian pooling are new, and a frozen tower does not train them",
            found="frozen=True, temporal_pooling=gaussian, and weights that have no masks",
            fix="Pool by mean or max, or set frozen: false",
        )


def _described(request: TowerRequest) -> dict:
    """What name, folder or `config` say of the tower, and the options; contradictions are errors, presets give way."""
    preset = {} if request.pretrained else PRESETS.get(request.model_name, {})
    if request.pretrained:
        stated = folder_config(request.model_name) or {}
        if request.config is None and not stated and request.attention not in (None, "joint"):
            raise ConfigError(
                "pretrained ViViTs of this kind are not on the hub",
                found=f"attention={request.attention}, model_name={request.model_name!r}",
                expected="weights (a scenic file), image_weights (a 2-D ViT), a folder of ours, or pretrained: false",
            )
    else:
        stated = dict(request.config) if request.config is not None else {}
    given = dict(request.options)
    given |= {} if request.attention is None else {"attention": request.attention}
    free = ("drop_path", "attention_dropout", "mlp_dropout", "pooling", "gaussian_masks") if request.pretrained else ()
    for name, value in given.items():
        if name in stated and stated[name] != value and name not in free:
            where = "config" if request.config is not None else f"config.json of {request.model_name}"
            found = f"{name}={value}, and {stated[name]} in {where}"
            raise ConfigError(f"{name} is given twice, differently", found=found, fix="Give it in one place only")
    return preset | stated | given


def _of_family(request: TowerRequest, described: dict) -> FamilyTower:
    if request.pretrained:
        if request.config is not None:
            raise ConfigError("config describes random weights, but pretrained is true", fix="Set pretrained: false")
        tower = read_folder(request.model_name, described)
        return resize_family(tower, image_size=request.image_size, num_frames=request.num_frames)
    if request.config is None and request.model_name not in PRESETS:
        described = size_of(request.model_name) | described
    for name in ("image_size", "num_frames"):
        value = getattr(request, name)
        if value is not None and described.setdefault(name, value) != value:
            found = f"{name}={value} and config with {name}={described[name]}"
            raise ConfigError(f"{name} is given twice, differently", found=found, fix="Give it as the encoder's option")
    return random_tower(FamilyConfig.from_dict(with_defaults(described)))


def with_defaults(fields: Mapping) -> dict:
    """Defaults that follow from other fields: rotary time behind a spatial stage, a CLS token where it is pooled."""
    split = fields["attention"] in ("factorised_encoder", "causal")
    follow = {"temporal_positions": "rope" if split else "learned", "cls_token": fields.get("pooling") == "cls"}
    return follow | dict(fields)


def _of_scenic(request: TowerRequest) -> VivitModel | FamilyTower:
    assert request.weights is not None
    attention = "factorised_encoder" if request.attention == "causal" else request.attention
    if attention != request.attention:
        raise ConfigError(
            "no scenic checkpoint is causal",
            found="attention=causal with weights",
            fix="Use image_weights, or leave it out",
        )
    tower = read_scenic(
        request.weights,
        attention=attention,
        num_frames=WINDOW_FRAMES if request.num_frames is None else request.num_frames,
        image_size=request.image_size,
        options=request.options,
    )
    if isinstance(tower, FamilyTower):
        return resize_family(tower, image_size=request.image_size, num_frames=request.num_frames)
    size = request.image_size or tower.config.image_size
    return resize_tower(tower, image_size=size, num_frames=tower.config.num_frames)


def _of_image(request: TowerRequest) -> VivitModel | FamilyTower:
    assert request.image_weights is not None
    attention = request.attention or "joint"
    options = dict(request.options)
    if attention != "joint":
        options = with_defaults({"attention": attention, **options})
        split = attention in ("factorised_encoder", "causal")
        options["cls_token"] = split and options.get("temporal_tokens", "steps") == "steps"
        options.setdefault("pooling", "cls" if options["cls_token"] else "mean")
        del options["attention"]
    return from_image(
        request.image_weights,
        attention=attention,
        kernel_init=request.kernel_init or "central_frame",
        frames=2,
        image_size=request.image_size,
        num_frames=WINDOW_FRAMES if request.num_frames is None else request.num_frames,
        options=options,
        source={**request.source, "dtype": torch.float32},
    )


def _refuse_family_options(request: TowerRequest) -> None:
    names = [name for name in request.options if name != "pooling"]
    if names:
        raise ConfigError(
            "joint attention, transformers' VivitModel, has no such option",
            found=", ".join(f"{name}={request.options[name]}" for name in names),
            fix=f"Leave it out, or set attention to one of {', '.join(ATTENTIONS[1:])}",
        )


def _check_family(request: TowerRequest, tower: FamilyTower) -> None:
    if request.source.get("attn_implementation", "sdpa") != "sdpa":
        found = request.source["attn_implementation"]
        raise ConfigError("factorised attention is computed in one way", found=found, expected="sdpa")
    if request.num_frames is not None and tower.config.takes_whole_clips:
        raise ConfigError(
            "num_frames is the length of a window, but rotary positions take clips whole",
            found=f"num_frames={request.num_frames}",
            fix="Leave num_frames out",
        )
