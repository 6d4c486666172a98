"""Adapters folded into their base: a model with adapters in, plain layers with the same answers out.

4-bit weights become float32 first, so that nothing is rounded a second time: the merged model answers as the one with
adapters did, not as the tower before quantisation.
"""

import torch
from torch import nn

from espnet_vivit.model.adapters.attach import ADAPTER, base_of
from espnet_vivit.model.adapters.quantize import dequantize


def merge_adapters(tower: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of the tower without adapters: plain names, float weights, each adapter added to its layer."""
    from peft.tuners.lora import LoraLayer

    base = base_of(tower)
    prefix = next((f"{name}." for name, module in tower.named_modules() if module is base and name), "")
    merged = {key: value.detach().clone() for key, value in tower.state_dict().items() if not key.startswith(prefix)}
    for name, tensor in [*base.named_parameters(), *_stored_buffers(base)]:
        if "lora_" not in name and getattr(tensor, "quant_state", None) is None:
            plain = tensor.detach().clone()
            merged[prefix + name.replace(".base_layer.", ".")] = plain.float() if plain.is_floating_point() else plain
    for name, layer in base.named_modules():
        if hasattr(getattr(layer, "weight", None), "quant_state") and not isinstance(layer, LoraLayer):
            merged[f"{prefix}{name.removesuffix('.base_layer')}.weight"] = dequantize(layer)
    for name, layer in base.named_modules():
        if isinstance(layer, LoraLayer):
            key = f"{prefix}{name}.weight"
            delta = layer.get_delta_weight(ADAPTER)  # pyright: ignore[reportAttributeAccessIssue]  all of peft's have it
            merged[key] = merged[key] + delta.detach().float().reshape(merged[key].shape)
    return merged


def _stored_buffers(base: nn.Module):
    """(name, tensor) of the buffers that a checkpoint of `base` holds."""
    for name, module in base.named_modules():
        for buffer, tensor in module.named_buffers(recurse=False):
            if buffer not in module._non_persistent_buffers_set:
                yield f"{name}.{buffer}" if name else buffer, tensor
