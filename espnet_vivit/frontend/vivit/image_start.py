"""A video model that starts as a 2-D image ViT: scenic's ways to make weights of time out of weights without.

In: the weights of Hugging Face's `ViTModel`. Out: those of our weights that the image gives. The patch kernel becomes a
tubelet kernel; the position table is brought to the grid and repeated for each step; blocks are copied. Temporal
attention of its own (Model 3) starts with the image's weights and an output projection of zeros, so that the video
model begins as the image model, as in the ViViT paper (scenic can zero all four projections, which then never train).
Its CLS vector is copied, which scenic forgets for the factorised encoder.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.weights import pair, rename_v4_keys

KERNEL_INITS = ("central_frame", "average", "average_arp")
_NOT_OURS = ("pooler.", "classifier.")


def fields_of_image(config: Any) -> dict:
    """The fields of `VivitConfig` and `FamilyConfig` that a `ViTConfig` gives.

    Its eps (1e-12) and exact GELU are not taken over: video keeps scenic's 1e-6 and tanh, of which the weights feel
    2e-4 at most. Raises ConfigError for patches that are not square.
    """
    height, width = pair(config.patch_size)
    if height != width:
        raise ConfigError("the image model's patches are not square", found=f"{height}x{width} pixels")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_channels")
    return {name: getattr(config, name) for name in names} | {"qkv_bias": config.qkv_bias}


def tubelet_kernel(kernel: torch.Tensor, frames: int, how: str) -> torch.Tensor:
    """A patch kernel (D, C, p, p) -> (D, C, frames, p, p).

    "central_frame": at frame `frames // 2` (of two, the second), zeros elsewhere; "average": the same share at each;
    "average_arp": weights of approximate rank pooling (Bilen et al. 2016), which sum to zero and see change alone.
    """
    if how not in KERNEL_INITS:
        raise unknown_name("kernel_init", how, KERNEL_INITS)
    if how == "central_frame":
        shares = torch.zeros(frames)
        shares[frames // 2] = 1
    else:
        shares = torch.full((frames,), 1 / frames) * (rank_weights(frames) if how == "average_arp" else 1)
    return kernel[:, :, None] * shares.to(kernel)[:, None, None]


def rank_weights(frames: int) -> torch.Tensor:
    """(frames,): 2 (t - i + 1) - (t + 1) (H_t - H_{i-1}) for i = 1 .. t, H_k the harmonic numbers."""
    t = frames
    harmonic = torch.cat([torch.zeros(1), (1 / torch.arange(1, t + 1)).cumsum(0)])
    i = torch.arange(1, t + 1)
    return 2 * (t - i + 1) - (t + 1) * (harmonic[t] - harmonic[i - 1])


def zoom(rows: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Rows on a grid (h, w, D) or (n, D) -> (*size, D), linearly and with corners that coincide, as scenic resizes."""
    planes = rows.movedim(-1, 0)[None]  # (1, D, ...)
    mode = "bilinear" if len(size) == 2 else "linear"
    return F.interpolate(planes.double(), size, mode=mode, align_corners=True)[0].movedim(0, -1).to(rows.dtype)


def image_positions(table: torch.Tensor, grid: tuple[int, int, int], *, cls: bool) -> torch.Tensor:
    """An image's table (1, 1 + n * n, D) -> (1, cls + t * h * w, D): resized to the grid, repeated for each step."""
    steps, height, width = grid
    side = round((table.size(1) - 1) ** 0.5)
    rows = table[0, 1:].unflatten(0, (side, side))
    if (side, side) != (height, width):
        rows = zoom(rows, (height, width))
    rows = rows.flatten(0, 1).repeat(steps, 1)
    return torch.cat([table[0, :cls], rows])[None]


def image_state(
    image: Mapping[str, torch.Tensor],
    video: Mapping[str, torch.Tensor],
    *,
    grid: tuple[int, int, int],
    kernel_init: str = "central_frame",
    time_from_zero: bool = True,
) -> dict[str, torch.Tensor]:
    """What of a tower's weights `video` the `image` gives, under the tower's names.

    grid: steps, height and width of the tower's position table. time_from_zero: see the module; False copies the
    image's attention to the temporal one wholly, as scenic does.
    """
    image = {name.removeprefix("vit."): value for name, value in image.items()}
    rename_v4_keys(image, "")
    state = {}
    for name, value in image.items():
        if name == "embeddings.patch_embeddings.projection.weight":
            value = tubelet_kernel(value, video[name].size(2), kernel_init)
        elif name == "embeddings.position_embeddings":
            cls = (video[name].size(1) - 1) == grid[0] * grid[1] * grid[2]
            value = image_positions(value, grid, cls=cls)
        elif name.startswith(_NOT_OURS):
            continue
        for own in _names_in_video(name):
            if own in video:
                state[own] = value.clone()
    for name in state:
        if time_from_zero and ".time_attention.o_proj." in name:
            state[name].zero_()
    return state


def _names_in_video(name: str) -> list[str]:
    """A block of Model 3 has the image's attention twice; its norm of time is its own."""
    return [
        name,
        name.replace(".attention.", ".space_attention."),
        name.replace(".attention.", ".time_attention."),
        name.replace(".layernorm_before.", ".layernorm_space."),
        name.replace(".layernorm_after.", ".layernorm_mlp."),
    ]
