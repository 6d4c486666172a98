"""One pass of a ViViT tower: windows of frames in, pooled tubelet steps out.

Calls the layers of transformers' `VivitModel` directly, behind our own embedding: its `forward` takes neither gray nor
uint8 frames nor windows shorter than the one it was built for.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import VivitModel

from espnet_vivit.errors import InputError
from espnet_vivit.frontend.vivit.embedding import ConvStem, embed_tubelets
from espnet_vivit.frontend.vivit.packed_layers import PackedLayers
from espnet_vivit.units import TUBELET_FRAMES

POOLINGS = ("mean", "max", "cls")


def tower_steps(
    vivit: VivitModel,
    windows: torch.Tensor,
    pixel_affine: tuple[float, float],
    pooling: str,
    own: torch.Tensor | None = None,
    packed: PackedLayers | None = None,
) -> torch.Tensor:
    """Windows (W, C, n, H, W') -> pooled steps (W, n / 2, D); see `tower_tokens` and `pool_tokens`."""
    steps = windows.size(2) // TUBELET_FRAMES
    return pool_tokens(tower_tokens(vivit, windows, pixel_affine, own, packed), steps, pooling)


def tower_tokens(
    vivit: VivitModel,
    windows: torch.Tensor,
    pixel_affine: tuple[float, float],
    own: torch.Tensor | None = None,
    packed: PackedLayers | None = None,
) -> torch.Tensor:
    """Windows (W, C, n, H, W'), uint8 or normalised float -> tokens (W, 1 + N, D) after the last norm, CLS first.

    n is even and at most the tower's `num_frames`; N = n / 2 * h * w, time slowest, less in training with
    `patch_dropout`. own: (W, n / 2) bool, the steps
    that attention may look at; None: all. packed: takes the place of the layers in passes that it can take.
    """
    embeddings: Any = vivit.embeddings  # beside its own layers VivitEncoder's patch_dropout
    if isinstance(embeddings.patch_embeddings, ConvStem):
        frames = normalise(windows, pixel_affine).to(vivit.dtype)
        if own is not None:  # the stem's convolution looks two frames ahead: behind the clip it pads with zeros
            frames = frames * own.repeat_interleave(TUBELET_FRAMES, dim=1)[:, None, :, None, None]
        tokens = embeddings.patch_embeddings(frames)  # (W, N, D)
    else:
        tokens = embed_tubelets(windows, embeddings.patch_embeddings.projection, pixel_affine)
    positions = embeddings.position_embeddings[:, : 1 + tokens.size(1)]  # time slowest: fewer frames, fewer rows
    cls = embeddings.cls_token.expand(tokens.size(0), -1, -1)
    hidden = embeddings.dropout(torch.cat([cls.to(tokens.dtype), tokens], dim=1) + positions)
    hidden = embeddings.patch_dropout(hidden, windows.size(2) // TUBELET_FRAMES)
    if packed is not None and own is None and packed.can_take(vivit, hidden):
        return vivit.layernorm(packed(vivit, hidden))
    mask = None if own is None else _attention_mask(own, hidden)
    for layer in vivit.layers:
        hidden = layer(hidden, mask)
    return vivit.layernorm(hidden)


def recompute_layers(vivit: Any) -> None:
    """In training, each layer of a `VivitModel` or `FamilyTower` keeps its input alone and runs again in the backward
    pass (transformers' own switch).
    """
    if hasattr(vivit, "activation_checkpointing_enable"):
        vivit.activation_checkpointing_enable()
    else:  # its name in the first releases of transformers 5, deprecated since
        vivit.gradient_checkpointing_enable()


def _attention_mask(own: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """(W, n / 2) bool and tokens (W, 1 + N, D) -> (W, 1, 1, 1 + N), for the scores.

    0 at CLS and the tokens of `own` steps, else lowest.
    """
    tokens_a_step = (hidden.size(1) - 1) // own.size(1)
    tokens = F.pad(own.repeat_interleave(tokens_a_step, dim=1), (1, 0), value=True)
    scores = torch.zeros_like(tokens, dtype=hidden.dtype)
    return scores.masked_fill(~tokens, torch.finfo(hidden.dtype).min)[:, None, None]


def pool_tokens(tokens: torch.Tensor, steps: int, pooling: str) -> torch.Tensor:
    """Tokens (W, 1 + N, D) -> (W, steps, D): the mean or the maximum over space, or the CLS vector repeated."""
    if pooling == "cls":
        return tokens[:, :1].expand(-1, steps, -1)
    patches = tokens[:, 1:].unflatten(1, (steps, -1))  # (W, steps, h*w, D)
    return patches.mean(dim=2) if pooling == "mean" else patches.amax(dim=2)


def normalise(frames: torch.Tensor, pixel_affine: tuple[float, float]) -> torch.Tensor:
    """uint8 pixels to float by (scale, shift); float is normalised already."""
    scale, shift = pixel_affine
    return frames * scale + shift if frames.dtype == torch.uint8 else frames


def check_picture_size(clips: torch.Tensor, size: tuple[int, int]) -> None:
    """Raise `InputError` unless clips (..., H, W) have the `size` in pixels that the tower was built for."""
    if tuple(clips.shape[-2:]) != size:
        raise InputError(
            "the picture size is not the one this ViViT was built for",
            found=f"{clips.shape[-2]}x{clips.shape[-1]} pixels",
            expected=f"{size[0]}x{size[1]}",
            fix=f"Crop or resize the video, or build the encoder with image_size={clips.shape[-2]}",
        )
