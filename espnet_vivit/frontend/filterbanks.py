"""AV-HuBERT's sound: 26 log filterbanks every 10 ms, four of them one step of 104 numbers at 25 Hz, and a projection.

In: speech (B, N) float32 at 16 kHz. Out: (B, N // 640, D); samples beyond the last full 640 are dropped.

The numbers are those of `python_speech_features.logfbank` with its defaults, which AV-HuBERT was trained on (Shi et
al., ICLR 2022; hubert_dataset.py): pre-emphasis 0.97 over the whole utterance, rectangular windows of 25 ms, 512
points, 26 triangular filters from 0 Hz to 8 kHz on the mel scale, natural logarithm. N samples make 4 N / 640 - 1
windows, so the last quarter of the last step is zeros; then each step is normalized over its 104 numbers.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.feature_rate import check_feature_rate
from espnet_vivit.frontend.masking import check_speech, zero_padding
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME

FILTERS, STACKED = 26, 4
HOP, WINDOW, FFT_SIZE = 160, 400, 512  # samples
PRE_EMPHASIS = 0.97
INT16 = 32768.0  # AV-HuBERT reads the samples as whole numbers
_EPSILON = torch.finfo(torch.float64).eps  # what python_speech_features puts in place of an energy of zero


class FilterbankAudio(nn.Module):
    """`forward(speech (B, N), lengths) -> (features (B, N // 640, output_dim), lengths // 640)`.

    What `encoder: avhubert` takes of the sound; its features are at 25 Hz only.
    Raises InputError, TooShortError (fewer than 640 samples); ConfigError for another feature_rate.
    """

    filters: Tensor  # (257, 26)

    def __init__(self, *, feature_rate: str = "frame", output_dim: int = 768):
        super().__init__()
        if check_feature_rate(feature_rate) != "frame":
            raise ConfigError("AV-HuBERT runs at 25 Hz", found=f"feature_rate={feature_rate}", expected="frame")
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.proj = nn.Linear(STACKED * FILTERS, output_dim)

    def _apply(self, fn, recurse=True) -> "FilterbankAudio":
        """What `to` and `bfloat16` call. The filters change their device, but stay float32."""
        filters = self.filters
        super()._apply(fn, recurse)
        self.filters = filters.to(self.filters.device)
        return self

    def output_size(self) -> int:
        return self.proj.out_features

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of utterances with `lengths` (B,) samples."""
        return lengths.long() // SAMPLES_PER_FRAME

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        speech, lengths = check_speech(speech, lengths)
        steps = lengths // SAMPLES_PER_FRAME
        stacked = self.stacked_energies(speech, steps)
        return zero_padding(self.proj(stacked.to(self.proj.weight.dtype)), steps), steps

    def stacked_energies(self, speech: Tensor, steps: Tensor) -> Tensor:
        """(B, N) samples and (B,) steps -> (B, T, 104), float32: each step normalized over its numbers."""
        frames = int(steps.max())
        with torch.autocast(speech.device.type, enabled=False):  # a power spectrum overflows float16
            energies = self.log_energies(speech[:, : frames * SAMPLES_PER_FRAME], steps * SAMPLES_PER_FRAME)
            energies = zero_padding(energies, STACKED * steps - 1)  # an utterance's last window is missing
            stacked = energies.unflatten(1, (frames, STACKED)).flatten(2)
            return F.layer_norm(stacked, stacked.shape[2:])

    def log_energies(self, speech: Tensor, lengths: Tensor) -> Tensor:
        """(B, N) -> (B, N // 160, 26): logarithms; window k begins at sample 160 k, zeros lie beyond the end."""
        speech = INT16 * speech.float()
        emphasized = torch.cat([speech[:, :1], speech[:, 1:] - PRE_EMPHASIS * speech[:, :-1]], dim=1)
        emphasized = zero_padding(emphasized, lengths)
        windows = F.pad(emphasized, (0, WINDOW - HOP)).unfold(1, WINDOW, HOP)  # (B, N // 160, 400)
        power = torch.fft.rfft(windows, FFT_SIZE).abs().square() / FFT_SIZE
        energies = power @ self.filters
        return energies.masked_fill(energies == 0, _EPSILON).log()


def mel_filters() -> Tensor:
    """(257, 26): triangles between 28 equidistant points of the mel scale, rounded as python_speech_features does."""
    highest = 2595 * math.log10(1 + AUDIO_RATE_HZ / 2 / 700)
    mels = np.linspace(0, highest, FILTERS + 2)
    bins = np.floor((FFT_SIZE + 1) * 700 * (10 ** (mels / 2595) - 1) / AUDIO_RATE_HZ)
    points = np.arange(FFT_SIZE // 2 + 1)[:, None]  # (257, 1)
    left, middle, right = bins[:-2], bins[1:-1], bins[2:]  # (26,) each
    triangles = np.minimum((points - left) / (middle - left), (right - points) / (right - middle))
    return torch.from_numpy(triangles.clip(min=0).astype(np.float32))
