"""Where the steps of a batch of clips lie: one after another for spatial work, side by side for temporal work.

Spatial attention looks at one step at a time, so all steps of all clips form one long batch (S, places, D) without
padding. Temporal attention needs clips beside each other, (B, n, ...), with padding behind the shorter ones.
`StepLayout` goes from one to the other and holds the mask that keeps attention away from the padding.
"""

from collections.abc import Sequence
from functools import cached_property

import torch

from espnet_vivit.frontend.masking import length_mask, pack_valid, unpack_valid


class StepLayout:
    """The layout of B clips of `counts` steps each.

    packed=False keeps padded steps among the S = B * n rows, as a traced graph must, whose shapes follow from no value.
    """

    def __init__(self, counts: torch.Tensor, size: int, *, packed: bool = True, full: bool = False):
        """counts: (B,) steps of each clip, size: n, those of the longest; full: promises that all of them are n."""
        self.counts, self.size, self.packed, self.full = counts, size, packed, full

    @classmethod
    def of_equal(cls, clips: int, steps: int, device: torch.device | None = None) -> "StepLayout":
        """Clips, or windows, of equally many steps."""
        return cls(torch.full((clips,), steps, device=device), steps, full=True)

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device | None = None) -> "StepLayout":
        return cls(torch.tensor(counts, device=device), max(counts), full=min(counts) == max(counts))

    @property
    def clips(self) -> int:
        return self.counts.size(0)

    @cached_property
    def mask(self) -> torch.Tensor:
        """(B, n), True at the steps of the clips."""
        return length_mask(self.counts, self.size)

    @cached_property
    def clip_of_step(self) -> torch.Tensor:
        """(S,): which clip each step belongs to."""
        clips = torch.arange(self.clips, device=self.counts.device)[:, None].expand(-1, self.size)
        return self.to_steps(clips)

    @cached_property
    def number_of_step(self) -> torch.Tensor:
        """(S,): which step of its clip each one is."""
        numbers = torch.arange(self.size, device=self.counts.device).expand(self.clips, -1)
        return self.to_steps(numbers)

    def part(self, some: slice) -> "StepLayout":
        """For spatial work on some of the steps alone."""
        return StepLayout.of_equal(1, len(self.clip_of_step[some]), device=self.counts.device)

    def to_clips(self, steps: torch.Tensor) -> torch.Tensor:
        """(S, ...) -> (B, n, ...), zero behind each clip's own steps."""
        if self.full or not self.packed:
            return steps.unflatten(0, (self.clips, self.size))
        return unpack_valid(steps, self.mask)

    def to_steps(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, n, ...) -> (S, ...)."""
        return clips.flatten(0, 1) if self.full or not self.packed else pack_valid(clips, self.mask)

    def key_mask(self, tracks: int = 1) -> torch.Tensor | None:
        """(B * tracks, 1, 1, n), True at the keys that attention in time may look at; None: at all of them."""
        if self.full:
            return None
        return self.mask.repeat_interleave(tracks, dim=0)[:, None, None]
