"""The tubelet embedding as one matrix product: same numbers as the library's 3-D convolution, for gray and uint8 input.

A non-overlapping convolution is a matrix product over its patches. Gray frames see the sum of the three RGB kernels
(a third of the input and of the work), and the affine normalisation of uint8 pixels moves into weight and bias. The
stored parameters stay those of the checkpoint, (D, 3, 2, p, p): RGB input, training and export keep working.
"""

import torch
import torch.nn.functional as F
from torch import nn

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
