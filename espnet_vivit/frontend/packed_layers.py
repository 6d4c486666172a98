"""A ViViT's layers for inference on a CPU, with weights stored in the order in which oneDNN reads them.

PyTorch's float32 products go through MKL, which arranges the weight anew in every call and leaves part of what AMD's
processors can do unused. oneDNN takes a weight that was arranged once, and applies the GELU while the result is still
in the cache. The same numbers up to rounding; the price is a second copy of the weights in memory. The operators are
those that `torch.compile` puts into frozen graphs (torch/_inductor/fx_passes/mkldnn_fusion.py), on x86 for bfloat16
alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import VivitModel

from espnet_vivit.errors import ConfigError

VivitLayer = Any  # transformers' class of that name, whose parts type checkers would take for tensors

_GELU = {"gelu": "none", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "gelu_new": "tanh"}  # oneDNN's names
_DTYPES = (torch.float32, torch.bfloat16)


class PackedLayers:
    """`layers(vivit, hidden)`: all layers of `vivit` over tokens (W, N, D), before the last norm.

    Weights are packed at the first call, and again after they have changed. Copies of the object start unpacked.
    """

    def __init__(self):
        self._versions, self._weights = None, []

    def __deepcopy__(self, memo) -> "PackedLayers":
        return PackedLayers()

    def __reduce__(self):
        return PackedLayers, ()

    def can_take(self, vivit: VivitModel, hidden: torch.Tensor) -> bool:
        """Whether this pass is inference in a dtype and on a device that the packed weights are for."""
        if torch.compiler.is_compiling():  # packed weights have no place in a graph
            return False
        plain = hidden.device.type == "cpu" and hidden.dtype in _DTYPES and hidden.dtype == vivit.dtype
        return plain and not (vivit.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))

    def __call__(self, vivit: VivitModel, hidden: torch.Tensor) -> torch.Tensor:
        versions = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in vivit.layers.parameters()]
        if versions != self._versions:
            for number, layer in enumerate(vivit.layers):
                _check_plain(number, layer)  # adapters may have come since
            self._weights = [{name: _packed(part) for name, part in _linears(layer).items()} for layer in vivit.layers]
            self._versions = versions
        gelu = _GELU[vivit.config.hidden_act]
        for layer, weights in zip(vivit.layers, self._weights, strict=True):
            hidden = _layer(layer, weights, gelu, hidden)
        return hidden


def check_packable(vivit: VivitModel) -> None:
    """Raise `ConfigError` unless this machine and this tower can do with packed weights."""
    if not torch.backends.mkldnn.is_available():
        raise ConfigError("weights are packed for oneDNN, which this PyTorch is built without")
    if vivit.device.type != "cpu" or vivit.dtype not in _DTYPES:
        found, expected = f"{vivit.dtype} on {vivit.device}", "float32 or bfloat16 on the CPU"
        raise ConfigError("weights are packed for oneDNN", found=found, expected=expected)
    if vivit.config.hidden_act not in _GELU:
        raise ConfigError(
            "packed layers know no such activation", found=vivit.config.hidden_act, expected=", ".join(_GELU)
        )
    if vivit.config._attn_implementation != "sdpa":
        found = vivit.config._attn_implementation
        raise ConfigError("packed layers compute attention in one way", found=found, expected="sdpa")
    for number, layer in enumerate(vivit.layers):
        _check_plain(number, layer)


def _check_plain(number: int, layer: VivitLayer) -> None:
    for name, part in _linears(layer).items():
        if type(part) is not nn.Linear:
            raise ConfigError(
                f"{name} of layer {number} is no plain linear layer, as packed weights need",
                found=type(part).__name__,
                fix="Merge adapters into the weights first",
            )


def _linears(layer: VivitLayer) -> dict[str, Any]:
    """Its linear layers by name; what adapters have put in their place is here too."""
    attention, mlp = layer.attention, layer.mlp
    names = {"q_proj": attention, "k_proj": attention, "v_proj": attention, "o_proj": attention, "fc1": mlp, "fc2": mlp}
    return {name: getattr(parent, name) for name, parent in names.items()}


def _packed(linear: nn.Linear) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, gelu: str | None = None) -> torch.Tensor:
    """x (W, N, D) times a packed weight, plus bias, then GELU if one is named."""
    if gelu is None:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], gelu)


def _layer(layer: VivitLayer, weights: dict[str, torch.Tensor], gelu: str, hidden: torch.Tensor) -> torch.Tensor:
    """What `VivitLayer.forward` computes in evaluation mode, (W, N, D) -> (W, N, D)."""
    attention, part = layer.attention, _linears(layer)

    def linear(name: str, x: torch.Tensor, gelu: str | None = None) -> torch.Tensor:
        return _linear(x, weights[name], part[name].bias, gelu)

    x = layer.layernorm_before(hidden)
    q, k, v = (
        linear(name, x).unflatten(2, (-1, attention.head_dim)).transpose(1, 2)  # (W, heads, N, D / heads)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    x = F.scaled_dot_product_attention(q, k, v, scale=attention.scaling).transpose(1, 2).flatten(2)  # (W, N, D)
    hidden = linear("o_proj", x).add_(hidden)
    x = linear("fc1", layer.layernorm_after(hidden), gelu)
    return linear("fc2", x).add_(hidden)
