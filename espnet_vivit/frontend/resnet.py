"""Conv3d + ResNet-18: the visual frontend of the field, and the baseline that ViViT has to beat.

In: gray mouth clips (B, T, H, W), 88x88 as a rule. Out: (B, T, 512) at 25 Hz, or pairs averaged at 12.5 Hz.
One 3-D convolution over five frames, then a 2-D ResNet-18 on every frame, global average. The activation is SiLU, as
Auto-AVSR's, or PReLU, as AV-HuBERT's.

Source: Stafylakis & Tzimiropoulos 2017 (arXiv:1703.04105); sizes and parameter names of Auto-AVSR (mpc001/auto_avsr,
Apache-2.0), so that its published weights load. Different here: after the 3-D convolution only the valid frames go on,
packed, so padding costs nothing in the trunk and never enters BatchNorm.
"""

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.bounded_stream import BoundedStream
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import (
    FiniteBatchNorm2d,
    check_video,
    length_mask,
    pack_valid,
    unpack_valid,
    zero_padding,
)
from espnet_vivit.frontend.presets import RESNET_PRESET, VisualPreset
from espnet_vivit.units import FEATURE_RATES

ACTIVATIONS = ("silu", "prelu")
REACH_FRAMES = 2  # to either side of a frame, by the convolution over five


class ResNetFrontend(nn.Module):
    """`forward(video, lengths) -> (features (B, T', 8 * channels), lengths (B,))`.

    video: (B, T, H, W) or (B, 1, T, H, W); uint8 0..255 is normalised here, float is taken as already normalised.
    lengths: valid frames of each clip; the returned ones count feature steps.
    feature_rate: "frame" (T steps) or "tubelet" (pairs averaged, max(1, T // 2) steps).
    channels: width of the first layer; 64 is ResNet-18 and Auto-AVSR (11,182,784 parameters).
    activation: "silu" (Auto-AVSR), or "prelu" with a learnt slope per channel (AV-HuBERT).
    Raises InputError, TooShortError; ConfigError for bad options.
    """

    preset: VisualPreset = RESNET_PRESET

    def __init__(self, *, feature_rate: str = "frame", channels: int = 64, activation: str = "silu"):
        super().__init__()
        if channels < 1:
            raise ConfigError("resnet of no width", found=f"channels={channels}", expected="at least 1")
        if activation not in ACTIVATIONS:
            raise unknown_name("activation of the resnet", activation, ACTIVATIONS)
        self.feature_rate = check_feature_rate(feature_rate)
        self.channels = channels
        # Called part by part in `forward`: the last three see packed frames, hence 2-D (the same names and shapes).
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, channels, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            FiniteBatchNorm2d(channels),
            _activation(activation, channels),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.trunk = ResNet18Trunk(channels, activation)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def output_size(self) -> int:
        return 8 * self.channels

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of clips with `lengths` (B,) frames."""
        return steps_at_rate(lengths, self.feature_rate)

    def forward(self, video: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        video, lengths = check_video(video, lengths)
        video = normalize_gray(video, self.preset, dtype=next(self.frontend3D.parameters()).dtype)
        video = zero_padding(video.transpose(1, 2), lengths).transpose(1, 2)  # (B, 1, T, H, W): zero is now mean gray
        mask = length_mask(lengths, video.size(2))  # (B, T)
        frames = pack_valid(self.frontend3D[0](video).transpose(1, 2), mask)  # (N, C, H/2, W/2)
        torch._check(frames.size(0) != 0)  # for torch.export, which cannot see that every clip has a frame
        features = unpack_valid(self.trunk(self.frontend3D[1:](frames)), mask)  # (B, T, 8C)
        if self.feature_rate == "tubelet":
            return average_pairs(features, lengths)
        return features, lengths

    def stream(self) -> BoundedStream:
        """A clip that arrives in pieces, two frames late, as the first convolution looks two frames ahead."""
        stride = FEATURE_RATES[self.feature_rate]
        reach = -(-REACH_FRAMES // stride)
        return BoundedStream(self, per_step=stride, before=reach, behind=reach)


def normalize_gray(video: Tensor, preset: VisualPreset, *, dtype: torch.dtype) -> Tensor:
    """uint8 0..255 -> ((video / 255) - mean) / std; floats pass, they are normalised already. Result in `dtype`."""
    if video.dtype != torch.uint8:
        return video.to(dtype)
    return ((video.float() / 255 - preset.mean) / preset.std).to(dtype)


class ResNet18Trunk(nn.Module):
    """(N, C, H, W) frames -> (N, 8C): four stages of two basic blocks, global average."""

    def __init__(self, channels: int, activation: str = "silu"):
        super().__init__()
        self.layer1 = _stage(channels, channels, activation, stride=1)
        self.layer2 = _stage(channels, 2 * channels, activation, stride=2)
        self.layer3 = _stage(2 * channels, 4 * channels, activation, stride=2)
        self.layer4 = _stage(4 * channels, 8 * channels, activation, stride=2)

    def forward(self, frames: Tensor) -> Tensor:
        maps = self.layer4(self.layer3(self.layer2(self.layer1(frames))))  # (N, 8C, H/8, W/8)
        return maps.mean(dim=(2, 3))


def _activation(name: str, channels: int) -> nn.Module:
    return nn.PReLU(channels) if name == "prelu" else nn.SiLU()


def _stage(inputs: int, outputs: int, activation: str, *, stride: int) -> nn.Sequential:
    first = BasicBlock2d(inputs, outputs, stride=stride, activation=activation)
    return nn.Sequential(first, BasicBlock2d(outputs, outputs, stride=1, activation=activation))


class BasicBlock2d(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016), SiLU or PReLU in place of ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, activation: str = "silu"):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = FiniteBatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = FiniteBatchNorm2d(outputs)
        self.relu1, self.relu2 = _activation(activation, outputs), _activation(activation, outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), FiniteBatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)) + shortcut)
