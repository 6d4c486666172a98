"""4-bit weights: each `nn.Linear` of a tower in, bitsandbytes' `Linear4bit` in its place out, on the CPU or on CUDA."""

import torch
from torch import nn

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.model.adapters.called import layers_not_called
from espnet_vivit.model.adapters.config import AdapterConfig


def quantize_linears(name: str, base: nn.Module, config: AdapterConfig, default_dtype: torch.dtype | None) -> None:
    """Replace every linear layer of `base` that is called, adapted or not, in place.

    Raises MissingDependencyError without bitsandbytes, ConfigError where it cannot quantise on this machine.
    """
    bitsandbytes = _import_bitsandbytes()
    dtype = default_dtype or torch.float32 if config.compute_dtype is None else getattr(torch, config.compute_dtype)
    absent = layers_not_called(base)
    for module_name, module in list(base.named_modules()):
        for child_name, child in list(module.named_children()):
            if type(child) is nn.Linear and f"{module_name}.{child_name}" not in absent:
                try:
                    setattr(module, child_name, _quantized(bitsandbytes, child, config, dtype))
                except (RuntimeError, NotImplementedError, OSError, AttributeError) as error:
                    fix = f"Use type: lora for {name}"
                    message = f"bitsandbytes cannot quantise to 4 bits on this machine ({error})"
                    raise ConfigError(message, fix=fix) from error


def dequantize(layer: nn.Module) -> torch.Tensor:
    """(out, in) float32: what a 4-bit layer's weights stand for."""
    _import_bitsandbytes()
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Params4bit

    weight = layer.weight
    assert isinstance(weight, Params4bit)
    return dequantize_4bit(weight.data, weight.quant_state).float()


def _quantized(bitsandbytes, linear: nn.Linear, config: AdapterConfig, dtype: torch.dtype) -> nn.Module:
    layer = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        compress_statistics=config.double_quant is not False,
        quant_type=config.quant_type or "nf4",
        device="meta",
    )
    layer.weight = bitsandbytes.nn.Params4bit(
        linear.weight.data,
        requires_grad=False,
        compress_statistics=config.double_quant is not False,
        quant_type=config.quant_type or "nf4",
        module=layer,
    ).to(linear.weight.device)  # this is what quantises
    if linear.bias is not None:  # the library would round it at the first step: now, so that training changes nothing
        layer.bias = nn.Parameter(linear.bias.data.to(dtype), requires_grad=False)
    layer.support_avx512bf16_for_cpu = False  # its repacking in eval() changes the weights' bytes and can crash
    return layer


def _import_bitsandbytes():
    try:
        import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:
        message = f"qlora needs bitsandbytes, which cannot be imported ({error})"
        fix = "pip install espnet-vivit[qlora], or use type: lora"
        raise MissingDependencyError(message, fix=fix) from error
    return bitsandbytes
