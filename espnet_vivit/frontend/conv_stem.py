"""A convolutional stem for ViViT trained from scratch: strided convolutions instead of one linear patch projection.

In: normalised gray windows (W, 1, n, H, W'). Out: tokens (W, N, D), as many as the tubelet projection gives and in its
order, so everything behind stays the same. Transformers whose patches are projected linearly train slowly and need much
data; a convolutional stem of the same cost mends that (Xiao et al., "Early Convolutions Help Transformers See Better",
NeurIPS 2021, arXiv:2106.14881). Ours normalises each frame by itself (GroupNorm): light and skin tone go, and no clip
sees another, in training either.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.units import TUBELET_FRAMES

_GROUP = 8  # channels normalised together; the widths of the stem are multiples of it


class ConvStem(nn.Module):
    """Halves the picture until two pixels of each patch are left, then joins 2x2x2 (time, height, width) to a token.

    hidden_size: D, the transformer's width; the first convolution has about a sixteenth of it, each further one twice
    as many. patch_size: height and width of a patch in pixels, equal, a power of two, at least 4.
    """

    def __init__(self, hidden_size: int, patch_size: tuple[int, int]):
        super().__init__()
        patch = patch_size[0]
        if patch != patch_size[1] or patch < 4 or patch & (patch - 1):
            raise ConfigError(
                "the convolutional stem halves the picture again and again",
                found=f"patches of {patch_size[0]}x{patch_size[1]} pixels",
                expected="a square whose side is a power of two, at least 4",
                fix="Use tubelet_size [2, 8, 8] or [2, 16, 16], or stem: tubelet",
            )
        base = max(_GROUP, hidden_size // 16 // _GROUP * _GROUP)
        widths = [base * 2**i for i in range(patch.bit_length() - 2)]
        self.motion = nn.Conv3d(1, base, (5, 5, 5), stride=(1, 2, 2), padding=2, bias=False)
        convs = [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairwise(widths)]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(nn.GroupNorm(width // _GROUP, width) for width in widths)
        self.join = nn.Conv3d(widths[-1], hidden_size, (TUBELET_FRAMES, 2, 2), stride=(TUBELET_FRAMES, 2, 2))
        for conv in (self.motion, *convs, self.join):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        if windows.size(1) != 1:
            raise InputError("the convolutional stem reads gray", found=f"{windows.size(1)} channels", expected="1")
        count, _, frames = windows.shape[:3]
        x = self.motion(windows).transpose(1, 2).flatten(0, 1)  # (W*n, C, H/2, W'/2): from here each frame by itself
        x = F.silu(self.norms[0](x))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            x = F.silu(norm(conv(x)))
        x = x.unflatten(0, (count, frames)).transpose(1, 2)  # (W, C, n, 2h, 2w)
        return self.join(x).flatten(2).transpose(1, 2)  # (W, D, n/2, h, w) -> (W, N, D)
