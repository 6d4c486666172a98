"""The Transformer decoder of fairseq's published models, as one of ESPnet2's: `decoder: fairseq`.

In: encoder states and tokens, the interface of ESPnet2's `TransformerDecoder`, whose attention and caches it uses.
Different here, as in fairseq (and in transformers' Speech2TextDecoder): sinusoids whose first half are sines and whose
second half are cosines, counted from 2; embeddings that are not scaled; LayerNorms with an epsilon of 1e-5; an output
layer without bias. AV-HuBERT's and MuAViC's fine-tuned models end in it.
"""

import math

import torch
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from torch import Tensor, nn

FIRST_POSITION = 2  # fairseq counts from its padding index, 1, plus one
_EPSILON = 1e-5


class FairseqPositions(nn.Module):
    """`forward(x (B, L, D)) -> (B, L, D)`: fairseq's sinusoids are added."""

    def __init__(self, size: int, dropout_rate: float):
        super().__init__()
        self.size = size
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        half = self.size // 2
        steps = torch.arange(FIRST_POSITION, FIRST_POSITION + x.size(1), device=x.device, dtype=torch.float32)
        rates = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / (half - 1)))
        angles = steps[:, None] * rates  # (L, D / 2)
        return self.dropout(x + torch.cat([angles.sin(), angles.cos()], dim=1).to(x.dtype))


class FairseqDecoder(TransformerDecoder):
    """ESPnet2's `TransformerDecoder` with fairseq's positions and norms.

    Defaults are the sizes that ESPnet2's has.
    """

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        self_attention_dropout_rate: float = 0.0,
        src_attention_dropout_rate: float = 0.0,
    ):
        super().__init__(
            vocab_size,
            encoder_output_size,
            attention_heads=attention_heads,
            linear_units=linear_units,
            num_blocks=num_blocks,
            dropout_rate=dropout_rate,
            positional_dropout_rate=positional_dropout_rate,
            self_attention_dropout_rate=self_attention_dropout_rate,
            src_attention_dropout_rate=src_attention_dropout_rate,
            pos_enc_class=FairseqPositions,  # pyright: ignore[reportArgumentType]  any module of these two arguments
        )
        self.output_layer = nn.Linear(encoder_output_size, vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = _EPSILON
