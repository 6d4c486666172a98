"""Rotary position embeddings (RoPE) along one axis: the position of a token turns its queries and keys.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864. A score then depends
on the distance of two tokens alone, so a model with rotary time takes clips of any length and needs no table. Channels
are paired as halves (channel i with channel i + d/2, as in GPT-NeoX and VisionCore), not as neighbours.
"""

import torch


def rotary_table(positions: torch.Tensor, head_width: int, *, base: float = 10000.0) -> torch.Tensor:
    """Cosines and sines (2, N, head_width / 2) float32 of the angles `position * base ** (-2 i / head_width)`.

    positions: (N,) integers. The angles are computed in float64: in float32 those of a long clip would be off by 1e-3.
    """
    channels = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float64)
    angles = positions.double()[:, None] * base ** (-channels / head_width)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Queries or keys (..., N, d), each token turned by its own angles: `table` (2, N, d / 2) from `rotary_table`."""
    cos, sin = table.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
