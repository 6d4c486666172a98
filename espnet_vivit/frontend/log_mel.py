"""Log-mel energies through a small ResNet: the audio frontend for little data, one step per 640 samples (25 Hz).

In: speech (B, N) float32 at 16 kHz. Out: (B, N // 640, D); samples beyond the last full 640 are dropped.

A raw-waveform ResNet has to learn its filters; with half an hour of speech it does not. Here they are given: 80
energies on the mel scale every 10 ms from windows of 25 ms (what ESPnet's and Kaldi's recipes begin with; transform and
filters are torch's and torchaudio's), of which three residual blocks make steps of 40 ms. Each utterance is normalised
over its own samples first, and padding is masked after every normalisation, so that an utterance's features do not
depend on its loudness or on what it is batched with.
"""

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.bounded_stream import BoundedStream, SoundStream
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import MaskedBatchNorm1d, check_speech, length_mask
from espnet_vivit.frontend.resnet1d import BasicBlock1d, normalize
from espnet_vivit.frontend.running_normalization import WAVEFORM_NORMALIZATIONS
from espnet_vivit.units import AUDIO_RATE_HZ, FEATURE_RATES, SAMPLES_PER_FRAME

HOP = 160  # samples, 10 ms
WINDOW = 400  # samples, 25 ms
FFT_SIZE = 512
LOWEST_HZ = 20.0  # Kaldi's
STAGE_STRIDES = (1, 2, 2)  # of the residual blocks: 100, 50 and 25 steps per second
REACH_FRAMES = 4  # to either side of a frame that what is computed for it depends on
ENERGY_FLOOR = 1e-3  # of a signal of variance 1, whose energies lie about 10: below it is digital silence and noise


class LogMel(nn.Module):
    """`forward(speech (B, N), lengths) -> (features (B, N // 640, 4 * channels), lengths // 640)`.

    mel_bins: energies per 10 ms. channels: width of the first residual block; the others have twice and four times as
    many. feature_rate: "frame" (25 Hz), or "tubelet": pairs averaged, 12.5 Hz. waveform_normalization: as of resnet1d.
    Raises InputError, TooShortError (fewer than 640 samples); ConfigError for bad options.
    """

    filters: Tensor  # (257, mel_bins)
    window: Tensor  # (400,)

    def __init__(
        self,
        *,
        feature_rate: str = "frame",
        mel_bins: int = 80,
        channels: int = 64,
        waveform_normalization: str = "utterance",
    ):
        super().__init__()
        if waveform_normalization not in WAVEFORM_NORMALIZATIONS:
            raise unknown_name("waveform_normalization", waveform_normalization, WAVEFORM_NORMALIZATIONS)
        self.waveform_normalization = waveform_normalization
        for name, value in (("mel_bins", mel_bins), ("channels", channels)):
            if value < 1:
                raise ConfigError(f"logmel with bad {name}", found=value, expected="at least 1")
        self.feature_rate = check_feature_rate(feature_rate)
        self.channels = channels
        filters = torchaudio.functional.melscale_fbanks(
            FFT_SIZE // 2 + 1, LOWEST_HZ, AUDIO_RATE_HZ / 2, mel_bins, AUDIO_RATE_HZ
        )
        if not (filters > 0).any(0).all():
            raise ConfigError(
                "logmel with mel_bins that no frequency falls into",
                found=f"mel_bins={mel_bins}",
                expected=f"filters wider than the {AUDIO_RATE_HZ / FFT_SIZE:.0f} Hz between two frequencies",
                fix="Set audio_encoder_conf: {mel_bins: 80}.",
            )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.bn = MaskedBatchNorm1d(mel_bins)
        widths = [mel_bins, channels, 2 * channels, 4 * channels]
        self.blocks = nn.ModuleList(
            BasicBlock1d(inputs, outputs, stride=stride)
            for inputs, outputs, stride in zip(widths, widths[1:], STAGE_STRIDES, strict=False)
        )

    def _apply(self, fn, recurse=True) -> "LogMel":
        """What `to` and `bfloat16` call. Filters and window change their device, but stay float32."""
        constants = self.filters, self.window
        super()._apply(fn, recurse)
        self.filters, self.window = (kept.to(self.filters.device) for kept in constants)
        return self

    def output_size(self) -> int:
        return 4 * self.channels

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of utterances with `lengths` (B,) samples."""
        return steps_at_rate(lengths // SAMPLES_PER_FRAME, self.feature_rate)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        speech, lengths = check_speech(speech, lengths)
        return self._features(*normalize(speech, lengths, self.waveform_normalization))

    def stream(self) -> SoundStream:
        """Sound that arrives in pieces, 0.16 s late. Raises ConfigError where the whole clip is normalised."""
        frames = FEATURE_RATES[self.feature_rate]
        # Windows and convolutions reach 1936 samples to either side of a frame: 3.03 frames.
        reach = -(-REACH_FRAMES // frames)
        per_step = frames * SAMPLES_PER_FRAME
        bounded = BoundedStream(self, features=self._features_alone, per_step=per_step, before=reach, behind=reach)
        return SoundStream(self.waveform_normalization, bounded)

    def _features_alone(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self._features(speech, lengths // SAMPLES_PER_FRAME)

    def _features(self, speech: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised speech (B, 640 T), zero beyond its steps (B,) of 640 samples -> features and their lengths."""
        frames = speech.size(1) // SAMPLES_PER_FRAME
        padded = bool((steps < frames).any())

        def mask(per_step: int) -> Tensor | None:
            return length_mask(steps * per_step, frames * per_step) if padded else None

        per_step = SAMPLES_PER_FRAME // HOP
        x = self.bn(self.energies(speech).to(self.bn.weight.dtype), mask(per_step))  # (B, mel_bins, 4 T)
        for block, stride in zip(self.blocks, STAGE_STRIDES, strict=True):
            per_step //= stride
            x = block(x, mask(per_step))
        features = x.transpose(1, 2)  # (B, T, 4 C)
        if self.feature_rate == "tubelet":
            return average_pairs(features, steps)
        return features, steps

    def energies(self, speech: Tensor) -> Tensor:
        """Natural logarithm of the mel energies, float32: (B, N) -> (B, mel_bins, N // 160).

        Window k is centred on the middle of samples 160 k to 160 k + 159; zeros lie beyond both ends.
        """
        with torch.autocast(speech.device.type, enabled=False):  # a power spectrum overflows float16
            margin = (FFT_SIZE - HOP) // 2
            spectrum = torch.stft(
                F.pad(speech.float(), (margin, margin)),
                FFT_SIZE,
                HOP,
                WINDOW,
                self.window,
                center=False,
                return_complex=True,
            )  # (B, 257, N // 160)
            power = torch.view_as_real(spectrum).square().sum(-1)
            return torch.einsum("bft,fm->bmt", power, self.filters).clamp(min=ENERGY_FLOOR).log()
