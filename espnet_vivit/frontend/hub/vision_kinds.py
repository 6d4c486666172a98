"""The table of vision towers: for each of transformers' model types, what differs between it and the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from espnet_vivit.frontend.hub.stored import TowerClass

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class VisionKind(TowerClass):
    """What differs between vision towers.

    patches: the convolution that makes tokens. first: tokens before those of the patches. blocks, norm: the layers, and
    the norm behind them. poolings: how a picture's tokens become a vector; "mean", or the tower's own. unused: weights
    that no answer depends on. pooled_by: those that only its own pooling needs. tables: position tables, and what their
    rows stand for: "cls" for a first row, then "t" (time), "s" (place) or both. normalization: means and deviations of
    the three colors where no file states them. sizes: names of image_size, num_frames and num_channels in its config.
    video: whether it takes windows. fastest: the faster axis of its tokens, "s" or "t". any_length: whether it takes
    windows shorter than num_frames.
    """

    patches: str
    first: int = 0
    blocks: str = "encoder.layer"
    norm: str | None = "layernorm"
    poolings: tuple[str, ...] = ("mean",)
    unused: tuple[str, ...] = ()
    pooled_by: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    sizes: tuple[str, str, str] = ("image_size", "num_frames", "num_channels")
    video: bool = False
    fastest: str = "s"
    any_length: bool = False
    call: Mapping[str, Any] = field(default_factory=dict)


PATCHES = "embeddings.patch_embeddings.projection"
_Picture = partial(VisionKind, patches=PATCHES, first=1, poolings=("mean", "cls"))
_Video = partial(VisionKind, patches=PATCHES, video=True)
KINDS: dict[str, VisionKind] = {  # transformers' model_type -> what differs
    "vit": _Picture(
        model="ViTModel",
        blocks="layers",
        options={"add_pooling_layer": False},
        tables={"embeddings.position_embeddings": "cls s"},
        normalization=HALF,
    ),
    "clip_vision_model": _Picture(
        model="CLIPVisionModel",
        patches="embeddings.patch_embedding",
        blocks="encoder.layers",
        norm=None,
        pooled_by=("post_layernorm",),
        tables={"embeddings.position_embedding": "cls s"},
        normalization=CLIP,
    ),
    "siglip_vision_model": _Picture(
        model="SiglipVisionModel",
        patches="embeddings.patch_embedding",
        first=0,
        blocks="encoder.layers",
        norm="post_layernorm",
        poolings=("mean", "attention"),
        pooled_by=("head",),
        tables={"embeddings.position_embedding": "s"},
        normalization=HALF,
    ),
    "dinov2": _Picture(
        model="Dinov2Model",
        unused=("embeddings.mask_token",),
        tables={"embeddings.position_embeddings": "cls s"},
    ),
    "dinov3_vit": _Picture(  # rotary positions; its register tokens stand behind CLS
        model="DINOv3ViTModel",
        patches="embeddings.patch_embeddings",
        blocks="model.layer",
        norm="norm",
        unused=("embeddings.mask_token",),
    ),
    "videomae": _Video(model="VideoMAEModel", tables={"embeddings.position_embeddings": "ts"}),
    "timesformer": _Video(
        model="TimesformerModel",
        first=1,
        tables={"embeddings.position_embeddings": "cls s", "embeddings.time_embeddings": "t"},
        normalization=((0.45,) * 3, (0.225,) * 3),
        fastest="t",
    ),
    "vjepa2": _Video(  # rotary positions
        model="VJEPA2Model",
        fields={"pred_num_hidden_layers": 0},
        patches="encoder.embeddings.patch_embeddings.proj",
        norm="encoder.layernorm",
        unused=("predictor",),
        sizes=("crop_size", "frames_per_clip", "in_chans"),
        any_length=True,
        call={"skip_predictor": True},
    ),
    "videoprism_vision_model": _Video(
        model="VideoPrismVisionModel",
        patches="spatial_embeddings.patch_embeddings.projection",
        blocks="temporal_layers",
        norm="layernorm2",
        tables={"spatial_embeddings.position_embeddings": "s", "temporal_embeddings.position_embeddings": "t"},
        normalization=((0.0,) * 3, (1.0,) * 3),
    ),
}
