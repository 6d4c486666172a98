"""ESPnet's attention decoder as a scorer of our beam search: nothing is computed twice.

ESPnet's own step projects the encoder states of a clip to keys and values for every hypothesis, layer and step, and
the whole prefix for every layer and step. Here the clip is projected once per layer, and of a prefix only its new
token; the weights, and the modules that hold them, are ESPnet's. B: clips, N: hypotheses of a clip, T: encoder steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from espnet_vivit.decode.prefix_tree import NodeMemory, Step, attend, keys_and_values
from espnet_vivit.espnet_compat import DecoderLayer, MultiHeadedAttention, PositionalEncoding, TransformerDecoder


class DecoderScorer:
    """Of one search over several clips: states (B, T, D), lengths (B,)."""

    def __init__(self, decoder: TransformerDecoder, states: torch.Tensor, lengths: torch.Tensor):
        self.decoder = decoder
        self.source = [keys_and_values(layer.src_attn, states) for layer in decoder.decoders]
        self.nodes = [NodeMemory() for _ in decoder.decoders]
        self.mask = None
        if int(lengths.min()) < states.size(1):
            self.mask = (torch.arange(states.size(1), device=lengths.device) < lengths[:, None])[:, None, None]

    @staticmethod
    def takes(decoder: Any) -> bool:
        """Whether this is a decoder of whose layers everything is known here."""
        return (
            type(decoder) is TransformerDecoder
            and isinstance(decoder.embed[0], nn.Embedding)
            and is_position(decoder.embed[1])
            and all(
                type(layer) is DecoderLayer
                and layer.sequential_attn is None
                and type(layer.self_attn) is MultiHeadedAttention
                and type(layer.src_attn) is MultiHeadedAttention
                for layer in decoder.decoders
            )
        )

    def score(self, step: Step) -> torch.Tensor:
        """Log-probabilities (B, N, V) of the tokens that may follow each hypothesis."""
        embedding, position = self.decoder.embed
        x = add_position(position, embedding(step.tokens), step.position)
        visible = step.visible[:, None]
        for layer, source, nodes in zip(self.decoder.decoders, self.source, self.nodes, strict=True):
            concat = (layer.concat_linear1, layer.concat_linear2) if layer.concat_after else (None, None)
            x = sublayer(layer, layer.norm1, x, self_attention(layer.self_attn, nodes, visible), concat[0])
            x = sublayer(layer, layer.norm2, x, self._source_attention(layer.src_attn, source), concat[1])
            x = sublayer(layer, layer.norm3, x, layer.feed_forward)
        if self.decoder.normalize_before:
            x = self.decoder.after_norm(x)
        return self.decoder.output_layer(x).log_softmax(dim=-1)

    def keep_nodes(self, kept: torch.Tensor) -> None:
        for nodes in self.nodes:
            nodes.keep_nodes(kept)

    def keep_clips(self, clips: torch.Tensor) -> None:
        self.source = [(keys[clips], values[clips]) for keys, values in self.source]
        self.mask = None if self.mask is None else self.mask[clips]
        for nodes in self.nodes:
            nodes.keep_clips(clips)

    def _source_attention(self, attention: MultiHeadedAttention, source: tuple[torch.Tensor, torch.Tensor]) -> Callable:
        return lambda x: attend(attention, x, *source, self.mask)


def is_position(module: Any) -> bool:
    """Whether `add_position` knows this module of ESPnet's."""
    return type(module) is PositionalEncoding or (type(module) is nn.Sequential and len(module) == 0)


def add_position(module: Any, x: torch.Tensor, position: int) -> torch.Tensor:
    """What ESPnet's positional encoding, or the empty one, makes of x (B, N, D) at a place in the sequence, from 0."""
    if not isinstance(module, PositionalEncoding):
        return x
    module.extend_pe(x.new_zeros(1, position + 1))
    return x * module.xscale + module.pe[:, position]


def self_attention(attention: MultiHeadedAttention, nodes: NodeMemory, visible: torch.Tensor) -> Callable:
    """Self-attention of the step's new tokens x (B, N, D) to all tokens of their hypotheses."""
    return lambda x: attend(attention, x, *nodes.add(*keys_and_values(attention, x)), visible)


def sublayer(
    layer: Any, norm: nn.Module, x: torch.Tensor, function: Callable, concat: nn.Module | None = None
) -> torch.Tensor:
    """x plus what the function makes of it, normalised before or after, as ESPnet's Transformer layers have it."""
    y = norm(x) if layer.normalize_before else x
    z = function(y)
    x = x + (z if concat is None else concat(torch.cat([y, z], dim=-1)))
    return x if layer.normalize_before else norm(x)
