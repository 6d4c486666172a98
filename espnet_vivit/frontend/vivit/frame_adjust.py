"""Clips of any length through a tower that takes windows of a few frames: the two ways that `frame_adjust` names.

In: a padded batch (B, C, T, H, W), the frames and the tubelet steps of each clip, and a `Tower`. Out: finished steps
(B, S, ...), zero beyond each clip's own. "window" computes every window that a clip owns (`windows`),
all of one size together; "sample" brings each clip to one window and its steps to the clip's number (`sampling`).
"""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from espnet_vivit.frontend.sampling import interpolate_frames, pick_frames, resample_steps
from espnet_vivit.frontend.vivit.tower import normalise
from espnet_vivit.frontend.windows import plan_windows
from espnet_vivit.units import TUBELET_FRAMES

FRAME_ADJUSTS = ("sample", "window")

Encode = Callable[[torch.Tensor], torch.Tensor]  # windows (W, C, n, H, W') -> pooled steps (W, n / 2, hidden)
Finish = Callable[[torch.Tensor], torch.Tensor]  # pooled steps (S, hidden) -> what is kept of them, (S, ...)


class Tower(NamedTuple):
    """A ViViT, as much of it as cutting a clip and putting its steps together needs."""

    encode: Encode
    finish: Finish
    num_frames: int  # of a full window
    at_once: int | None  # windows in one pass at most; None: no bound


def window_steps(
    clips: torch.Tensor, frames: list[int], counts: list[int], tower: Tower, *, overlap: int
) -> torch.Tensor:
    """Finished steps (B, S, ...) of windows of which neighbours share `overlap` frames.

    Each is written where it belongs as soon as its window is done, so that beyond the result itself only the windows
    of one pass need memory.
    """
    groups = defaultdict(list)  # window size in frames -> (clip, window): equal sizes share a pass
    for b, count in enumerate(counts):
        for window in plan_windows(count * TUBELET_FRAMES, num_frames=tower.num_frames, overlap=overlap):
            groups[window.frames].append((b, window))
    longest, result = max(counts), None
    for some in (some for members in groups.values() for some in _passes(members, tower.at_once)):
        pooled = tower.encode(torch.stack([_cut(clips[b], w.start, w.frames, frames[b]) for b, w in some]))
        offsets = [w.start // TUBELET_FRAMES for _, w in some]
        spans = [slice(w.first_step - o, w.last_step - o) for (_, w), o in zip(some, offsets, strict=True)]
        owned = tower.finish(torch.cat([steps[span] for steps, span in zip(pooled, spans, strict=True)]))
        rows = [torch.arange(b * longest + w.first_step, b * longest + w.last_step) for b, w in some]
        if result is None:
            result = owned.new_zeros(len(counts) * longest, *owned.shape[1:])
        result = result.index_copy_(0, torch.cat(rows).to(owned.device), owned)
    assert result is not None  # each clip has a window
    return result.unflatten(0, (len(counts), longest))


def sampled_steps(
    clips: torch.Tensor, frames: list[int], counts: list[int], tower: Tower, *, pixel_affine: tuple[float, float]
) -> torch.Tensor:
    """Finished steps (B, S, ...) of clips brought to one window each."""
    steps = []
    for members in _passes(list(range(len(frames))), tower.at_once):
        batch = [_sample(clips[b, :, : frames[b]], tower.num_frames, pixel_affine) for b in members]
        if any(clip.is_floating_point() for clip in batch):  # one batch, one dtype
            batch = [normalise(clip, pixel_affine) for clip in batch]
        encoded = tower.encode(torch.stack(batch))
        steps += [tower.finish(resample_steps(pooled, counts[b])) for b, pooled in zip(members, encoded, strict=True)]
    return nn.utils.rnn.pad_sequence(steps, batch_first=True)


def _passes(members: list, at_once: int | None) -> list[list]:
    size = at_once or max(1, len(members))
    return [members[i : i + size] for i in range(0, len(members), size)]


def _cut(clip: torch.Tensor, start: int, frames: int, length: int) -> torch.Tensor:
    """`frames` frames of (C, T, H, W) from `start`; beyond the clip's own end its last frame is repeated."""
    if start + frames <= length:
        return clip[:, start : start + frames]
    index = torch.arange(start, start + frames, device=clip.device).clamp(max=length - 1)
    return clip[:, index]


def _sample(clip: torch.Tensor, num_frames: int, pixel_affine: tuple[float, float]) -> torch.Tensor:
    """A clip (C, T, H, W) brought to `num_frames`: picked uniformly if longer, interpolated linearly if shorter."""
    if clip.size(1) >= num_frames:
        return pick_frames(clip, num_frames)
    return interpolate_frames(normalise(clip, pixel_affine), num_frames)  # between two grays there is no uint8
