"""Clips of any length through a tower that takes windows of a few frames: the two ways that `frame_adjust` names.

In: a padded batch (B, C, T, H, W), the frames and the tubelet steps of each clip, and a `Tower`. Out: finished steps
(B, S, ...), zero beyond each clip's own. "window" computes every window that a clip owns, all of one size together;
"sample" brings each clip to one window and its steps to the clip's number.

Window k starts at frame `k * hop`, hop = num_frames - overlap; the last is the first that reaches the clip's end. A
tubelet step (two frames, 80 ms at 25 fps) belongs to the window whose nominal centre is nearest; of two equally near,
to the earlier. The centre is nominal, that of a full window, also where the clip ends inside: so clips that begin alike
are cut alike, and steps whose owning window lies wholly inside two clips that share its frames are equal in both. Only
in a clip's last half overlap may a step belong to another window than it would in a longer clip.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.tower import normalise
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


class Window(NamedTuple):
    """Frames `start .. start + frames` of one clip, of whose steps `first .. last` (last excluded) it owns."""

    start: int  # in frames, even
    frames: int  # even, at most num_frames; fewer only for the last window of a clip
    first_step: int  # steps of the clip, counted from its beginning
    last_step: int


def check_overlap(num_frames: int, overlap: int) -> None:
    """Raise `ConfigError` unless windows of `num_frames` can overlap by `overlap` frames in whole tubelets."""
    if overlap < 0 or overlap >= num_frames or overlap % TUBELET_FRAMES:
        raise ConfigError(
            "window_overlap does not fit the windows",
            found=f"window_overlap={overlap} with num_frames={num_frames}",
            expected=f"an even number of frames from 0 to {num_frames - TUBELET_FRAMES}",
            fix="8 is the default for 32-frame windows",
        )


def plan_windows(frames: int, *, num_frames: int, overlap: int) -> list[Window]:
    """The windows of a clip of `frames` frames (an even number, at least 2), in order; together they own every step."""
    hop = num_frames - overlap
    count = 1 if frames <= num_frames else 1 + -(-(frames - num_frames) // hop)  # ceil
    steps = frames // TUBELET_FRAMES
    # Steps before `border(k)` are nearer to the centre of window k - 1 (or as near) than to that of window k:
    # step s covers frames 2s and 2s + 1, its centre is at 2s + 1, and the two centres' midpoint is at the start of
    # window k plus half of the overlap.
    windows = []
    for k in range(count):
        start = k * hop
        first = 0 if k == 0 else _border(start, overlap)
        last = steps if k == count - 1 else _border(start + hop, overlap)
        windows.append(Window(start, min(num_frames, frames - start), first, last))
    return windows


def _border(start: int, overlap: int) -> int:
    """The first step whose centre, frame 2s + 1, lies beyond `start + overlap / 2`."""
    return (start + overlap // 2 - 1) // TUBELET_FRAMES + 1
