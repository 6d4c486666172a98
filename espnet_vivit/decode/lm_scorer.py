"""ESPnet's Transformer language model as a scorer of our beam search: of a prefix only its new token is computed."""

from typing import Any

import torch

from espnet_vivit.decode.decoder_scorer import add_position, is_position, self_attention, sublayer
from espnet_vivit.decode.prefix_tree import NodeMemory, Step
from espnet_vivit.espnet_compat import EncoderLayer, MultiHeadedAttention, TransformerLM


class LanguageModelScorer:
    """Of one search over several clips. The model takes no padding: the token 0, which it would mask, never occurs."""

    def __init__(self, model: TransformerLM):
        self.model = model
        self.nodes = [NodeMemory() for _ in model.encoder.encoders]

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether this is a language model of whose layers everything is known here."""
        return (
            type(model) is TransformerLM
            and is_position(model.encoder.embed[-1])
            and all(
                type(layer) is EncoderLayer and not layer.concat_after and type(layer.self_attn) is MultiHeadedAttention
                for layer in model.encoder.encoders
            )
        )

    def score(self, step: Step) -> torch.Tensor:
        """Log-probabilities (B, N, V) of the tokens that may follow each hypothesis."""
        encoder = self.model.encoder
        x = self.model.embed(step.tokens)
        for module in encoder.embed[:-1]:
            x = module(x)
        x = add_position(encoder.embed[-1], x, step.position)
        visible = step.visible[:, None]
        for layer, nodes in zip(encoder.encoders, self.nodes, strict=True):
            x = sublayer(layer, layer.norm1, x, self_attention(layer.self_attn, nodes, visible))
            x = sublayer(layer, layer.norm2, x, layer.feed_forward)
        if encoder.normalize_before:
            x = encoder.after_norm(x)
        return self.model.decoder(x).log_softmax(dim=-1)

    def keep_nodes(self, kept: torch.Tensor) -> None:
        for nodes in self.nodes:
            nodes.keep_nodes(kept)

    def keep_clips(self, clips: torch.Tensor) -> None:
        for nodes in self.nodes:
            nodes.keep_clips(clips)
