"""A ViViT's layers for inference on a CPU, with weights stored in the order in which oneDNN reads them.

PyTorch's float32 products go through MKL, which arranges the weight anew in every call and leaves part of what AMD's
processors can do unused. oneDNN takes a weight that was arranged once, and applies the GELU while the result is still
in the cache. The same numbers up to rounding; the price is a second copy of the weights in memory. The operators are
those that `torch.compile` puts into graphs whose weights are frozen (torch/_inductor/fx_passes/mkldnn_fusion.py), on
x86 for bfloat16 alone. Layers in int8 (base/int8_linear.py) are called as they are.
"""

import itertools
import math
import weakref
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import VivitModel

from espnet_vivit.base.int8_linear import Int8Linear
from espnet_vivit.errors import ConfigError

VivitLayer = Any  # transformers' class of that name, whose parts type checkers would take for tensors

_GELU = {"gelu": "none", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "gelu_new": "tanh"}  # oneDNN's names
_DTYPES = (torch.float32, torch.bfloat16)
_PACKS_BFLOAT16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
_TOKENS_HEAD_BY_HEAD = 128  # measured: from 145 tokens on head by head is the faster way, at 73 it is not


class PackedLayers:
    """`layers(vivit, hidden)`: all layers of `vivit` over tokens (W, N, D), before the last norm.

    `refresh(vivit)` packs the weights, and packs them again when they have changed; it comes before each pass. Passes
    compiled by `torch.compile` use what it has packed last. Copies of the object start unpacked.
    """

    def __init__(self):
        self._versions = None
        self._keys: list[dict[str, int]] = []  # of each layer's packed weights in _PACKED, by the linear layer's name

    def __deepcopy__(self, memo) -> "PackedLayers":
        return PackedLayers()

    def __reduce__(self):
        return PackedLayers, ()

    def refresh(self, vivit: VivitModel) -> None:
        """Nothing is done in training, for weights that oneDNN does not take, or while they are what they were."""
        if vivit.training or torch.is_grad_enabled() or vivit.device.type != "cpu" or not _packs(vivit.dtype):
            return
        versions = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in vivit.layers.parameters()]
        if versions == self._versions:
            return
        for number, layer in enumerate(vivit.layers):
            _check_plain(number, layer)  # adapters may have come since
        if not self._keys:
            self._keys = [{name: next(_numbers) for name in _linears(layer)} for layer in vivit.layers]
            weakref.finalize(self, _forget, [key for keys in self._keys for key in keys.values()])
        for keys, layer in zip(self._keys, vivit.layers, strict=True):
            packed = {name: _packed(part) for name, part in _linears(layer).items() if type(part) is nn.Linear}
            _PACKED.update({keys[name]: weight for name, weight in packed.items()})
        self._versions = versions

    def can_take(self, vivit: VivitModel, hidden: torch.Tensor) -> bool:
        """Whether this pass is inference in a dtype and on a device that the packed weights are for."""
        plain = hidden.device.type == "cpu" and _packs(hidden.dtype) and hidden.dtype == vivit.dtype
        return plain and not (vivit.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))

    def __call__(self, vivit: VivitModel, hidden: torch.Tensor) -> torch.Tensor:
        gelu = _GELU[vivit.config.hidden_act]
        for layer, keys in zip(vivit.layers, self._keys, strict=True):
            hidden = _layer(layer, keys, gelu, hidden)
        return hidden


# Graphs hold numbers, but no tensors in oneDNN's order; and so weights can change without another compilation.
_PACKED: dict[int, torch.Tensor] = {}
_numbers = itertools.count()


def _forget(keys: list[int]) -> None:
    for key in keys:
        _PACKED.pop(key, None)


def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this dtype here: bfloat16 needs a processor with AVX-512 or AVX-NE-CONVERT."""
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _PACKS_BFLOAT16)


def check_packable(vivit: VivitModel) -> None:
    """Raise `ConfigError` unless this machine and this tower can do with packed weights."""
    if not torch.backends.mkldnn.is_available():
        raise ConfigError("weights are packed for oneDNN, which this PyTorch is built without")
    if vivit.device.type != "cpu" or vivit.dtype not in _DTYPES:
        found, expected = f"{vivit.dtype} on {vivit.device}", "float32 or bfloat16 on the CPU"
        raise ConfigError("weights are packed for oneDNN", found=found, expected=expected)
    if not _packs(vivit.dtype):
        found = "bfloat16 on a processor without AVX-512"
        raise ConfigError("oneDNN does not pack these weights", found=found, expected="float32 here", fix="Do not pack")
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
        if type(part) not in (nn.Linear, Int8Linear):
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


@cache
def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16, which are then the faster ones."""
    has = torch.cpu.get_capabilities()
    return has.get("avx512_bf16", False) or has.get("amx_bf16", False)


def _packed(linear: nn.Linear) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)


def _linear(x: torch.Tensor, key: int, bias: torch.Tensor | None, gelu: str | None = None) -> torch.Tensor:
    """x (W, N, D) times the weight packed under `key`, plus bias, then GELU if one is named."""
    if gelu is None:
        return torch.ops.mkldnn._linear_pointwise(x, _PACKED[key], bias, "none", [], "")
    return torch.ops.mkldnn._linear_pointwise(x, _PACKED[key], bias, "gelu", [], gelu)


def _gelu(x: torch.Tensor, approximate: str) -> torch.Tensor:
    """GELU of x, in place. PyTorch's tanh takes twice as long on a CPU as the sigmoid of which tanh is made:
    (1 + tanh z) / 2 = sigmoid(2 z)."""
    if approximate != "tanh":
        return F.gelu(x)
    twice = 2 * math.sqrt(2 / math.pi)
    z = x.square().mul_(0.044715 * twice).add_(twice).mul_(x)
    return x.mul_(z.sigmoid_())


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T) v of q, k, v (W, heads, N, d), as (W, N, heads, d).

    In bfloat16 one head after the other, over one array of scores that stays in the cache: PyTorch's fused attention
    takes nearly twice as long on processors without matrix units. In float32, or over few tokens, it is the faster one.
    """
    windows, heads, tokens, size = q.shape
    if q.dtype != torch.bfloat16 or tokens < _TOKENS_HEAD_BY_HEAD:
        return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).contiguous()
    found, scores = q.new_empty(windows, tokens, heads, size), q.new_empty(tokens, tokens)
    for window in range(windows):
        for head in range(heads):
            torch.mm(q[window, head], k[window, head].t(), out=scores)
            torch.softmax(scores, dim=-1, out=scores)
            found[window, :, head] = scores @ v[window, head]
    return found


@torch.library.custom_op("espnet_vivit::packed_attention", mutates_args=())
def _attend_in_graph(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """`_attend` as one node of a graph."""
    return _attend(q, k, v)


@_attend_in_graph.register_fake
def _(q, k, v):
    windows, heads, tokens, size = q.shape
    return q.new_empty(windows, tokens, heads, size)


@torch.library.custom_op("espnet_vivit::packed_linear", mutates_args=())
def _linear_in_graph(x: torch.Tensor, key: int, size: int, bias: torch.Tensor | None, gelu: str | None) -> torch.Tensor:
    """`_linear` as one node of a graph; the result is (W, N, `size`)."""
    return _linear(x, key, bias, gelu)


@_linear_in_graph.register_fake
def _(x, key, size, bias, gelu):
    return x.new_empty(*x.shape[:-1], size)


def _layer(layer: VivitLayer, keys: dict[str, int], gelu: str, hidden: torch.Tensor) -> torch.Tensor:
    """What `VivitLayer.forward` computes in evaluation mode, (W, N, D) -> (W, N, D)."""
    attention, part = layer.attention, _linears(layer)

    def linear(name: str, x: torch.Tensor, gelu: str | None = None) -> torch.Tensor:
        if isinstance(part[name], Int8Linear):
            return part[name](x) if gelu is None else _gelu(part[name](x), gelu)
        if torch.compiler.is_compiling():
            return _linear_in_graph(x, keys[name], part[name].out_features, part[name].bias, gelu)
        return _linear(x, keys[name], part[name].bias, gelu)

    x = layer.layernorm_before(hidden)
    q, k, v = (
        linear(name, x).unflatten(2, (-1, attention.head_dim)).transpose(1, 2)  # (W, heads, N, D / heads)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    attend = _attend_in_graph if torch.compiler.is_compiling() else _attend
    q, dtype = q * attention.scaling, hidden.dtype
    if isinstance(part["o_proj"], Int8Linear) and q.shape[2] >= _TOKENS_HEAD_BY_HEAD and _multiplies_bfloat16():
        dtype = torch.bfloat16
    attended = attend(q.to(dtype), k.to(dtype), v.to(dtype)).flatten(2)
    hidden = linear("o_proj", attended.to(hidden.dtype)).add_(hidden)
    x = linear("fc1", layer.layernorm_after(hidden), gelu)
    return linear("fc2", x).add_(hidden)
