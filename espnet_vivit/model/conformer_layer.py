"""One block of a Conformer, and its convolution, over a whole clip or in chunks.

The parameters have the names of ESPnet's `EncoderLayer` and `ConvolutionModule` (Gulati et al. 2020, arXiv:2005.08100).
Padding is neither read by the convolution nor counted by its BatchNorm; conformer.py says why.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.espnet_compat import LayerNorm, PositionwiseFeedForward
from espnet_vivit.frontend.masking import MaskedBatchNorm1d
from espnet_vivit.model.chunks import Chunks, convolve_in_chunks

ACTIVATIONS = {"relu": nn.ReLU, "swish": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class ConformerLayer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, each pre-normalised and residual; a final norm."""

    def __init__(
        self,
        size: int,
        *,
        self_attn: nn.Module,
        feed_forward: nn.Module,
        feed_forward_macaron: nn.Module,
        conv_module: nn.Module,
        dropout_rate: float,
        stochastic_depth_rate: float,
    ):
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = feed_forward
        self.feed_forward_macaron = feed_forward_macaron
        self.conv_module = conv_module
        self.norm_ff = LayerNorm(size)
        self.norm_mha = LayerNorm(size)
        self.norm_ff_macaron = LayerNorm(size)
        self.norm_conv = LayerNorm(size)
        self.norm_final = LayerNorm(size)
        self.dropout = nn.Dropout(dropout_rate)
        self.stochastic_depth_rate = stochastic_depth_rate

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, chunks: Chunks | None = None) -> Tensor:
        """x (B, T, D), positions (1, 2T-1, D), mask (B, T) bool -> (B, T, D). Without chunks, over the whole clip."""
        if not self.training or self.stochastic_depth_rate == 0:
            return self._blocks(x, positions, mask, chunks, scale=1.0)
        scale = 1 / (1 - self.stochastic_depth_rate)
        out = self._blocks(x, positions, mask, chunks, scale=scale)
        if torch.rand(()).item() < self.stochastic_depth_rate:
            return x + 0 * out  # not skipped: parameters without a gradient break distributed training
        return out

    def _blocks(self, x: Tensor, positions: Tensor, mask: Tensor, chunks: Chunks | None, *, scale: float) -> Tensor:
        visible, size = (mask[:, None, :], None) if chunks is None else (chunks.visible, chunks.size)
        x = x + scale * 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        normed = self.norm_mha(x)
        x = x + scale * self.dropout(self.self_attn(normed, normed, normed, positions, visible))
        x = x + scale * self.dropout(self.conv_module(self.norm_conv(x), mask, size))
        x = x + scale * 0.5 * self.dropout(self.feed_forward(self.norm_ff(x)))
        return self.norm_final(x)


class MaskedConvolution(nn.Module):
    """Pointwise, GLU, depthwise, BatchNorm, activation, pointwise over time; padding neither read nor counted."""

    def __init__(self, size: int, kernel_size: int, *, activation: str):
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, kernel_size=1)
        self.depthwise_conv = nn.Conv1d(size, size, kernel_size, padding=kernel_size // 2, groups=size)
        self.norm = MaskedBatchNorm1d(size)
        self.pointwise_conv2 = nn.Conv1d(size, size, kernel_size=1)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, mask: Tensor, chunk_size: int | None = None) -> Tensor:
        """x (B, T, D), mask (B, T) bool -> (B, T, D); chunk_size: of chunks behind which nothing is seen."""
        x = self.gate(x).masked_fill(~mask[:, None, :], 0)
        x = self.depthwise_conv(x) if chunk_size is None else convolve_in_chunks(self.depthwise_conv, x, chunk_size)
        return self.close(x, mask)

    def gate(self, x: Tensor) -> Tensor:
        """What the depthwise convolution reads: (B, T, D) -> (B, D, T)."""
        return F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)

    def close(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What follows the depthwise convolution: (B, D, T) -> (B, T, D)."""
        return self.pointwise_conv2(self.activation(self.norm(x, mask))).transpose(1, 2)


def feed_forward(size: int, units: int, dropout_rate: float, activation: str) -> PositionwiseFeedForward:
    return PositionwiseFeedForward(size, units, dropout_rate, ACTIVATIONS[activation]())
