"""Waveforms brought to mean 0 and variance 1 by what has been heard so far, for sound that is still arriving.

Each block of 640 samples is normalised by mean and variance of itself and of the blocks before it. What was heard
`MEMORY_S` ago counts 1 / e as much as what is heard now, so that another distance to the microphone is forgotten.
"""

import math

import torch
from torch import Tensor

from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ

WAVEFORM_NORMALIZATIONS = ("utterance", "running", "none")
MEMORY_S = 10.0
NORMALIZATION_EPS = 1e-8  # Auto-AVSR's: silence stays silence instead of becoming amplified rounding noise
_KEPT = math.exp(-1 / (MEMORY_S * VIDEO_RATE_HZ))  # of the weight of all blocks before, from a block to the next


class RunningNormalization:
    """`normalize(speech (B, 640 T)) -> (B, 640 T) float32`, goes on where the call before ended; padding stays zero.

    The result does not depend on how the speech is cut into calls. Gradients do not pass the statistics.
    """

    def __init__(self):
        self._sums: Tensor | None = None  # (B, 3) float64: weighted number, sum and sum of squares of the samples

    def __call__(self, speech: Tensor) -> Tensor:
        blocks = speech.float().unflatten(1, (-1, SAMPLES_PER_FRAME))  # (B, T, 640)
        with torch.no_grad():
            mean, scale = self._statistics(blocks)
        return ((blocks - mean.to(blocks)) * scale.to(blocks)).flatten(1)

    def _statistics(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / standard deviation (B, T, 1) float64 for each block, on the CPU: MPS has no float64."""
        numbers = torch.full_like(blocks[..., 0], SAMPLES_PER_FRAME)
        of_each = torch.stack([numbers, blocks.sum(2), blocks.square().sum(2)], dim=2).cpu().double()  # (B, T, 3)
        sums = of_each.new_zeros(len(of_each), 3) if self._sums is None else self._sums
        heard = []
        for block in of_each.unbind(1):
            sums = _KEPT * sums + block
            heard.append(sums)
        self._sums = sums
        number, total, squares = torch.stack(heard, dim=1)[..., None].unbind(2)
        mean = total / number
        variance = (squares / number - mean.square()).clamp(min=0)
        return mean, (variance + NORMALIZATION_EPS).rsqrt()
