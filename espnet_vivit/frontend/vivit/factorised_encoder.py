"""Model 2 of the ViViT paper, the factorised encoder: a transformer over each step's places, then one over the steps.

The spatial stage sees every step alone and pools it to one vector (`temporal_tokens: steps`), or hands on every place,
which the temporal stage then follows through time by itself (`places`, as VisionCore does; pooled at the end, at h * w
times the temporal cost). Temporal positions are learned, one row for each step of a window (scenic's checkpoints), or
rotary, for clips of any length; `causal` is the rotary form that looks back only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.frontend.vivit.blocks import Attend, Block, depth_rates, make_norm
from espnet_vivit.frontend.vivit.causal import KeysAndValues, causal_attend, remembering_attend
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FamilyTower, Stack, rotary_of
from espnet_vivit.frontend.vivit.rotary import rotary_table
from espnet_vivit.frontend.vivit.step_layout import StepLayout


class FactorisedEncoder(FamilyTower):
    """The tower, bidirectional or causal in time."""

    def __init__(self, config: FamilyConfig):
        super().__init__(config)
        self.layers = Stack(Block(config, rate) for rate in depth_rates(config.drop_path, config.num_hidden_layers))
        self.layernorm = make_norm(config)
        self.temporal = TemporalTransformer(config)

    def forward(self, steps: torch.Tensor, pixel_affine: tuple[float, float], layout: StepLayout) -> torch.Tensor:
        return self.in_time(self.in_space(steps, pixel_affine, layout), layout)

    def in_space(self, steps: torch.Tensor, pixel_affine: tuple[float, float], layout: StepLayout) -> torch.Tensor:
        """Steps (S, C, frames, H, W) -> (S, tracks, D): one track, the pooled step, or one for each place."""
        tokens = self.embeddings(steps, pixel_affine, layout)
        tokens = self.layernorm(self.layers(tokens, None, layout.clip_of_step, layout.clips))
        cls, places = self.embeddings.split(tokens)
        return places if self.config.temporal_tokens == "places" else self.pooling(cls, places)[:, None]

    def in_time(self, tracks: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        """(S, tracks, D) -> (S, D)."""
        return self.pool_tracks(self.temporal(tracks, layout))

    def pool_tracks(self, tracks: torch.Tensor) -> torch.Tensor:
        """What the temporal stage gives, (S, tracks, D) -> (S, D)."""
        return self.pooling(None, tracks) if self.config.temporal_tokens == "places" else tracks[:, 0]


class TemporalTransformer(nn.Module):
    """Blocks over the steps of each track, `(S, tracks, D) -> (S, tracks, D)`, and a last norm."""

    def __init__(self, config: FamilyConfig):
        super().__init__()
        self.config = config
        self.layers = Stack(Block(config, rate) for rate in depth_rates(config.drop_path, config.temporal_layers))
        self.layernorm = make_norm(config)
        learned = config.temporal_positions == "learned"
        with_cls = learned and config.cls_token  # scenic has CLS tokens in both transformers, or in none
        rows, width = config.window_steps + with_cls, config.hidden_size
        self.position_embeddings = nn.Parameter(torch.empty(1, rows, width)) if learned else None
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if with_cls else None

    def forward(self, tracks: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        count = tracks.size(1)
        x = layout.to_clips(tracks).transpose(1, 2).flatten(0, 1)  # (B * tracks, n, D)
        clip_of_row = torch.arange(layout.clips, device=x.device).repeat_interleave(count)
        if self.position_embeddings is not None:
            x = self._with_learned_positions(x)
        x = self.layernorm(self.layers(x, self._attend(layout, count), clip_of_row, layout.clips))
        if self.cls_token is not None:
            x = x[:, 1:]
        return layout.to_steps(x.unflatten(0, (-1, count)).transpose(1, 2))

    def advance(
        self, tracks: torch.Tensor, states: list[KeysAndValues | None], first: int
    ) -> tuple[torch.Tensor, list[KeysAndValues | None]]:
        """Further steps (n, tracks, D) of one clip that arrives in pieces, the first of them step number `first`.

        states: what each block remembers of the steps before, None at the clip's beginning. Returns the steps and the
        new states.
        """
        positions = torch.arange(first, first + len(tracks), device=tracks.device)
        rotary = rotary_table(positions, self.config.head_width, base=self.config.rope_base)
        x, remembered = tracks.transpose(0, 1), []
        for block, past in zip(self.layers, states, strict=True):
            x = block(x, remembering_attend(rotary, self.config.left_context, past, remembered))
        return self.layernorm(x).transpose(0, 1), remembered

    def _with_learned_positions(self, x: torch.Tensor) -> torch.Tensor:
        assert self.position_embeddings is not None
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.size(0), -1, -1).to(x.dtype), x], dim=1)
        return x + self.position_embeddings[:, : x.size(1)]

    def _attend(self, layout: StepLayout, tracks: int) -> Attend:
        """What a step looks at: the steps of its clip, or those before it."""
        block: Any = self.layers[0]  # a Block
        everywhere, rotary = block.attention.everywhere, rotary_of(self.config, layout)
        if self.config.causal:
            return causal_attend(everywhere, rotary, self.config.left_context, exact=not self.training)
        mask = layout.key_mask(tracks)
        if mask is not None and self.cls_token is not None:
            mask = F.pad(mask, (1, 0), value=True)
        return lambda q, k, v: everywhere(q, k, v, mask=mask, rotary=rotary)
