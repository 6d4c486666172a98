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
from espnet_vivit.frontend.bounded_stream import BoundedStream, SoundStream
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import MaskedBatchNorm1d, check_speech, length_mask, zero_padding
from espnet_vivit.frontend.running_normalization import (
    NORMALIZATION_EPS,
    WAVEFORM_NORMALIZATIONS,
    RunningNormalization,
)
from espnet_vivit.units import FEATURE_RATES, SAMPLES_PER_FRAME

STAGE_STRIDES = (1, 2, 2, 2)
STEM_KERNEL = 80  # samples, 5 ms
STEM_STRIDES = (4, 8, 16)  # samples per step after the first convolution; whatever it is, the pooling ends at 640


class ResNet1d(nn.Module):
    """`forward(speech (B, N), lengths) -> (features (B, N // 640, 8 * channels), lengths // 640)`.

    waveform_normalization: "utterance" brings every utterance to mean 0 and variance 1 over its valid samples,
    "running" by the samples heard so far, for live use; "none" takes the samples as they are.
    feature_rate: "frame" (25 Hz), or "tubelet": pairs averaged, 12.5 Hz.
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
        return self._features(*normalize(speech, lengths, self.waveform_normalization))

    def stream(self) -> SoundStream:
        """Sound that arrives in pieces, one step late. Raises ConfigError where the whole clip is normalised."""
        per_step = FEATURE_RATES[self.feature_rate] * SAMPLES_PER_FRAME
        # Its convolutions reach 252 samples to either side of a step, at most.
        bounded = BoundedStream(self, features=self._features_alone, per_step=per_step, before=1, behind=1)
        return SoundStream(self.waveform_normalization, bounded)

    def _features_alone(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self._features(speech, lengths // SAMPLES_PER_FRAME)

    def _features(self, speech: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised speech (B, 640 T), zero beyond its steps (B,) of 640 samples -> features and their lengths."""
        features = self.trunk(speech.to(self.trunk.conv1.weight.dtype), steps)
        if self.feature_rate == "tubelet":
            return average_pairs(features, steps)
        return features, steps


def normalize(speech: Tensor, lengths: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """(B, N), lengths -> (B, 640 T), zero beyond whole steps: a remainder is nobody's, like padding; and the steps."""
    if how == "utterance":
        speech = normalize_utterances(speech, lengths)
    steps = lengths // SAMPLES_PER_FRAME
    whole = speech.size(1) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    speech = speech[:, :whole]
    if how == "running":
        speech = RunningNormalization()(speech)
    return zero_padding(speech, steps * SAMPLES_PER_FRAME), steps


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
