"""Model 4 of the ViViT paper, factorised dot product: half of the heads attend over time, the other half over space.

The parameters are those of joint attention, so checkpoints of joint and image models start it; of all variants it costs
least. It has no CLS token.
"""

import torch

from espnet_vivit.frontend.vivit.blocks import Block, depth_rates
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FactorisedAttention, attend_in_time
from espnet_vivit.frontend.vivit.step_layout import StepLayout


class FactorisedDotProduct(FactorisedAttention):
    """The tower: `num_hidden_layers` blocks with as many heads in time as in space."""

    def __init__(self, config: FamilyConfig):
        rates = depth_rates(config.drop_path, config.num_hidden_layers)
        super().__init__(config, [HalvedHeadsBlock(config, rate) for rate in rates])


class HalvedHeadsBlock(Block):
    """`block(x (S, h * w, D), layout, rotary) -> (S, h * w, D)`."""

    def forward(self, x: torch.Tensor, layout: StepLayout, rotary: torch.Tensor | None) -> torch.Tensor:
        everywhere = self.attention.everywhere
        in_time = attend_in_time(everywhere, layout, rotary)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            halves = zip(q.chunk(2, dim=1), k.chunk(2, dim=1), v.chunk(2, dim=1), strict=True)
            time, space = (attend_half(*half) for attend_half, half in zip((in_time, everywhere), halves, strict=True))
            return torch.cat([time, space], dim=1)

        return super().forward(x, attend, layout.clip_of_step, layout.clips)
