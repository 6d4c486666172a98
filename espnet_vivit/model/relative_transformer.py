"""A Transformer encoder with relative positions: the Conformer's without macaron and convolution.

In: (B, T, D) features and lengths. Out: (B, T, D) encoding, zero at padded steps, and the same lengths.

The block of RAVEn, BRAVEn and USR, with their parameter names (Haliassos et al., ICLR 2023, arXiv:2212.06246;
github.com/ahaliassos/raven, MIT): pre-normalized attention and feed-forward, each scaled by a learnt vector
(LayerScale, Touvron et al. 2021, arXiv:2103.17239). RAVEn normalizes before the feed-forward by BatchNorm, here over
valid steps alone; USR by LayerNorm.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_vivit.errors import unknown_name
from espnet_vivit.espnet_compat import LayerNorm, RelPositionMultiHeadedAttention
from espnet_vivit.frontend.masking import MaskedBatchNorm1d
from espnet_vivit.model.conformer import RelativeEncoder, check_encoder_sizes
from espnet_vivit.model.conformer_layer import feed_forward

NORMS = ("layer", "batch")
LAYER_SCALE = 0.1  # what the scales start from, as RAVEn's and USR's


class RelativeTransformer(RelativeEncoder):
    """`forward(xs_pad (B, T, D), ilens (B,)) -> (encoding (B, T, D), lengths (B,), None)`.

    It has no input layer: `input_size` must equal `output_size`. Defaults are RAVEn's base sizes. ff_norm: "layer", or
    "batch" over the valid steps, before the feed-forward. `interctc_layer_idx` and `interctc_use_conditioning` are as
    in the Conformer.
    Raises ConfigError for contradictory sizes, InputError or TooShortError for bad input.
    """

    def __init__(
        self,
        input_size: int,
        *,
        output_size: int = 512,
        attention_heads: int = 8,
        linear_units: int = 2048,
        num_blocks: int = 12,
        ff_norm: str = "layer",
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        interctc_layer_idx: Sequence[int] = (),
        interctc_use_conditioning: bool = False,
    ):
        check_encoder_sizes(input_size, output_size, attention_heads, num_blocks)
        if ff_norm not in NORMS:
            raise unknown_name("ff_norm", ff_norm, NORMS)
        layers = [
            RelativeTransformerLayer(
                output_size,
                self_attn=RelPositionMultiHeadedAttention(attention_heads, output_size, attention_dropout_rate),
                feed_forward=feed_forward(output_size, linear_units, dropout_rate, "relu"),
                batch_norm=ff_norm == "batch",
                dropout_rate=dropout_rate,
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


class RelativeTransformerLayer(nn.Module):
    """Attention, then feed-forward, each pre-normalized, scaled by a learnt vector, and residual."""

    def __init__(
        self, size: int, *, self_attn: nn.Module, feed_forward: nn.Module, batch_norm: bool, dropout_rate: float
    ):
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = feed_forward
        self.norm_mha = LayerNorm(size)
        self.norm_ff = MaskedBatchNorm1d(size) if batch_norm else LayerNorm(size)
        self.gamma_mha = nn.Parameter(torch.full((size,), LAYER_SCALE))
        self.gamma_ff = nn.Parameter(torch.full((size,), LAYER_SCALE))
        self.dropout = nn.Dropout(dropout_rate)

    def espnet_initialization_fn(self) -> None:
        """The scales, also after ESPnet has drawn all weights anew, as `init: xavier_uniform` lets it."""
        nn.init.constant_(self.gamma_mha, LAYER_SCALE)
        nn.init.constant_(self.gamma_ff, LAYER_SCALE)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), positions (1, 2T-1, D), mask (B, T) bool -> (B, T, D)."""
        normed = self.norm_mha(x)
        attended = self.self_attn(normed, normed, normed, positions, mask[:, None, :])
        x = x + self.dropout(self.gamma_mha * attended)
        if isinstance(self.norm_ff, MaskedBatchNorm1d):
            normed = self.norm_ff(x.transpose(1, 2), mask).transpose(1, 2)
        else:
            normed = self.norm_ff(x)
        return x + self.dropout(self.gamma_ff * self.feed_forward(normed))
