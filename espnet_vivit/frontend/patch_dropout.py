"""Leaving a random share of a picture's patches out in training, so that no single place of the mouth is relied on.

Of the transformer's tokens fewer are computed, so a step is cheaper too (Liu et al., "PatchDropout: Economizing Vision
Transformers Using Patch Dropout", WACV 2023, arXiv:2208.07220). Ours leaves the same number out of each tubelet step,
so that every step of the output still has patches to be the mean of.
"""

import torch
from torch import nn

from espnet_vivit.errors import ConfigError


class PatchDropout(nn.Dropout):
    """Tokens (W, 1 + N, D) of `steps` tubelet steps, CLS first -> (W, 1 + steps * kept, D); in evaluation as they were.

    p: share of each step's patches that is left out, at least 0 and below 1; one patch always stays.
    """

    def __init__(self, p: float):
        if not 0 <= p < 1:
            raise ConfigError("bad patch_dropout", found=p, expected="0 <= share < 1")
        super().__init__(p)

    def forward(self, tokens: torch.Tensor, steps: int) -> torch.Tensor:
        if not self.training or self.p == 0:
            return tokens
        patches = tokens[:, 1:].unflatten(1, (steps, -1))  # (W, steps, h * w, D)
        windows, _, places, width = patches.shape
        kept = max(1, round(places * (1 - self.p)))
        chosen = torch.rand(windows, steps, places, device=tokens.device).argsort(dim=2)[..., :kept, None]
        patches = patches.gather(2, chosen.expand(-1, -1, -1, width))
        return torch.cat([tokens[:, :1], patches.flatten(1, 2)], dim=1)
