"""From the frames of each step to its tokens: tubelet projection, positions, CLS and register tokens.

Every step is embedded by itself, so nothing here is built for a number of frames. Registers (Darcet et al., "Vision
Transformers Need Registers", ICLR 2024) are extra tokens in which a spatial transformer may keep what belongs to no
place; they have no position and leave before the steps are pooled.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.frontend.vivit.blocks import _ROWS
from espnet_vivit.frontend.vivit.embedding import PatchDropout, embed_tubelets
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from espnet_vivit.frontend.vivit.tower import normalise


class StepEmbedding(nn.Module):
    """Steps (S, C, frames, H, W) -> tokens (S, registers + cls + h * w, D).

    C is 1 (gray) or `num_channels`; uint8 pixels or normalised float. The position table has a row for CLS and one for
    each place; where attention over space and time learns its temporal positions, one for each place of each step.
    """

    def __init__(self, config: FamilyConfig):
        super().__init__()
        width, places = config.hidden_size, math.prod(config.grid)
        self.prefix = config.registers + config.cls_token  # tokens in front of the places
        self.steps_in_table = 1 if config.splits_space_and_time or config.takes_whole_clips else config.window_steps
        frames, patch_h, patch_w = config.tubelet_size
        projection = nn.Conv3d(config.num_channels, width, (frames, patch_h, patch_w), config.stride)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})  # named as in `VivitModel`
        self.overlapping = config.stride[1:] != (patch_h, patch_w)
        rows = config.cls_token + self.steps_in_table * places
        self.position_embeddings = nn.Parameter(torch.empty(1, rows, width))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if config.cls_token else None
        self.register_tokens = nn.Parameter(torch.empty(1, config.registers, width)) if config.registers else None
        self.patch_dropout = PatchDropout(0.0)  # whose share is read; what it leaves out is decided here
        self.same_places_in_time = not config.splits_space_and_time or config.temporal_tokens == "places"

    @property
    def projection(self) -> nn.Conv3d:
        return self.patch_embeddings["projection"]  # pyright: ignore[reportReturnType]  for it, all are Modules

    def forward(self, steps: torch.Tensor, pixel_affine: tuple[float, float], layout: StepLayout) -> torch.Tensor:
        tokens = self.add_positions(self.embed(steps, pixel_affine), layout)
        if self.training and self.patch_dropout.p:
            tokens = self._drop_places(tokens, layout)
        return tokens

    def embed(self, steps: torch.Tensor, pixel_affine: tuple[float, float]) -> torch.Tensor:
        """Steps (S, C, frames, H, W) -> tubelet tokens (S, h * w, D)."""
        if self.overlapping:
            weight = self.projection.weight
            if steps.size(1) == 1 and weight.size(1) != 1:
                weight = weight.sum(dim=1, keepdim=True)
            pixels = normalise(steps, pixel_affine).to(weight.dtype)
            return F.conv3d(pixels, weight, self.projection.bias, self.projection.stride).flatten(2).transpose(1, 2)
        count = steps.size(0)
        if not (self.training or torch.compiler.is_compiling()):  # whole multiples of rows, as in `by_rows`
            places = math.prod(n // p for n, p in zip(steps.shape[3:], self.projection.kernel_size[1:], strict=True))
            steps = F.pad(steps, (0, 0) * 4 + (0, -count % (_ROWS // math.gcd(_ROWS, places))))
        return embed_tubelets(steps, self.projection, pixel_affine)[:count]

    def add_positions(self, tokens: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        """Tubelet tokens (S, h * w, D) -> (S, registers + cls + h * w, D)."""
        table = self.position_embeddings
        if self.steps_in_table > 1:
            table = table.unflatten(1, (self.steps_in_table, -1))[:, : layout.size]  # (1, n, h*w, D)
            return tokens + layout.to_steps(table.expand(layout.clips, -1, -1, -1))
        front = [] if self.register_tokens is None else [self.register_tokens.expand(tokens.size(0), -1, -1)]
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(tokens.size(0), -1, -1).to(tokens.dtype), tokens], dim=1)
        return torch.cat([*front, tokens + table], dim=1)

    def split(self, tokens: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Tokens of the last layer -> the CLS vectors (S, D), None without, and the places (S, h * w, D)."""
        cls = None if self.cls_token is None else tokens[:, self.prefix - 1]
        return cls, tokens[:, self.prefix :]

    def _drop_places(self, tokens: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        """Equally many places of each step stay; the same ones throughout a clip where attention follows a place."""
        places = tokens.size(1) - self.prefix
        kept = max(1, round(places * (1 - self.patch_dropout.p)))
        draws = layout.clips if self.same_places_in_time else len(tokens)
        chosen = torch.rand(draws, places, device=tokens.device).argsort(dim=1)[:, :kept]
        if self.same_places_in_time:
            chosen = chosen[layout.clip_of_step]
        patches = tokens[:, self.prefix :].gather(1, chosen[..., None].expand(-1, -1, tokens.size(2)))
        return torch.cat([tokens[:, : self.prefix], patches], dim=1)
