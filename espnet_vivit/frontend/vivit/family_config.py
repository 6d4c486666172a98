"""The configuration of a factorised or causal ViViT: sizes, what attends to what, and the checks of both.

Fields that transformers' `VivitConfig` has too keep its names, so that one `config:` serves all variants; `to_dict` is
what a trained model's config.yaml and a converted checkpoint's config.json hold. The names of the variants are those
of the paper (Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021), its spelling included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.units import TUBELET_FRAMES

FACTORISED = ("factorised_encoder", "factorised_self_attention", "factorised_dot_product", "causal")
ATTENTIONS = ("joint", *FACTORISED)
POOLINGS = ("mean", "max", "cls", "gaussian")
_CHOICES = {
    "attention": FACTORISED,
    "attention_order": ("space_time", "time_space"),
    "temporal_tokens": ("steps", "places"),
    "temporal_positions": ("learned", "rope"),
    "pooling": POOLINGS,
    "norm": ("layernorm", "rmsnorm"),
    "hidden_act": ("gelu_pytorch_tanh", "gelu", "swiglu"),
}


@dataclass(frozen=True)
class FamilyConfig:
    """All that decides the shape of a tower. Sizes are in pixels (height, width) and frames; see `vivit_encoder`."""

    attention: str
    attention_order: str = "space_time"
    hidden_size: int = 768
    num_hidden_layers: int = 12  # of the factorised encoder: in space
    temporal_layers: int = 4  # of the factorised encoder only
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_channels: int = 3
    image_size: int | Sequence[int] = 224
    tubelet_size: Sequence[int] = (2, 16, 16)
    tubelet_stride: Sequence[int] | None = None  # None: tubelets do not overlap
    num_frames: int = 32  # of a window, where temporal positions are learned
    pooling: str = "mean"
    gaussian_masks: int = 4
    cls_token: bool = False
    registers: int = 0
    temporal_tokens: str = "steps"
    temporal_positions: str = "rope"
    left_context: int | None = None
    rope_base: float = 10000.0
    norm: str = "layernorm"
    layer_norm_eps: float = 1e-6
    hidden_act: str = "gelu_pytorch_tanh"
    qkv_bias: bool = True
    drop_path: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    initializer_range: float = 0.02

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), choices)
        for name in ("image_size", "tubelet_size", "tubelet_stride"):  # as a configuration writes them
            if isinstance(getattr(self, name), Sequence):
                object.__setattr__(self, name, tuple(int(size) for size in getattr(self, name)))
        if self.tubelet_stride == self.tubelet_size:
            object.__setattr__(self, "tubelet_stride", None)
        _check_sizes(self)
        _check_tubelets(self)
        _check_variant(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> "FamilyConfig":
        """Raise `ConfigError` for a field that does not exist."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("field of config", name, known)
        return cls(**values)

    def to_dict(self) -> dict:
        """Plain values, as YAML and JSON keep them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    to_diff_dict = to_dict  # by that name config.yaml asks any tower's configuration for its fields

    @property
    def causal(self) -> bool:
        return self.attention == "causal"

    @property
    def splits_space_and_time(self) -> bool:
        """Whether a spatial transformer is followed by a temporal one: Model 2 of the paper, and its causal form."""
        return self.attention in ("factorised_encoder", "causal")

    @property
    def takes_whole_clips(self) -> bool:
        """Whether clips of any length go through as they are; else in windows of `num_frames`."""
        return self.temporal_positions == "rope"

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def stride(self) -> tuple[int, int, int]:
        """From one tubelet to the next in time, height and width."""
        frames, height, width = self.tubelet_stride or self.tubelet_size
        return frames, height, width

    @property
    def grid(self) -> tuple[int, int]:
        """Places of a step in height and width."""
        (_, patch_h, patch_w), (_, stride_h, stride_w) = self.tubelet_size, self.stride
        height, width = self.picture
        return (height - patch_h) // stride_h + 1, (width - patch_w) // stride_w + 1

    @property
    def window_steps(self) -> int:
        """Steps of a full window."""
        return self.num_frames // self.stride[0]


def _check_sizes(config: FamilyConfig) -> None:
    heads, width = config.num_attention_heads, config.hidden_size
    if width % heads:
        raise ConfigError("the heads do not share the width", found=f"hidden_size={width}, {heads} heads")
    if config.temporal_positions == "rope" and config.head_width % 2:
        found = f"heads of {config.head_width} channels"
        raise ConfigError("rotary positions turn pairs of channels", found=found, expected="an even number")
    unused = () if config.splits_space_and_time else ("temporal_layers",)
    used = {name: value for name, value in vars(config).items() if name not in unused}
    check_values("vivit", used, where="bad {name}")


def _check_tubelets(config: FamilyConfig) -> None:
    if len(config.tubelet_size) != 3 or len(config.stride) != 3:
        found = f"tubelet_size={config.tubelet_size}, tubelet_stride={config.tubelet_stride}"
        raise ConfigError("a tubelet is a box", found=found, expected="[frames, height, width]")
    (frames, patch_h, patch_w), (stride_t, stride_h, stride_w) = config.tubelet_size, config.stride
    if stride_t not in (1, TUBELET_FRAMES):
        raise ConfigError(
            "a feature step must be 40 or 80 ms, or CTC has fewer steps than letters",
            found=f"a tubelet every {stride_t} frames",
            expected="1 or 2",
            fix=f"Set tubelet_size: [2, {patch_h}, {patch_w}], or tubelet_stride: [2, {stride_h}, {stride_w}]",
        )
    if not (stride_t <= frames and 1 <= stride_h <= patch_h and 1 <= stride_w <= patch_w):
        found = f"tubelet_size={config.tubelet_size}, tubelet_stride={config.tubelet_stride}"
        raise ConfigError("the stride is larger than the tubelet, pixels would be skipped", found=found)
    height, width = config.picture
    if height < patch_h or width < patch_w or (height - patch_h) % stride_h or (width - patch_w) % stride_w:
        raise ConfigError(
            "the patches do not tile the picture, its right and lower border would be ignored",
            found=f"image_size={height}x{width}, patches of {patch_h}x{patch_w} every {stride_h}x{stride_w} pixels",
            fix="Crop or resize the video to a multiple, or use another patch size",
        )
    if config.temporal_positions == "learned":
        if (frames, stride_t) != (TUBELET_FRAMES, TUBELET_FRAMES):
            raise ConfigError(
                "learned temporal positions belong to windows of two-frame tubelets",
                found=f"tubelets of {frames} frames every {stride_t}",
                expected="2 and 2",
                fix="Set temporal_positions: rope",
            )
        if config.num_frames < frames or config.num_frames % frames:
            found = config.num_frames
            raise ConfigError("num_frames is not a whole number of tubelets", found=found, expected="an even number")


def _check_variant(config: FamilyConfig) -> None:
    """What the variants allow of each other's options."""
    attention = config.attention
    if attention == "factorised_dot_product" and config.num_attention_heads % 2:
        even = config.num_attention_heads + 1
        even = even if config.hidden_size % even == 0 else config.num_attention_heads - 1
        raise ConfigError(
            "factorised_dot_product gives half of the heads to time and half to space",
            found=f"num_attention_heads={config.num_attention_heads}",
            expected="an even number",
            fix=f"Set config.num_attention_heads: {even} (heads of {config.hidden_size // max(even, 1)} channels)",
        )
    if not config.splits_space_and_time:
        for option, value, default in (
            ("temporal_pooling", config.pooling == "cls", False),
            ("cls_token", config.cls_token, False),
            ("registers", config.registers, 0),
            ("temporal_tokens", config.temporal_tokens, "steps"),
        ):
            if value != default:
                raise ConfigError(
                    f"{attention} has no token beside the patches and no temporal transformer of its own",
                    found=f"{option}={'cls' if option == 'temporal_pooling' else value}",
                    fix=f"Leave {option} out, or set attention: factorised_encoder or causal",
                )
    if config.pooling == "cls" and not config.cls_token:
        raise ConfigError("cls pooling needs a CLS token", found="cls_token=False", expected="cls_token=True")
    if config.causal and config.temporal_positions != "rope":
        raise ConfigError("causal attention has rotary positions in time", found="learned", expected="rope")
    if config.left_context is not None and (not config.causal or config.left_context < 0):
        raise ConfigError(
            "left_context bounds how many steps causal attention looks back",
            found=f"left_context={config.left_context} with attention={attention}",
            expected="attention: causal, and 0 or more steps, or None for all",
        )
    if config.temporal_tokens == "places" and (config.temporal_positions != "rope" or config.pooling == "cls"):
        raise ConfigError(
            "temporal_tokens: places follows every place through time, with rotary positions and without CLS",
            found=f"temporal_positions={config.temporal_positions}, pooling={config.pooling}",
            expected="rope, and mean, max or gaussian",
        )
