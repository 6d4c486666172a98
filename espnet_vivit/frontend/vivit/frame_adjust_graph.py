"""The two ways of `frame_adjust` as one graph of tensor operations, for `torch.compile`, `torch.export` and ONNX.

The same features as `frame_adjust` gives, from the same plan of windows, but no Python branch looks at a clip's length:
a graph that is traced once then serves clips of any length. The price is that all windows of a batch go through the
tower in one pass and at full size, those that are only padding too; the attention of a clip's last window sees its own
frames alone, so that nothing behind the clip enters a valid step.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from espnet_vivit.frontend.feature_rate import at_least_one
from espnet_vivit.units import TUBELET_FRAMES

# windows (W, C, n, H, W'), which of their tubelets belong to the clip (W, n / 2) or None for all -> steps (W, n / 2, D)
Encode = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


class PaddedClips(NamedTuple):
    """A batch of clips, and how much of each is its own."""

    clips: torch.Tensor  # (B, C, T, H, W)
    frames: torch.Tensor  # (B,)
    counts: torch.Tensor  # (B,) tubelet steps
    size: int  # steps of the longest clip, which may be a symbol


def windowed_in_graph(
    batch: PaddedClips, encode: Encode, *, num_frames: int, overlap: int, tail: bool = True
) -> torch.Tensor:
    """Steps (B, size, D) of uint8 or normalised float clips; rows beyond a clip's own steps hold no meaning.

    tail=False promises that every clip ends with a full window.
    """
    clips, frames, counts, size = batch
    hop, steps_of_window = num_frames - overlap, num_frames // TUBELET_FRAMES
    count = at_least_one((size * TUBELET_FRAMES - overlap + hop - 1) // hop)  # as many as `plan_windows` makes
    starts = torch.arange(count, device=clips.device) * hop  # (K,)
    within = torch.arange(num_frames, device=clips.device)
    index = torch.minimum((starts[:, None] + within).flatten()[None], frames[:, None] - 1)  # (B, K * num_frames)
    own = None
    if tail:
        own = (starts[:, None] + within[::TUBELET_FRAMES])[None] < TUBELET_FRAMES * counts[:, None, None]
        own = own.flatten(0, 1)  # (B * K, num_frames / 2)
    windows = _take_frames(clips, index).unflatten(2, (count, num_frames))  # (B, C, K, num_frames, H, W')
    pooled = encode(windows.transpose(1, 2).flatten(0, 1), own)
    step = torch.arange(size, device=clips.device)
    last = ((counts * TUBELET_FRAMES - overlap + hop - 1) // hop).clamp(min=1) - 1  # (B,) each clip's last window
    # step s belongs to the last window whose border (`windows`) it has reached: k * hop + overlap / 2 <= 2 s
    nearest = torch.div(step * TUBELET_FRAMES - overlap // 2, hop, rounding_mode="floor").clamp(min=0)
    owner = torch.minimum(nearest[None], last[:, None])  # (B, size)
    row = (step - owner * (hop // TUBELET_FRAMES)).clamp(max=steps_of_window - 1)
    return _take_rows(pooled.unflatten(0, (clips.size(0), count)).flatten(1, 2), owner * steps_of_window + row)


def has_tail(size: int, *, num_frames: int, overlap: int) -> bool:
    """Whether a clip of `size` steps ends with less than a full window."""
    beyond = size * TUBELET_FRAMES - num_frames
    return beyond < 0 or beyond % (num_frames - overlap) != 0


def sampled_in_graph(batch: PaddedClips, encode: Encode, *, num_frames: int) -> torch.Tensor:
    """Steps (B, size, D) of normalised float clips; rows beyond a clip's own steps hold no meaning."""
    clips, frames, counts, size = batch
    places = torch.arange(num_frames, device=clips.device) / (num_frames - 1) * (frames[:, None] - 1)  # (B, num_frames)
    # a longer clip is thinned to whole frames, a shorter one interpolated between two
    places = torch.where(frames[:, None] >= num_frames, places.round(), places)
    before = places.floor()
    share = (places - before).to(clips.dtype)[:, None, :, None, None]
    before = before.long()
    after = torch.minimum(before + 1, frames[:, None] - 1)
    window = _take_frames(clips, before) * (1 - share) + _take_frames(clips, after) * share
    pooled = encode(window, None)  # (B, S, D)
    return _resampling(pooled.size(1), counts, size).to(pooled.dtype) @ pooled


def _resampling(steps: int, counts: torch.Tensor, size: int) -> torch.Tensor:
    """`resample_steps` as one matrix for each clip: (B, size, steps), whose rows sum to 1."""
    count = counts[:, None, None]
    i, j = torch.arange(size, device=counts.device)[None, :, None], torch.arange(steps, device=counts.device)
    low, high = i * steps // count, -(-(i + 1) * steps // count)
    averaged = ((j >= low) & (j < high)).float() / (high - low).clamp(min=1)
    place = ((i + 0.5) * steps / count - 0.5).clamp(0, steps - 1)
    interpolated = (1 - (place - j).abs()).clamp(min=0)
    return torch.where(count <= steps, averaged, interpolated)


def _take_frames(clips: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Clips (B, C, T, H, W), index (B, n) -> (B, C, n, H, W)."""
    batch = torch.arange(clips.size(0), device=clips.device)[:, None]
    return clips.transpose(1, 2)[batch, index].transpose(1, 2)


def _take_rows(steps: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Steps (B, S, D), index (B, n) -> (B, n, D)."""
    return steps[torch.arange(steps.size(0), device=steps.device)[:, None], index]
