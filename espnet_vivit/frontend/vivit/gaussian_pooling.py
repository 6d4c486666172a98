"""From the places of a step to one vector: their mean or maximum, the CLS token, or learned Gaussian masks.

The masks are those of VisionCore's Gaussian readout (Yates Lab): a rotated two-dimensional Gaussian over the grid of
patches, whose centre, widths and angle are learned. A few of them let the lips' corners and centre be told apart, which
the mean over all places mixes.
"""

import torch
from torch import nn

from espnet_vivit.frontend.vivit.family_config import FamilyConfig

_MIN_STD = 1e-3  # places
_START_STD = 5.0  # places: a fresh mask is broad


def gaussian_masks(mean: torch.Tensor, std: torch.Tensor, theta: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Masks (g, h, w) that sum to 1: mean and std (g, 2) in places, y before x, from the middle; theta (g,) radians."""
    axes = [torch.linspace(-(n - 1) / 2, (n - 1) / 2, n, device=mean.device) for n in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # (h, w, 2)
    dy, dx = (places - mean[:, None, None]).unbind(-1)  # (g, h, w)
    cos, sin = theta.cos()[:, None, None], theta.sin()[:, None, None]
    along_y, along_x = dy * cos + dx * sin, dx * cos - dy * sin
    std_y, std_x = std.clamp(min=_MIN_STD)[:, None, None].unbind(-1)
    masks = torch.exp(-((along_y / std_y) ** 2 + (along_x / std_x) ** 2) / 2)
    return masks / (masks.sum(dim=(1, 2), keepdim=True) + 1e-8)


class GaussianPooling(nn.Module):
    """Places (S, h * w, D) -> (S, D): the means under `masks` Gaussians, joined by a linear layer.

    It starts as the mean of the masked means. A centre cannot leave the picture, where its mask would be zero
    everywhere and its gradient too.
    """

    def __init__(self, width: int, grid: tuple[int, int], masks: int):
        super().__init__()
        self.grid = grid
        self.mean = nn.Parameter(0.1 * torch.randn(masks, 2))  # before tanh
        self.std = nn.Parameter(torch.full((masks, 2), _START_STD))
        self.theta = nn.Parameter(torch.zeros(masks))
        self.join = nn.Linear(masks * width, width)
        with torch.no_grad():
            self.join.weight.copy_(torch.eye(width).repeat(1, masks) / masks)
            self.join.bias.zero_()

    def masks(self) -> torch.Tensor:
        """(g, h, w) float32, under autocast too."""
        half = torch.tensor([(n - 1) / 2 for n in self.grid], device=self.mean.device)
        return gaussian_masks(self.mean.float().tanh() * half, self.std.float(), self.theta.float(), self.grid)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        means = self.masks().flatten(1).to(places.dtype) @ places  # (g, h*w) x (S, h*w, D) -> (S, g, D)
        return self.join(means.flatten(1))


class Pooling(nn.Module):
    """A step's tokens -> one vector: `pooling(cls (S, D) or None, places (S, h * w, D)) -> (S, D)`."""

    def __init__(self, config: FamilyConfig):
        super().__init__()
        self.kind = config.pooling
        if self.kind == "gaussian":
            self.gaussian = GaussianPooling(config.hidden_size, config.grid, config.gaussian_masks)

    def forward(self, cls: torch.Tensor | None, places: torch.Tensor) -> torch.Tensor:
        if self.kind == "gaussian":
            return self.gaussian(places)
        if self.kind == "cls":
            assert cls is not None  # FamilyConfig
            return cls
        return places.mean(dim=1) if self.kind == "mean" else places.amax(dim=1)
