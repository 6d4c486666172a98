"""Model 3 of the ViViT paper, factorised self-attention: each block attends over space, then over time, then feeds.

    x += space_attention(norm(x));  x += time_attention(norm(x));  x += feed_forward(norm(x))

scenic's default has time before space; the paper has space first, as we do unless told otherwise. A checkpoint must be
used in the order in which it was trained. It has no CLS token.
"""

import torch
from torch import nn

from espnet_vivit.frontend.vivit.blocks import Attention, DropPath, FeedForward, depth_rates, make_norm
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FactorisedAttention, attend_in_time
from espnet_vivit.frontend.vivit.step_layout import StepLayout


class FactorisedSelfAttention(FactorisedAttention):
    """The tower: `num_hidden_layers` blocks of two attentions each."""

    def __init__(self, config: FamilyConfig):
        rates = depth_rates(config.drop_path, config.num_hidden_layers)
        super().__init__(config, [SpaceTimeBlock(config, rate) for rate in rates])


class SpaceTimeBlock(nn.Module):
    """`block(x (S, h * w, D), layout, rotary) -> (S, h * w, D)`."""

    def __init__(self, config: FamilyConfig, drop_path: float):
        super().__init__()
        self.time_first = config.attention_order == "time_space"
        self.layernorm_space, self.space_attention = make_norm(config), Attention(config)
        self.layernorm_time, self.time_attention = make_norm(config), Attention(config)
        self.layernorm_mlp, self.mlp = make_norm(config), FeedForward(config)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, layout: StepLayout, rotary: torch.Tensor | None) -> torch.Tensor:
        branches = [self.in_space, self.in_time]
        for branch in reversed(branches) if self.time_first else branches:
            x = x + self.drop_path(branch(x, layout, rotary), layout.clip_of_step, layout.clips)
        return x + self.drop_path(self.mlp(self.layernorm_mlp(x)), layout.clip_of_step, layout.clips)

    def in_space(self, x: torch.Tensor, layout: StepLayout, rotary: torch.Tensor | None) -> torch.Tensor:
        """Attention over the places of each step; it needs neither the layout nor positions in time."""
        return self.space_attention(self.layernorm_space(x))

    def in_time(self, x: torch.Tensor, layout: StepLayout, rotary: torch.Tensor | None) -> torch.Tensor:
        """Attention over the steps of a clip, for each place apart."""
        attend = attend_in_time(self.time_attention.everywhere, layout, rotary)
        return self.time_attention(self.layernorm_time(x), attend)
