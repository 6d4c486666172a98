"""Visual presets: the crop and the grey-value normalisation that belong to each visual frontend.

Preprocessing asks for the crop, the frontend itself normalises; both read the numbers here, so nobody configures them
twice. A clip larger than the crop is cropped (at random in training, centred in evaluation); a clip that already has
the crop's size is only shifted in training; a smaller one is an error. Numbers: Auto-AVSR (mpc001/auto_avsr,
Apache-2.0) for the mouth crops, scenic's `zero_centering` for ViViT.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class VisualPreset:
    """Crop and normalisation of one visual frontend; exactly one of `crop` and `crop_ratio` is set.

    `crop` is in pixels, the side of a square or (height, width), `crop_ratio` a share of the clip's height; `mean` and
    `std` are of grey values in 0..1.
    """

    crop: int | tuple[int, int] | None
    crop_ratio: float | None
    mean: float
    std: float

    def __post_init__(self):
        if (self.crop is None) == (self.crop_ratio is None):
            raise ConfigError(
                "a visual preset without one clear crop",
                found=f"crop={self.crop}, crop_ratio={self.crop_ratio}",
                expected="exactly one of the two",
                fix="Leave the other one None.",
            )
        if isinstance(self.crop, list | tuple):  # as a configuration writes it
            height, width = self.crop
            object.__setattr__(self, "crop", int(height) if height == width else (int(height), int(width)))

    def crop_size(self, height: int) -> int:
        """Side in pixels of the square that the frontend sees of a clip `height` pixels high.

        Raises ConfigError where it is no square.
        """
        rows, columns = self.crop_shape(height)
        if rows != columns:
            raise ConfigError("the visual frontend sees no square", found=f"{rows} x {columns} pixels")
        return rows

    def crop_shape(self, height: int) -> tuple[int, int]:
        """Height and width in pixels of what the frontend sees of a clip `height` pixels high."""
        if isinstance(self.crop, tuple):
            return self.crop
        side = self.crop
        if side is None:
            assert self.crop_ratio is not None  # __post_init__
            side = max(1, round(height * self.crop_ratio))
        return side, side


MOUTH_MEAN, MOUTH_STD = 0.421, 0.165  # of gray 96x96 mouth crops in 0..1
MOUTH_CROP_RATIO = 88 / 96  # 88 pixels of a 96-pixel mouth, 44 of a 48-pixel one
LINEAR_IMAGE_SIZE = 88  # pixels: the mouth crop that `linear` is built for unless told otherwise
VIVIT_IMAGE_SIZE = 224  # pixels: what the published ViViT checkpoints were trained on

MOUTH_ENCODERS = ("resnet", "avhubert", "avhubert_video")  # which see the middle of a mouth, as Auto-AVSR does
RESNET_PRESET = VisualPreset(crop=None, crop_ratio=MOUTH_CROP_RATIO, mean=MOUTH_MEAN, std=MOUTH_STD)


def linear_preset(image_size: int = LINEAR_IMAGE_SIZE) -> VisualPreset:
    """`linear` has one weight per pixel, so its crop is the size it was built for, not a share of the clip."""
    return VisualPreset(crop=image_size, crop_ratio=None, mean=MOUTH_MEAN, std=MOUTH_STD)


def vivit_preset(image_size: int | Sequence[int] = VIVIT_IMAGE_SIZE) -> VisualPreset:
    """ViViT sees the whole picture it was built for, in [-1, 1]; so do the towers of the hub."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return VisualPreset(crop=(height, width), crop_ratio=None, mean=0.5, std=0.5)


def visual_preset(vision_encoder: str, conf: Mapping) -> VisualPreset:
    """The preset of the frontend `vision_encoder` built with the constructor fields `conf`.

    ViViT's size is `conf["image_size"]`, else that of `conf["config"]` or of a local folder `conf["model_name"]`, or
    224. A tower of the hub is asked for its own size where `conf` states none.
    Raises ConfigError for an unknown frontend, and for a tower of the hub what `picture_size` raises.
    """
    if vision_encoder in MOUTH_ENCODERS:
        return RESNET_PRESET
    if vision_encoder == "linear":
        return linear_preset(conf.get("image_size") or LINEAR_IMAGE_SIZE)
    if vision_encoder == "vivit":
        stored = conf.get("config") or _folder_config(conf)
        return vivit_preset(conf.get("image_size") or stored.get("image_size") or VIVIT_IMAGE_SIZE)
    if vision_encoder == "huggingface":
        from espnet_vivit.frontend.hub.picture_size import picture_size  # late: it imports transformers

        return vivit_preset(picture_size(conf))
    raise unknown_name("vision_encoder", vision_encoder, ("vivit", "huggingface", "linear", *MOUTH_ENCODERS))


def trained_preset(config: Mapping) -> VisualPreset:
    """The preset of a trained model, from its config.yaml: the tower's own sizes stand there as `vision_tower`, so that
    the checkpoint that it started from may be elsewhere by now.
    """
    conf, tower = config.get("vision_encoder_conf") or {}, config.get("vision_tower")
    return visual_preset(config["vision_encoder"], conf if tower is None else {**conf, "config": tower})


def _folder_config(conf: Mapping) -> dict:
    """The configuration in a local folder of pretrained weights; empty for a hub id, whose checkpoints are of 224."""
    path = Path(conf.get("image_weights") or conf.get("model_name") or "") / "config.json"
    if not conf.get("pretrained", True) or not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))
