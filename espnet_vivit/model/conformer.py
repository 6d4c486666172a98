"""The Conformer encoder with padding masked in its convolution: same weights as ESPnet2's, same answer as alone.

In: (B, T, D) features and lengths. Out: (B, T, D) encoding, zero at padded steps, and the same lengths.

Built on ESPnet's attention, feed-forward, LayerNorm and relative positions (Gulati et al. 2020, arXiv:2005.08100), with
the parameter names of its `ConformerEncoder` (macaron, `rel_pos_type: latest`, no input layer). Different here: ESPnet
does not give the padding mask to the convolution module, so an utterance's encoding depends on its neighbours in the
batch and padding enters BatchNorm; ours zeroes padded steps before the depthwise convolution and takes the statistics
over valid steps. The activations of feed-forward and convolution are set apart, as Auto-AVSR needs (ReLU and SiLU).
With `chunk_steps` it also encodes clips that are still arriving (chunks.py, conformer_stream.py).
"""

from collections.abc import Sequence

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.espnet_compat import LayerNorm, RelPositionalEncoding, RelPositionMultiHeadedAttention
from espnet_vivit.frontend.masking import check_lengths, length_mask, zero_padding
from espnet_vivit.model.chunks import WHOLE_CLIP, Chunks, check_chunks
from espnet_vivit.model.conformer_layer import ACTIVATIONS, ConformerLayer, MaskedConvolution, feed_forward


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
        intermediate, options = [], self._layer_options(mask)
        for number, layer in enumerate(self.encoders, start=1):
            x = layer(x, positions, mask, **options)
            if number in self.interctc_layer_idx:
                output = zero_padding(self.after_norm(x), lengths)
                intermediate.append((number, output))
                if self.interctc_use_conditioning:
                    assert self.conditioning_layer is not None and ctc is not None  # ESPnetASRModel saw to it
                    x = x + self.conditioning_layer(ctc.softmax(output))
        encoding = zero_padding(self.after_norm(x), lengths)
        return (encoding, intermediate) if intermediate else encoding, lengths, None

    def _layer_options(self, mask: Tensor) -> dict:
        """What the layers of one pass are given beside the mask."""
        return {}

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
    chunk_steps: sizes of chunks in steps, 0 for the whole clip, of which training draws one for each batch; in
    evaluation it is the last one, or what `set_chunk` says. left_steps: steps before its chunk that a step sees.
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
        chunk_steps: Sequence[int] = (),
        left_steps: int | None = None,
    ):
        check_chunks(chunk_steps, left_steps)
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
        self.chunk_steps, self.left_steps = tuple(chunk_steps), left_steps
        self.chunk = self.chunk_steps[-1] if chunk_steps else WHOLE_CLIP

    def set_chunk(self, steps: int) -> None:
        """Let chunks have so many steps in evaluation, 0: the whole clip.

        Raises ConfigError for an encoder that was not trained in chunks.
        """
        if steps < WHOLE_CLIP or (steps and self.left_steps is None):
            raise ConfigError(
                "this encoder does not read clips in chunks",
                found=f"{steps} steps, of an encoder with chunk_steps={list(self.chunk_steps)}",
                fix="Train with encoder_conf: {chunk_steps: [4, 8, 16, 0], left_steps: 64}.",
            )
        self.chunk = steps

    def _layer_options(self, mask: Tensor) -> dict[str, Chunks]:
        size = self.chunk
        if self.training and self.chunk_steps:
            size = self.chunk_steps[int(torch.randint(len(self.chunk_steps), ()))]
        if size == WHOLE_CLIP:
            return {}
        assert self.left_steps is not None  # `check_chunks` saw to it
        return {"chunks": Chunks.of(mask, size, self.left_steps)}


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
