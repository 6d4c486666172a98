"""The precision in which a trained model computes when it decodes.

In: a model in float32, in evaluation mode, and the name of a precision. Out: the same model, changed in place.
float32: as trained; on a CPU a ViViT uses packed weights, which give the same numbers up to rounding. bfloat16: a ViViT
computes in bfloat16, all else in float32. int8: all linear layers but those whose outputs are the scores of tokens
multiply integers of 8 bits (base/int8_linear.py); on CPUs alone.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from torch import nn

from espnet_vivit.base.int8_linear import use_int8
from espnet_vivit.decode.options import PRECISIONS
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.model.precision import AMP_DTYPES, check_amp_dtype

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E


def set_precision(model: "E2E", precision: str, *, language_models: Iterable[nn.Module] = ()) -> None:
    """Make `model` and the language models that it is decoded with compute in `precision`.

    Raises ConfigError: an unknown name; bfloat16 for another vision encoder than a ViViT or on a device without it;
    int8 for a model with adapters or on a GPU.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    tower = model.vision_encoder
    if precision == "bfloat16":
        if not isinstance(tower, VivitEncoder):
            found = "none" if tower is None else type(tower).__name__
            expected = "a ViViT: others are small, and compute in float32"
            raise ConfigError("precision: bfloat16 for another vision encoder", found=found, expected=expected)
        check_amp_dtype(precision, next(tower.parameters()).device)
        nn.Module.to(tower.vivit, AMP_DTYPES[precision])
    elif precision == "int8":
        _use_int8(model, language_models)
    if isinstance(tower, VivitEncoder):
        with suppress(ConfigError):  # says what it cannot be packed for: another device, adapters
            tower.pack_weights()


def _use_int8(model: "E2E", language_models: Iterable[nn.Module]) -> None:
    if model.tower_adapters:
        fix = "Merge them first: espnet-vivit merge-adapters."
        raise ConfigError("precision: int8 for a model with adapters", found=", ".join(model.tower_adapters), fix=fix)
    use_int8(model, keep=[model.ctc, getattr(model.decoder, "output_layer", None)])
    for language_model in language_models:
        use_int8(language_model, keep=[getattr(language_model, "decoder", None)])
