"""Linear layers in 8-bit integers, for inference on a CPU.

A weight (outputs, inputs) becomes round(w / s) in -127..127, with a scale s = max|w| / 127 of each output. What is
multiplied by it is rounded in the same way when the layer is called, with a scale of each row: so the answer for a clip
does not depend on what else is in its batch. Products of integers are summed exactly, and outputs are float32. The
product is oneDNN's, which `torch.compile` puts into quantized graphs (torch/_inductor/fx_passes/quantization.py); it
uses a processor's VNNI or AMX instructions where it has them.
"""

from collections.abc import Collection
from functools import cache

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError

_TINY = torch.finfo(torch.float32).tiny * 127  # a row may be all zeros


class Int8Linear(nn.Module):
    """The product of an `nn.Linear` with its weight in int8: (..., inputs) float32 -> (..., outputs) float32.

    The layer has neither parameters nor a state dict; it cannot be trained or saved. Raises ConfigError for weights
    that are not float32 on a CPU, and where PyTorch is built without oneDNN.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach()
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
            raise ConfigError(
                "int8 is for float32 weights on a CPU, and a PyTorch with oneDNN",
                found=f"{weight.dtype} on {weight.device}",
                fix="Use float32 or bfloat16 there.",
            )
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._scale = weight.abs().amax(1).clamp_min(_TINY) / 127
        integers = (weight / self._scale[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zeros = torch.zeros(self.out_features, dtype=torch.int32)
        self._bias = torch.zeros(self.out_features) if linear.bias is None else linear.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).float()  # inside autocast, x may be of another dtype
        levels = largest_level()
        largest = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
        scale = largest.clamp_min_(_TINY) / levels
        zero = levels + 1  # oneDNN takes unsigned rows
        integers = (rows * (1 / scale)).round_().add_(zero).to(torch.uint8)
        products = torch.ops.onednn.qlinear_pointwise(
            integers, 1.0, zero, self._packed, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return products.mul_(scale).add_(self._bias).unflatten(0, x.shape[:-1])

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def use_int8(module: nn.Module, *, keep: Collection[nn.Module | None] = ()) -> int:
    """Replace the linear layers below `module`, except those in `keep`, by `Int8Linear`. Return their number.

    Subclasses of nn.Linear, such as adapters' and 4-bit layers, are left as they are.
    """
    count = 0
    for name, child in module.named_children():
        if any(child is kept for kept in keep):
            continue
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
            count += 1
        else:
            count += use_int8(child, keep=keep)
    return count


@cache
def largest_level() -> int:
    """The largest integer to which inputs are rounded: 63 on processors that add pairs of products in 16 bits."""
    has = torch.cpu.get_capabilities()
    return 127 if any(has.get(name, False) for name in ("avx512_vnni", "avx_vnni", "amx_int8")) else 63
