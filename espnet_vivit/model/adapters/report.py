"""The table of towers that a training logs: what trains, what is frozen, in which precision, how many bytes."""

from collections.abc import Mapping

import torch
from torch import nn

_HEADER = ("tower", "adapters", "weights", "trained", "frozen", "bytes")


def tower_table(towers: Mapping[str, nn.Module | None], adapters: Mapping[str, str]) -> str:
    """A line per tower, and one for all; `adapters` maps a tower to what it is given, such as "qlora, r=16".

    Parameters are counted as the layers have them (a byte of packed 4-bit weights counts twice); the bytes are those of
    weights, buffers and quantisation scales, without gradients and optimizer states.
    """
    rows: list[tuple[str, ...]] = [_HEADER]
    for name, tower in towers.items():
        if tower is not None:
            rows.append((name, adapters.get(name, "–"), *_describe(tower)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = []
    for row in rows:
        text = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*text, *numbers]).rstrip())
    return "\n".join(lines)


def count_parameters(tower: nn.Module) -> tuple[int, int]:
    """(trained, frozen) parameters."""
    trained = sum(p.numel() for p in tower.parameters() if p.requires_grad)
    frozen = sum(_size(p) for p in tower.parameters() if not p.requires_grad)
    return trained, frozen


def count_bytes(tower: nn.Module) -> int:
    """Bytes of all weights and buffers, with the scales of 4-bit blocks."""
    tensors = [*tower.parameters(), *tower.buffers()]
    for state in (getattr(p, "quant_state", None) for p in tower.parameters()):
        while state is not None:
            tensors += [state.absmax, state.code]
            state = state.state2 if state.nested else None
    unique = {tensor.data_ptr(): tensor for tensor in tensors}  # layers share the table of 16 values
    return sum(tensor.numel() * tensor.element_size() for tensor in unique.values())


def _describe(tower: nn.Module) -> tuple[str, str, str, str]:
    trained, frozen = count_parameters(tower)
    dtypes = sorted({_dtype(p) for p in tower.parameters()})
    return "+".join(dtypes), f"{trained:,}", f"{frozen:,}", f"{count_bytes(tower):,}"


def _size(parameter: torch.Tensor) -> int:
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def _dtype(parameter: torch.Tensor) -> str:
    state = getattr(parameter, "quant_state", None)
    return str(parameter.dtype).removeprefix("torch.") if state is None else state.quant_type
