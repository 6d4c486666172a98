"""One linear projection of a 3-D patch: the cheapest visual frontend, the second baseline that ViViT has to beat.

In: gray mouth clips (B, T, H, W) of one size. Out: (B, T', output_dim). A patch is two neighbouring frames in full
height and width, flattened and projected by one matrix; everything else is left to the Conformer.

Source of the idea: linear patches before a Conformer (Chang et al. 2023, arXiv:2302.10915). The weight is that of a
`Conv3d(1, D, (2, H, W))`. Tubelet step i reads frames 2i and 2i+1, frame step t reads t and t+1 (the last frame is
repeated, so is a single one): the same weights serve both rates.
"""

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.bounded_stream import BoundedStream
from espnet_vivit.frontend.feature_rate import at_least_one, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import check_video, zero_padding
from espnet_vivit.frontend.presets import LINEAR_IMAGE_SIZE, linear_preset
from espnet_vivit.frontend.resnet import normalize_gray
from espnet_vivit.units import FEATURE_RATES, TUBELET_FRAMES


class LinearFrontend(nn.Module):
    """`forward(video, lengths) -> (features (B, T', output_dim), lengths (B,))`.

    video: (B, T, S, S) or (B, 1, T, S, S) with S = image_size; uint8 0..255 is normalised here, float is taken as
    already normalised. feature_rate: "frame" (T steps, 25 Hz) or "tubelet" (max(1, T // 2) steps, 12.5 Hz).
    Raises InputError (another picture size among them), TooShortError; ConfigError for bad options.
    """

    def __init__(self, *, feature_rate: str = "frame", output_dim: int = 512, image_size: int = LINEAR_IMAGE_SIZE):
        super().__init__()
        for name, value in (("output_dim", output_dim), ("image_size", image_size)):
            if value < 1:
                raise ConfigError(f"linear frontend with a bad {name}", found=value, expected="at least 1")
        self.feature_rate = check_feature_rate(feature_rate)
        self.image_size = image_size
        self.preset = linear_preset(image_size)
        self.projection = nn.Linear(TUBELET_FRAMES * image_size * image_size, output_dim)

    def output_size(self) -> int:
        return self.projection.out_features

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of clips with `lengths` (B,) frames."""
        return steps_at_rate(lengths, self.feature_rate)

    def forward(self, video: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        video, lengths = check_video(video, lengths)
        if video.shape[-2:] != (self.image_size, self.image_size):
            raise InputError(
                "video of a size that this linear frontend was not built for",
                found=f"{video.size(-2)}x{video.size(-1)} pixels",
                expected=f"{self.image_size}x{self.image_size}",
                fix="Crop the clips to that size, or set vision_encoder_conf: {image_size: ...} to theirs.",
            )
        frames = normalize_gray(video, self.preset, dtype=self.projection.weight.dtype).flatten(3).squeeze(1)
        steps = self.output_lengths(lengths)
        first = self._first_frames(frames.size(1), frames.device).expand(len(frames), -1)  # (B, T')
        second = (first + 1).clamp(max=lengths[:, None] - 1).clamp(min=0)  # a clip's own last frame, not the padding
        patches = torch.stack([_take_frames(frames, first), _take_frames(frames, second)], dim=2)  # (B, T', 2, H*W)
        return zero_padding(self.projection(patches.flatten(2)), steps), steps

    def stream(self) -> BoundedStream:
        """A clip that arrives in pieces. At 25 Hz a step waits for the frame after its own, at 12.5 Hz for none."""
        stride = FEATURE_RATES[self.feature_rate]
        return BoundedStream(self, per_step=stride, before=0, behind=TUBELET_FRAMES - stride)

    def _first_frames(self, frames: int, device: torch.device) -> Tensor:
        """(T',) index of the first frame of each step's patch, for a batch padded to `frames`."""
        stride = FEATURE_RATES[self.feature_rate]
        return torch.arange(at_least_one(frames // stride), device=device) * stride


def _take_frames(frames: Tensor, index: Tensor) -> Tensor:
    """frames (B, T, P), index (B, T') -> (B, T', P)."""
    return frames.gather(1, index[..., None].expand(-1, -1, frames.size(2)))
