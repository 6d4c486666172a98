"""What `tower_adapters:` in a recipe's YAML may say: {tower: {type: lora, r: 16, …}} in, checked dataclasses out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, unknown_name

TOWERS = ("vision_encoder", "audio_encoder", "encoder", "decoder")
TYPES = ("lora", "qlora")
QUANT_TYPES = ("nf4", "fp4")
COMPUTE_DTYPES = ("float32", "float16", "bfloat16")
_ONLY_QLORA = ("quant_type", "double_quant", "compute_dtype")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The adapters of one tower (Hu et al. 2021, arXiv:2106.09685; Dettmers et al. 2023, arXiv:2305.14314).

    Args:
        type: "lora", or "qlora": the tower's linear layers are kept in 4 bits, and LoRA comes on top.
        r, alpha: rank, and the scale alpha / r of what the adapters add.
        dropout: of the adapters' input, in training.
        target_modules: last parts of the names of the layers that get adapters; None: all linear layers of a
            transformer block under the names of transformers 5 (q_proj, …, fc2) or of ESPnet (linear_q, …, w_2).
        quant_type: "nf4" (None means this) or "fp4"; qlora only, like the next two.
        double_quant: whether the blocks' scales are quantised as well; None means yes.
        compute_dtype: of the products with 4-bit weights; None: that of `amp_dtype`, or float32 without one.

    Raises:
        ConfigError: a value outside its range, or a 4-bit option where nothing is quantised.
    """

    type: str
    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] | None = None
    quant_type: str | None = None
    double_quant: bool | None = None
    compute_dtype: str | None = None

    def __post_init__(self):
        for name, choices in (("type", TYPES), ("quant_type", QUANT_TYPES), ("compute_dtype", COMPUTE_DTYPES)):
            value = getattr(self, name)
            if value not in choices and (value is not None or name == "type"):
                raise unknown_name(f"adapter {name}", value, choices)
        check_values("tower_adapters", vars(self), where="adapter {name}")
        given = [name for name in _ONLY_QLORA if getattr(self, name) is not None]
        if self.type == "lora" and given:
            fix = f"Set type: qlora, or leave {' and '.join(given)} out"
            raise ConfigError(f"lora keeps its base as it is, {given[0]} is qlora's", found="type: lora", fix=fix)


def read_tower_adapters(option: Mapping | None) -> dict[str, AdapterConfig]:
    """The checked `tower_adapters`, in the order of `TOWERS`. Raises ConfigError for unknown towers, keys or values."""
    option = {} if option is None else option
    if not isinstance(option, Mapping):
        raise ConfigError("tower_adapters", found=repr(option), expected="a mapping such as {vision_encoder: {…}}")
    for tower in option:
        if tower not in TOWERS:
            raise unknown_name("tower in tower_adapters", tower, TOWERS)
    return {tower: _read(tower, option[tower]) for tower in TOWERS if tower in option}


def _read(tower: str, option: Mapping | AdapterConfig) -> AdapterConfig:
    where = f"tower_adapters of {tower}"
    if isinstance(option, AdapterConfig):
        return option
    if not isinstance(option, Mapping) or "type" not in option:
        raise ConfigError(where, found=repr(option), expected="a mapping with a type, such as {type: lora, r: 16}")
    known = [field.name for field in fields(AdapterConfig)]
    for key in option:
        if key not in known:
            raise unknown_name(f"option in {where}", key, known)
    targets = option.get("target_modules")
    targets = tuple(targets) if isinstance(targets, list) else targets
    try:
        return AdapterConfig(**{**option, "target_modules": targets})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
