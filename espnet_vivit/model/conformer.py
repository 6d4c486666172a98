"""The Conformer encoder with padding masked in its convolution: same weights as ESPnet2's, same answer as alone.

In: (B, T, D) features and lengths. Out: (B, T, D) encoding, zero at padded steps, and the same lengths.

Built on ESPnet's attention, feed-forward, LayerNorm and relative positions (Gulati et al. 2020, arXiv:2005.08100), with
the parameter names of its `ConformerEncoder` (macaron, `rel_pos_type: latest`, no input layer). Different here: ESPnet
does not give the padding mask to the convolution module, so an utterance's encoding depends on its neighbours in the
batch and padding enters BatchNorm; ours zeroes padded steps before the depthwise convolution and takes the statistics
over valid steps. The activations of feed-forward and convolution are set apart, as Auto-AVSR needs (ReLU and SiLU).
"""

from collections.abc import Sequence

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.espnet_compat import (
    LayerNorm,
    PositionwiseFeedForward,
    RelPositionalEncoding,
    RelPositionMultiHeadedAttention,
)
from espnet_vivit.frontend.masking import MaskedBatchNorm1d, check_lengths, length_mask, zero_padding

ACTIVATIONS = {"relu": nn.ReLU, "swish": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class RelativeEncoder(AbsEncoder):
    """Blocks over one table of relative positions, between them intermediate CTC; `Conformer` says what a block is.

    layers: modules `(x (B, T, D), positions (1, 2T-1, D), mask (B, T)) -> (B, T, D)`. With `interctc_layer_idx`
    (1-based, below the number of layers), the first value of `forward` is `(encoding, [(layer, its output), ...])`,
    ESPnet's contract for intermediate CTC; `interctc_use_conditioning` feeds each intermediate CTC's posteriors back
    (ESPnetASRModel sets `conditioning_layer` and passes `ctc`).
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        output_size: int,
        positional_dropout_rate: float,
        interctc_layer_idx: Sequence[int],
        interctc_use_conditioning: bool,
    ):
        super().__init__()
        _check_interctc(interctc_layer_idx, len(layers))
        self._output_size = output_size
        self.embed = nn.Sequential(RelPositionalEncoding(output_size, positional_dropout_rate))
        self.encoders = nn.ModuleList(layers)
        self.after_norm = LayerNorm(output_size)
        self.interctc_layer_idx = list(interctc_layer_idx)
        self.interctc_use_conditioning = interctc_use_conditioning
        # ESPnetASRModel puts a Linear(vocabulary, output_size) here when conditioning
        self.conditioning_layer: nn.Linear | None = None

    def output_size(self) -> int:
        return self._output_size

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None, ctc: CTC | None = None
    ) -> tuple[Tensor | tuple[Tensor, list[tuple[int, Tensor]]], Tensor, None]:
        """`prev_states` is part of ESPnet's interface and unused; `ctc` is needed with conditioning only."""
        xs_pad, lengths, mask = self._check_input(xs_pad, ilens)
        # In the weights' own precision: under autocast ESPnet's position table would be rounded to half for good.
        x, positions = self.embed(zero_padding(xs_pad, lengths).to(self.after_norm.weight.dtype))
        intermediate = []
        for number, layer in enumerate(self.encoders, start=1):
            x = layer(x, positions, mask)
            if number in self.interctc_layer_idx:
                output = zero_padding(self.after_norm(x), lengths)
                intermediate.append((number, output))
                if self.interctc_use_conditioning:
                    assert self.conditioning_layer is not None and ctc is not None  # ESPnetASRModel saw to it
                    x = x + self.conditioning_layer(ctc.softmax(output))
        encoding = zero_padding(self.after_norm(x), lengths)
        return (encoding, intermediate) if intermediate else encoding, lengths, None

    def _check_input(self, xs_pad: Tensor, ilens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, lengths (B,) int64 and the mask (B, T) of valid steps, on one device."""
        if xs_pad.dim() != 3 or xs_pad.size(2) != self._output_size:
            raise InputError(
                f"features that this {type(self).__name__} cannot read",
                found=tuple(xs_pad.shape),
                expected=f"(B, T, {self._output_size})",
                fix="Project the features to the encoder's output_size first.",
            )
        lengths = check_lengths(ilens, batch=len(xs_pad), size=xs_pad.size(1), kind="features", unit="steps")
        lengths = lengths.to(xs_pad.device)
        return xs_pad, lengths, length_mask(lengths, xs_pad.size(1))


class Conformer(RelativeEncoder):
    """`forward(xs_pad (B, T, D), ilens (B,)) -> (encoding (B, T, D), lengths (B,), None)`.

    It has no input layer: `input_size` must equal `output_size` (E2E projects the frontend's features). Defaults are
    Auto-AVSR's sizes (170,451,456 parameters). For `interctc_layer_idx` and `interctc_use_conditioning` see
    `RelativeEncoder`.
    Raises ConfigError for contradictory sizes, InputError or TooShortError for bad input.
    """

    def __init__(
        self,
        input_size: int,
        *,
        output_size: int = 768,
        attention_heads: int = 12,
        linear_units: int = 3072,
        num_blocks: int = 12,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        cnn_module_kernel: int = 31,
        ff_activation: str = "relu",
        conv_activation: str = "swish",
        interctc_layer_idx: Sequence[int] = (),
        interctc_use_conditioning: bool = False,
        stochastic_depth_rate: float = 0.0,
    ):
        check_encoder_sizes(input_size, output_size, attention_heads, num_blocks)
        checked = {"cnn_module_kernel": cnn_module_kernel, "stochastic_depth_rate": stochastic_depth_rate}
        check_values("part", checked, where="{name} of the encoder")
        for option, name in (("ff_activation", ff_activation), ("conv_activation", conv_activation)):
            if name not in ACTIVATIONS:
                raise unknown_name(option, name, ACTIVATIONS)
        layers = [
            ConformerLayer(
                output_size,
                self_attn=RelPositionMultiHeadedAttention(attention_heads, output_size, attention_dropout_rate),
                feed_forward=feed_forward(output_size, linear_units, dropout_rate, ff_activation),
                feed_forward_macaron=feed_forward(output_size, linear_units, dropout_rate, ff_activation),
                conv_module=MaskedConvolution(output_size, cnn_module_kernel, activation=conv_activation),
                dropout_rate=dropout_rate,
                stochastic_depth_rate=stochastic_depth_rate,
            )
            for _ in range(num_blocks)
        ]
        super().__init__(
            layers,
            output_size=output_size,
            positional_dropout_rate=positional_dropout_rate,
            interctc_layer_idx=interctc_layer_idx,
            interctc_use_conditioning=interctc_use_conditioning,
        )


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

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), positions (1, 2T-1, D), mask (B, T) bool -> (B, T, D)."""
        if not self.training or self.stochastic_depth_rate == 0:
            return self._blocks(x, positions, mask, scale=1.0)
        scale = 1 / (1 - self.stochastic_depth_rate)
        out = self._blocks(x, positions, mask, scale=scale)
        if torch.rand(()).item() < self.stochastic_depth_rate:
            return x + 0 * out  # not skipped: parameters without a gradient break distributed training
        return out

    def _blocks(self, x: Tensor, positions: Tensor, mask: Tensor, *, scale: float) -> Tensor:
        x = x + scale * 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        normed = self.norm_mha(x)
        x = x + scale * self.dropout(self.self_attn(normed, normed, normed, positions, mask[:, None, :]))
        x = x + scale * self.dropout(self.conv_module(self.norm_conv(x), mask))
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

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool -> (B, T, D)."""
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)  # (B, D, T)
        x = self.depthwise_conv(x.masked_fill(~mask[:, None, :], 0))
        x = self.activation(self.norm(x, mask))
        return self.pointwise_conv2(x).transpose(1, 2)


def feed_forward(size: int, units: int, dropout_rate: float, activation: str) -> PositionwiseFeedForward:
    return PositionwiseFeedForward(size, units, dropout_rate, ACTIVATIONS[activation]())


def check_encoder_sizes(input_size: int, output_size: int, heads: int, num_blocks: int) -> None:
    """Raise ConfigError for sizes that no encoder of ours can have."""
    if input_size != output_size:
        raise ConfigError(
            "the encoder has no input layer of its own",
            found=f"input_size={input_size}, output_size={output_size}",
            expected="the two equal",
            fix="E2E's fusion projects the features to encoder_conf's output_size; pass that size for both.",
        )
    if heads < 1 or output_size % heads:
        raise ConfigError(
            "attention_heads that do not divide output_size",
            found=f"{heads} heads for {output_size}",
            expected="a divisor of output_size",
            fix="Auto-AVSR: 12 heads for 768; small models: 4 for 256.",
        )
    if num_blocks < 1:
        raise ConfigError("an encoder without blocks", found=f"num_blocks={num_blocks}", expected="at least 1")


def _check_interctc(layers: Sequence[int], num_blocks: int) -> None:
    if any(not 0 < layer < num_blocks for layer in layers):
        raise ConfigError(
            "bad interctc_layer_idx",
            found=list(layers),
            expected=f"layer numbers from 1 to {num_blocks - 1}",
            fix="The last layer's CTC is the model's own; leave it out.",
        )
