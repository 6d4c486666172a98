"""Clips brought to another number of frames, and feature steps to another number of steps.

What `frame_adjust="sample"` does around a ViViT that takes a fixed number of frames, and how 12.5 Hz become 25 Hz.
"""

import torch
import torch.nn.functional as F
from torch import nn


def pick_frames(clip: torch.Tensor, count: int) -> torch.Tensor:
    """(C, T, H, W) -> (C, count, H, W), count <= T: frames spread uniformly from the first to the last."""
    if clip.size(1) == count:
        return clip
    return clip[:, torch.linspace(0, clip.size(1) - 1, count, device=clip.device).round().long()]


def interpolate_frames(clip: torch.Tensor, count: int) -> torch.Tensor:
    """(C, T, H, W) float -> (C, count, H, W): linear in time between the frames, the first and the last in place."""
    pixels = clip.flatten(2).transpose(1, 2)  # (C, H*W, T)
    pixels = F.interpolate(pixels, count, mode="linear", align_corners=True)
    return pixels.transpose(1, 2).unflatten(2, clip.shape[2:])


def resample_steps(steps: torch.Tensor, count: int) -> torch.Tensor:
    """(S, D) -> (count, D): area averages where steps become fewer, so that each counts; linear where more."""
    if count == steps.size(0):
        return steps
    tracks = steps.T[None]  # (1, D, S)
    if count < steps.size(0):
        return F.adaptive_avg_pool1d(tracks, count)[0].T
    return F.interpolate(tracks, count, mode="linear", align_corners=False)[0].T


class RepeatUpsample(nn.Module):
    """(..., D) at 12.5 Hz -> (..., 2, D), two steps at 25 Hz; a learned layer that starts as plain repetition."""

    def __init__(self, size: int):
        super().__init__()
        self.linear = nn.Linear(size, 2 * size)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(size).repeat(2, 1))
            self.linear.bias.zero_()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features).unflatten(-1, (2, -1))
