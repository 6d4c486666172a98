"""AV-HuBERT's Transformer as an encoder of ours: `encoder: avhubert`.

In: (B, T, D) fused features and lengths. Out: (B, T, D) states, zero at padded steps, and the same lengths. The whole
model is `vision_encoder: avhubert_video`, `audio_encoder: filterbanks`, `fusion: normalized_concat` and this.
"""

from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.avhubert import AvHubertTransformer
from espnet_vivit.frontend.masking import check_lengths


class AvHubertEncoder(AbsEncoder):
    """`forward(xs_pad (B, T, D), ilens (B,)) -> (states (B, T, D), lengths (B,), None)`.

    input_size must equal output_size; the others are those of `AvHubertTransformer`. layer_dropout_rate: how often
    training skips a block. Raises ConfigError, InputError or TooShortError.
    """

    interctc_use_conditioning = False  # ESPnetASRModel asks

    def __init__(
        self,
        input_size: int,
        *,
        output_size: int = 768,
        attention_heads: int = 12,
        linear_units: int = 3072,
        num_blocks: int = 12,
        dropout_rate: float = 0.1,
        layer_dropout_rate: float = 0.0,
    ):
        super().__init__()
        if input_size != output_size:
            found = f"input_size={input_size}, output_size={output_size}"
            raise ConfigError("AV-HuBERT's encoder has no input layer of its own", found=found, expected="equal sizes")
        self._output_size = output_size
        self.transformer = AvHubertTransformer(
            output_size=output_size,
            attention_heads=attention_heads,
            linear_units=linear_units,
            num_blocks=num_blocks,
            dropout_rate=dropout_rate,
            layer_dropout_rate=layer_dropout_rate,
        )

    def output_size(self) -> int:
        return self._output_size

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None, ctc: CTC | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """`prev_states` and `ctc` are part of ESPnet's interface and unused."""
        if xs_pad.dim() != 3 or xs_pad.size(2) != self._output_size:
            expected = f"(B, T, {self._output_size})"
            raise InputError("features that AV-HuBERT cannot read", found=tuple(xs_pad.shape), expected=expected)
        lengths = check_lengths(ilens, batch=len(xs_pad), size=xs_pad.size(1), kind="features", unit="steps")
        lengths = lengths.to(xs_pad.device)
        return self.transformer(xs_pad, lengths), lengths, None
