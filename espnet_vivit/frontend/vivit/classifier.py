"""A clip in, one label out: a head for isolated words or actions on any visual encoder, and multi-view evaluation.

Published ViViTs are judged over several views of a video: some stretches of time, three crops each, the answers
averaged (Arnab et al. 2021: 4 x 3 for Kinetics). Which frames and pixels belong to a view is as in google-deepmind's
dmvr, which scenic reads its data with.
"""

import math
from typing import Any

import torch
from torch import nn

from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.frontend.masking import length_mask

POOLINGS = ("mean", "max")
AVERAGES = ("logits", "probabilities")


class VivitClassifier(nn.Module):
    """`classifier(video, lengths) -> logits (B, num_classes)` from the valid steps of `encoder`.

    Args:
        encoder: `vivit_encoder` or another visual frontend.
        num_classes: of words; their layer starts at zero, so that a fresh model says the same of every class.
        pooling: over the steps of a clip: "mean" or "max". Padded steps never count.
        representation_size: width of a tanh layer between (scenic's `pre_logits`); None: none.
    """

    def __init__(
        self, encoder: Any, num_classes: int, *, pooling: str = "mean", representation_size: int | None = None
    ):
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown_name("pooling", pooling, POOLINGS)
        if num_classes < 2:
            raise ConfigError("too few classes to tell apart", found=num_classes, expected="2 or more")
        self.encoder, self.pooling = encoder, pooling
        width, self.pre_logits = encoder.output_size(), None
        if representation_size is not None:
            self.pre_logits, width = nn.Linear(width, representation_size), representation_size
        self.output = nn.Linear(width, num_classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, video: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Video and lengths as the encoder takes them; without lengths all frames count."""
        if lengths is None:
            lengths = torch.full((len(video),), video.size(-3), device=video.device)
        features, steps = self.encoder(video, lengths)
        outside = ~length_mask(steps.to(features.device), features.size(1))[..., None]
        if self.pooling == "max":
            pooled = features.masked_fill(outside, -torch.inf).amax(dim=1)
        else:
            pooled = features.masked_fill(outside, 0).sum(dim=1) / steps.to(features)[:, None]
        if self.pre_logits is not None:
            pooled = self.pre_logits(pooled).tanh()
        return self.output(pooled)


def temporal_views(total: int, *, frames: int, stride: int, views: int) -> torch.Tensor:
    """Frame numbers (views, frames) of stretches spread from the first to the last; clips that are too short repeat.

    total: frames of the clip. One view is the middle one.
    """
    last = max(0, total - frames * stride)
    offsets = torch.linspace(0, last, views) if views > 1 else torch.tensor([last / 2])
    return (offsets.trunc().long()[:, None] + torch.arange(frames) * stride) % total


def spatial_views(height: int, width: int, *, crop: tuple[int, int], views: int) -> list[tuple[int, int]]:
    """Top left corners (y, x) of crops along the longer side (the width if both are equal), centred on the other.

    views: 1, the middle, or 3. Raises InputError for a picture smaller than the crop.
    """
    if height < crop[0] or width < crop[1]:
        found, expected = f"{height}x{width} pixels", f"at least {crop[0]}x{crop[1]}"
        raise InputError("the picture is smaller than a view of it", found=found, expected=expected)
    if views not in (1, 3):
        raise ConfigError("views of a picture", found=views, expected="1 or 3")
    y, x = math.ceil((height - crop[0]) / 2), math.ceil((width - crop[1]) / 2)
    if views == 1:
        return [(y, x)]
    if height > width:
        return [(0, x), (y, x), (height - crop[0], x)]
    return [(y, 0), (y, x), (y, width - crop[1])]


@torch.no_grad()
def evaluate_views(
    model: VivitClassifier,
    clip: torch.Tensor,
    *,
    frames: int,
    stride: int = 1,
    temporal: int = 4,
    spatial: int = 3,
    average: str = "logits",
) -> torch.Tensor:
    """The mean answer (num_classes,) of a classifier in evaluation over the views of a clip (T, H, W), uint8 or float.

    frames, stride: of a temporal view, in frames of the clip. average: of the "logits", or of their "probabilities".
    """
    if average not in AVERAGES:
        raise unknown_name("average", average, AVERAGES)
    if clip.dim() != 3 or 0 in clip.shape:
        raise InputError("one clip is looked at from several sides", found=tuple(clip.shape), expected="(T, H, W)")
    total, height, width = clip.shape
    crop = model.encoder.preset.crop_shape(height)
    stretches = temporal_views(total, frames=frames, stride=stride, views=temporal)
    corners = spatial_views(height, width, crop=crop, views=spatial)
    views = [clip[index][:, y : y + crop[0], x : x + crop[1]] for y, x in corners for index in stretches]
    logits = model(torch.stack(views))
    return logits.mean(0) if average == "logits" else logits.softmax(-1).mean(0)
