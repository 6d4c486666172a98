"""What all factorised ViViTs have in common: `tower(steps, pixel_affine, layout) -> pooled steps`.

Two kinds. `FactorisedAttention` is one stack of blocks over all tokens (Models 3 and 4 of the paper), which differ in
the block alone; `FactorisedEncoder` (Model 2, its own file) is a spatial transformer with a temporal one behind it.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_vivit.frontend.vivit.blocks import make_norm
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.gaussian_pooling import Pooling
from espnet_vivit.frontend.vivit.rotary import rotary_table
from espnet_vivit.frontend.vivit.step_embedding import StepEmbedding
from espnet_vivit.frontend.vivit.step_layout import StepLayout


class Stack(nn.ModuleList):
    """Blocks one behind another: `stack(x, ...)` gives each the same further arguments.

    With `recompute`, training keeps the input of each block alone and runs the block again in the backward pass.
    """

    recompute = False

    def forward(self, x: torch.Tensor, *arguments) -> torch.Tensor:
        for block in self:
            if self.recompute and self.training and torch.is_grad_enabled():
                # torch 2.11 declares that it may return None
                x = checkpoint(block, x, *arguments, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
            else:
                x = block(x, *arguments)
        return x


class FamilyTower(nn.Module):
    """A factorised ViViT without a head. `forward(steps (S, C, frames, H, W), pixel_affine, layout) -> (S, D)`."""

    def __init__(self, config: FamilyConfig):
        super().__init__()
        self.config = config
        self.embeddings = StepEmbedding(config)
        self.pooling = Pooling(config)

    def forward(self, steps: torch.Tensor, pixel_affine: tuple[float, float], layout: StepLayout) -> torch.Tensor:
        """Abstract: each variant says how its blocks attend."""
        raise NotImplementedError

    def start(self) -> None:
        """Draw the weights: normal with `initializer_range` (scenic's 0.02), biases and CLS tokens zero."""
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():
            if name.startswith("pooling.") or "norm" in name:  # these start themselves
                continue
            if name.endswith(("bias", "cls_token")):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=std)

    def activation_checkpointing_enable(self) -> None:
        """Recompute every block in the backward pass, to save memory; named as in transformers."""
        for module in self.modules():
            if isinstance(module, Stack):
                module.recompute = True

    @property
    def dtype(self) -> torch.dtype:
        return self.embeddings.projection.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embeddings.projection.weight.device


class FactorisedAttention(FamilyTower):
    """Blocks whose attention is factorised: `block(x (S, h * w, D), layout, rotary) -> (S, h * w, D)`."""

    def __init__(self, config: FamilyConfig, blocks: Iterable[nn.Module]):
        super().__init__(config)
        self.layers = Stack(blocks)
        self.layernorm = make_norm(config)

    def forward(self, steps: torch.Tensor, pixel_affine: tuple[float, float], layout: StepLayout) -> torch.Tensor:
        tokens = self.embeddings(steps, pixel_affine, layout)
        tokens = self.layernorm(self.layers(tokens, layout, rotary_of(self.config, layout)))
        return self.pooling(None, tokens)


def rotary_of(config: FamilyConfig, layout: StepLayout) -> torch.Tensor | None:
    """Cosines and sines of the steps 0 .. n - 1; None where positions in time are learned."""
    if config.temporal_positions == "learned":
        return None
    positions = torch.arange(layout.size, device=layout.counts.device)
    return rotary_table(positions, config.head_width, base=config.rope_base)


def attend_in_time(attend: Callable, layout: StepLayout, rotary: torch.Tensor | None) -> Callable:
    """Attention of each place to itself in the other steps of its clip, on queries, keys, values (S, heads, h * w, d).

    attend: `Attention.everywhere`.
    """

    def in_time(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        places = q.size(2)
        # (S, heads, places, d) -> (B, n, heads, places, d) -> (B * places, heads, n, d)
        q, k, v = (layout.to_clips(x).permute(0, 3, 2, 1, 4).flatten(0, 1) for x in (q, k, v))
        found = attend(q, k, v, mask=layout.key_mask(places), rotary=rotary)
        return layout.to_steps(found.unflatten(0, (-1, places)).permute(0, 3, 2, 1, 4))

    return in_time
