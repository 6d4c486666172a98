"""PIXELS → TOKENS: the tubelet embedding, the convolutional stem for training from scratch, and patch dropout.

The tubelet embedding is one matrix product with the same numbers as the library's 3-D convolution, for gray and uint8
input. A non-overlapping convolution is a matrix product over its patches. Gray frames see the sum of the three RGB
kernels (a third of the input and of the work), and the affine normalisation of uint8 pixels moves into weight and bias.
The stored parameters stay those of the checkpoint, (D, 3, 2, p, p): RGB input, training and export keep working.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.units import TUBELET_FRAMES

# uint8 pixel x -> x * scale + shift, as the weights were trained or as the library's processors would give it
NORMALIZATIONS = {
    "scenic": (1 / 127.5, -1.0),  # [-1, 1]: what google-research/scenic trained ViViT on
    "huggingface": (2 / 127.5, -3.0),  # [-3, 1]: what VivitImageProcessor gives by default
}

# Taken off each pixel and put into the bias. What is left, -128 .. 127, bfloat16 holds exactly, and products of it with
# rounded weights stay small; without this, half of the error of a whole bfloat16 ViViT would come from here.
_MID_GRAY = 128


def embed_tubelets(frames: torch.Tensor, projection: nn.Conv3d, pixel_affine: tuple[float, float]) -> torch.Tensor:
    """`frames` (W, C, n, H, W'), C = 1 (gray) or the projection's own channels -> tokens (W, N, D), time slowest.

    uint8 is normalised by `pixel_affine`; float is taken as normalised already. n, H and W' must be multiples of the
    kernel.
    """
    assert projection.bias is not None  # a ViViT's has one
    dtype = projection.weight.dtype
    weight, bias = projection.weight.float(), projection.bias.float()  # sums and scales are rounded once, at the end
    patches = _patches(frames, projection.kernel_size)  # (W, N, C*2*p*p), still uint8 if it was
    if frames.size(1) == 1 and weight.size(1) != 1:
        weight = weight.sum(dim=1, keepdim=True)  # (D, 1, 2, p, p)
    if frames.dtype == torch.uint8:
        scale, shift = pixel_affine
        patches = patches.to(dtype).sub_(_MID_GRAY)
        bias = bias + (shift + _MID_GRAY * scale) * weight.sum(dim=(1, 2, 3, 4))
        weight = weight * scale
    return F.linear(patches.to(dtype), weight.flatten(1).to(dtype), bias.to(dtype))


def _patches(frames: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
    kt, kh, kw = kernel
    x = frames.unflatten(4, (-1, kw)).unflatten(3, (-1, kh)).unflatten(2, (-1, kt))  # (W, C, t, kt, h, kh, w, kw)
    x = x.permute(0, 2, 4, 6, 1, 3, 5, 7)  # (W, t, h, w, C, kt, kh, kw)
    return x.flatten(4).flatten(1, 3)


_GROUP = 8  # channels normalised together; the widths of the stem are multiples of it


class ConvStem(nn.Module):
    """Strided convolutions for a ViViT trained from scratch: normalised gray windows (W, 1, n, H, W') -> (W, N, D).

    It halves the picture until two pixels of each patch are left, then joins 2x2x2 (time, height, width) to a token: as
    many tokens as the tubelet projection gives, in its order. Transformers whose patches are projected linearly train
    slowly and need much data; a convolutional stem of the same cost mends that (Xiao et al., "Early Convolutions Help
    Transformers See Better", NeurIPS 2021, arXiv:2106.14881). Ours normalises each frame by itself (GroupNorm): light
    and skin tone go, and no clip sees another, in training either.

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


class PatchDropout(nn.Dropout):
    """Tokens (W, 1 + N, D) of `steps` tubelet steps, CLS first -> (W, 1 + steps * kept, D); in evaluation as they were.

    A random share of a picture's patches is left out in training, so that no single place of the mouth is relied on and
    a step is cheaper (Liu et al., "PatchDropout", WACV 2023, arXiv:2208.07220). Ours leaves the same number out of each
    tubelet step, so that every step of the output still has patches to be the mean of.

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
