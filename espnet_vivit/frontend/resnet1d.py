"""ResNet-18 on the raw waveform: the audio frontend, one step of 512 features per 640 samples (25 Hz).

In: speech (B, N) float32 at 16 kHz. Out: (B, N // 640, 512); samples beyond the last full 640 are dropped.

Source: Petridis et al. 2018 (arXiv:1802.06424); sizes and parameter names of Auto-AVSR (mpc001/auto_avsr, Apache-2.0),
so that its published weights load. Different here: each utterance is normalised over its own samples inside the model
(Auto-AVSR does it in its data loader), and padding is masked after every normalisation, so that an utterance's features
do not depend on what it is batched with.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import MaskedBatchNorm1d, check_speech, length_mask, zero_padding
from espnet_vivit.units import SAMPLES_PER_FRAME

WAVEFORM_NORMALIZATIONS = ("utterance", "none")
STAGE_STRIDES = (1, 2, 2, 2)
STEM_KERNEL = 80  # samples, 5 ms
STEM_STRIDES = (4, 8, 16)  # samples per step after the first convolution; whatever it is, the pooling ends at 640
NORMALIZATION_EPS = 1e-8  # Auto-AVSR's: silence stays silence instead of becoming amplified rounding noise


class ResNet1d(nn.Module):
    """`forward(speech (B, N), lengths) -> (features (B, N // 640, 8 * channels), lengths // 640)`.

    waveform_normalization: "utterance" brings every utterance to mean 0 and variance 1 over its valid samples;
    "none" takes the samples as they are. feature_rate: "frame" (25 Hz), or "tubelet": pairs averaged, 12.5 Hz.
    channels: width of the first layer; 64 is Auto-AVSR (3,848,576 parameters). stem_stride: 4 is Auto-AVSR; 8 and 16
    read the waveform in longer steps, for a half and a quarter of the cost with as many parameters.
    Raises InputError, TooShortError (fewer than 640 samples); ConfigError for bad options.
    """

    def __init__(
        self,
        *,
        feature_rate: str = "frame",
        channels: int = 64,
        stem_stride: int = 4,
        waveform_normalization: str = "utterance",
    ):
        super().__init__()
        if stem_stride not in STEM_STRIDES:
            raise ConfigError("resnet1d with a bad stem_stride", found=stem_stride, expected=f"one of {STEM_STRIDES}")
        if channels < 1:
            raise ConfigError("resnet1d of no width", found=f"channels={channels}", expected="at least 1")
        if waveform_normalization not in WAVEFORM_NORMALIZATIONS:
            raise unknown_name("waveform_normalization", waveform_normalization, WAVEFORM_NORMALIZATIONS)
        self.feature_rate = check_feature_rate(feature_rate)
        self.channels = channels
        self.waveform_normalization = waveform_normalization
        self.trunk = ResNet1dTrunk(channels, stem_stride)
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def output_size(self) -> int:
        return 8 * self.channels

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of utterances with `lengths` (B,) samples."""
        return steps_at_rate(lengths // SAMPLES_PER_FRAME, self.feature_rate)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        speech, lengths = check_speech(speech, lengths)
        if self.waveform_normalization == "utterance":
            speech = normalize_utterances(speech, lengths)
        steps = lengths // SAMPLES_PER_FRAME
        whole = speech.size(1) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        speech = zero_padding(speech[:, :whole], steps * SAMPLES_PER_FRAME)  # a remainder is nobody's, like padding
        features = self.trunk(speech.to(self.trunk.conv1.weight.dtype), steps)
        if self.feature_rate == "tubelet":
            return average_pairs(features, steps)
        return features, steps


def normalize_utterances(speech: Tensor, lengths: Tensor) -> Tensor:
    """Mean 0, variance 1 over each row's valid samples: (B, N) -> (B, N), zero in the padding; in float32."""
    speech = zero_padding(speech.float(), lengths)
    count = lengths[:, None]
    centred = zero_padding(speech - speech.sum(1, keepdim=True) / count, lengths)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * (variance + NORMALIZATION_EPS).rsqrt()


class ResNet1dTrunk(nn.Module):
    """(B, 640 * T) waveform and steps (B,) -> (B, T, 8C); what lies beyond a row's steps is kept at zero."""

    def __init__(self, channels: int, stem_stride: int):
        super().__init__()
        self.stem_stride = stem_stride
        padding = (STEM_KERNEL - stem_stride) // 2  # N samples give exactly N / stem_stride steps
        self.conv1 = nn.Conv1d(1, channels, STEM_KERNEL, stride=stem_stride, padding=padding, bias=False)
        self.bn1 = MaskedBatchNorm1d(channels)
        widths = [channels, channels, 2 * channels, 4 * channels, 8 * channels]
        for stage, stride in enumerate(STAGE_STRIDES, start=1):
            blocks = [
                BasicBlock1d(widths[stage - 1], widths[stage], stride=stride),
                BasicBlock1d(widths[stage], widths[stage], stride=1),
            ]
            setattr(self, f"layer{stage}", nn.ModuleList(blocks))

    def forward(self, speech: Tensor, steps: Tensor) -> Tensor:
        frames = speech.size(1) // SAMPLES_PER_FRAME
        padded = bool((steps < frames).any())
        per_step = SAMPLES_PER_FRAME // self.stem_stride  # steps of the first convolution per feature step
        mask = length_mask(steps * per_step, frames * per_step) if padded else None
        x = F.silu(self.bn1(self.conv1(speech[:, None]), mask))  # (B, C, 160 T)
        for stage, stride in enumerate(STAGE_STRIDES, start=1):
            per_step //= stride
            mask = length_mask(steps * per_step, frames * per_step) if padded else None
            for block in getattr(self, f"layer{stage}"):
                x = block(x, mask)
        return F.avg_pool1d(x, per_step).transpose(1, 2)  # (B, 8C, per_step * T) -> (B, T, 8C)


class BasicBlock1d(nn.Module):
    """Two convolutions of width 3 with a shortcut, SiLU; `mask` (B, T_out) is of the block's output steps."""

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = MaskedBatchNorm1d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.ModuleList(
                [nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False), MaskedBatchNorm1d(outputs)]
            )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample[1](self.downsample[0](x), mask)
        x = F.silu(self.bn1(self.conv1(x), mask))
        return F.silu(self.bn2(self.conv2(x), mask) + shortcut)
