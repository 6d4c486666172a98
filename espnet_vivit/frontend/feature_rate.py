"""Feature rates: 25 Hz, a step per video frame, or 12.5 Hz, a step per tubelet of two frames.

Frame-rate features are brought to the tubelet rate by averaging pairs; the length law is that of `units.tubelet_steps`:
`max(1, T // 2)` steps, an odd last frame is dropped, a single frame stays as it is.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_vivit.errors import unknown_name
from espnet_vivit.frontend.masking import zero_padding
from espnet_vivit.units import FEATURE_RATES, TUBELET_FRAMES


def check_feature_rate(feature_rate: str) -> str:
    """`feature_rate` itself if it is one of ours; else ConfigError with the nearest name."""
    if feature_rate not in FEATURE_RATES:
        raise unknown_name("feature_rate", feature_rate, FEATURE_RATES)
    return feature_rate


def steps_at_rate(frames: Tensor, feature_rate: str) -> Tensor:
    """Feature steps (B,) int64 of clips with `frames` (B,) video frames."""
    if feature_rate == "frame":
        return frames.long()
    return (frames.long() // TUBELET_FRAMES).clamp(min=1)


def at_least_one(number: int) -> int:
    """max(1, number), which must not become a decision where `torch.export` passes a symbol."""
    if torch.compiler.is_dynamo_compiling():
        return max(1, number)
    return torch.sym_max(1, number)  # pyright: ignore[reportReturnType]  of a number a number, of a symbol a symbol


def average_pairs(features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """25 Hz -> 12.5 Hz: features (B, T, D) and lengths (B,) -> (B, max(1, T // 2), D) and lengths (B,).

    Each pair is averaged over its valid steps only, so a clip of one frame keeps it whatever the padding beside it is.
    """
    pairs = at_least_one(features.size(1) // TUBELET_FRAMES)
    steps = steps_at_rate(lengths, "tubelet")
    if torch.compiler.is_compiling():  # where no question about the size may be asked
        features = F.pad(features, (0, 0, 0, 1))
    elif features.size(1) == 1:
        return features, steps
    summed = zero_padding(features, lengths)[:, : TUBELET_FRAMES * pairs].unflatten(1, (pairs, TUBELET_FRAMES)).sum(2)
    # only a clip of a single frame has half a pair among its valid steps: its first
    valid_in_pair = lengths.clamp(max=TUBELET_FRAMES).to(features.dtype)  # (B,)
    return zero_padding(summed / valid_in_pair[:, None, None], steps), steps
