"""Chunks of steps: what a Conformer may see while a clip is still arriving.

A step sees its own chunk and `left_steps` steps before the chunk, as in WeNet's U2 (Zhang et al. 2020,
arXiv:2012.05481), where training draws the size of the chunks anew for each batch, so that one model serves any size
and whole clips. The depthwise convolution sees what is before the chunk, and zeros behind it (dynamic chunk
convolution, Li et al. 2023, arXiv:2304.09325). Over a whole clip both are the ordinary Conformer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError

WHOLE_CLIP = 0  # the size of a chunk that is as long as the clip


class Chunks(NamedTuple):
    """The steps of a batch in chunks of `size`; visible (B, T, T) bool: whether step i attends to step j."""

    size: int
    visible: Tensor

    @classmethod
    def of(cls, valid: Tensor, size: int, left_steps: int) -> "Chunks":
        """valid (B, T) bool: the steps that are not padding."""
        step = torch.arange(valid.size(1), device=valid.device)
        begin = step // size * size
        seen = (step >= begin[:, None] - left_steps) & (step < begin[:, None] + size)  # (T, T)
        return cls(size, seen & valid[:, None, :])


def convolve_in_chunks(conv: nn.Conv1d, x: Tensor, size: int) -> Tensor:
    """The depthwise convolution of x (B, D, T), each chunk of `size` steps with zeros behind it -> (B, D, T)."""
    before, steps = conv.kernel_size[0] // 2, x.size(2)
    x = F.pad(x, (before, -steps % size))
    chunks = x.unfold(2, before + size, size).transpose(1, 2)  # (B, chunks, D, before + size)
    y = convolve_chunk(conv, chunks.flatten(0, 1)).unflatten(0, chunks.shape[:2])  # (B, chunks, D, size)
    return y.transpose(1, 2).flatten(2)[..., :steps]


def convolve_chunk(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """One chunk and the kernel_size // 2 steps before it, (B, D, before + size) -> (B, D, size)."""
    x = F.pad(x, (0, conv.kernel_size[0] // 2))
    return F.conv1d(x, conv.weight, conv.bias, groups=conv.groups)


def check_chunks(chunk_steps: Sequence[int], left_steps: int | None) -> None:
    """Raise ConfigError for sizes that no chunk can have, or for one of the two options without the other."""
    if any(isinstance(size, bool) or not isinstance(size, int) or size < WHOLE_CLIP for size in chunk_steps):
        expected = "numbers of steps, 0 for the whole clip"
        raise ConfigError("bad chunk_steps", found=list(chunk_steps), expected=expected, fix="[4, 8, 16, 0] is usual.")
    if bool(chunk_steps) != (left_steps is not None) or (left_steps is not None and left_steps < 1):
        raise ConfigError(
            "chunk_steps and left_steps go together",
            found=f"chunk_steps={list(chunk_steps)}, left_steps={left_steps}",
            expected="both, with left_steps of at least 1, or neither",
            fix="Set left_steps: 64, the steps before its chunk that a step sees.",
        )
