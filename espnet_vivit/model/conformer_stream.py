"""A Conformer over features that arrive in pieces: features in, the states of whole chunks out.

    stream = ConformerStream(encoder)        # chunks of `encoder.chunk` steps
    states = stream(features)                # (n, D) -> (m, D), m a multiple of the chunk
    states = stream.finish()                 # the last chunk, which may be shorter

The states are those that the encoder gives for the whole clip in chunks of the same size. What is remembered of each
block does not grow: keys and values of `left_steps` steps, and half a kernel of what the convolution reads.
"""

from typing import Any

import torch
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.model.chunks import WHOLE_CLIP, convolve_chunk
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.model.conformer_layer import MaskedConvolution


class ConformerStream:
    """The state of one clip. `ctc`: of an encoder with interctc_use_conditioning. `steps` counts what has been encoded.

    Raises ConfigError for an encoder without chunks, InputError for one in training.
    """

    def __init__(self, encoder: Conformer, *, ctc: CTC | None = None):
        if encoder.chunk == WHOLE_CLIP or encoder.left_steps is None:
            raise ConfigError(
                "this encoder reads whole clips, it cannot stream",
                found=f"chunk_steps={list(encoder.chunk_steps)}, of which it uses {encoder.chunk}",
                expected="a chunk of at least one step",
                fix="Call set_chunk(steps); to train it: encoder_conf: {chunk_steps: [4, 8, 16, 0], left_steps: 64}.",
            )
        if encoder.training:
            raise InputError("a stream needs an encoder in evaluation", found="training", fix="Call encoder.eval()")
        self.encoder, self.ctc, self.chunk = encoder, ctc, encoder.chunk
        self.steps, self.finished = 0, False
        size, self._dtype = encoder.output_size(), encoder.after_norm.weight.dtype
        self._waiting = encoder.after_norm.weight.new_zeros(0, size)
        distances = _positions(encoder, encoder.left_steps + self.chunk, self.chunk)
        with torch.no_grad():
            self._blocks = [_Block(layer, distances, encoder.left_steps, self.chunk) for layer in encoder.encoders]

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Features (n, D), n any number -> the states (m, D) of the chunks that are complete.

        Raises InputError for features of another shape, and after `finish`.
        """
        if self.finished:
            raise InputError(
                "the stream is finished", found="more features", fix="Make a ConformerStream for each clip"
            )
        if features.dim() != 2 or features.size(1) != self.encoder.output_size():
            expected = f"(n, {self.encoder.output_size()})"
            raise InputError("features that this stream cannot read", found=tuple(features.shape), expected=expected)
        self._waiting = torch.cat([self._waiting, features.to(self._waiting)])
        states = [self._waiting[:0]]
        while len(self._waiting) >= self.chunk:
            states.append(self._advance(self._waiting[: self.chunk]))
            self._waiting = self._waiting[self.chunk :]
        return torch.cat(states)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The states of the last steps, which are fewer than a chunk."""
        self.finished = True
        return self._advance(self._waiting) if len(self._waiting) else self._waiting

    def _advance(self, features: Tensor) -> Tensor:
        """The states of one chunk (c, D), c at most `chunk`."""
        encoder = self.encoder
        table: Any = encoder.embed[0]
        x = features[None] * table.xscale
        for number, block in enumerate(self._blocks, start=1):
            x = block(x)
            if encoder.interctc_use_conditioning and number in encoder.interctc_layer_idx:
                assert encoder.conditioning_layer is not None and self.ctc is not None
                x = x + encoder.conditioning_layer(self.ctc.softmax(encoder.after_norm(x)))
        self.steps += len(features)
        return encoder.after_norm(x)[0]


class _Block:
    """A ConformerLayer and what it remembers; `block(x (1, c, D)) -> (1, c, D)`, c at most the chunk."""

    def __init__(self, layer: Any, positions: Tensor, left_steps: int, chunk: int):
        self.layer, self.left_steps, self.chunk = layer, left_steps, chunk
        attention = layer.self_attn
        self.positions = attention.linear_pos(positions).unflatten(-1, (attention.h, attention.d_k)).transpose(0, 1)
        nothing = positions.new_zeros(1, attention.h, 0, attention.d_k)
        self.keys, self.values = nothing, nothing
        assert isinstance(layer.conv_module, MaskedConvolution)
        self.conv = layer.conv_module
        self.before = positions.new_zeros(1, positions.size(-1), self.conv.depthwise_conv.kernel_size[0] // 2)

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        x = x + 0.5 * layer.feed_forward_macaron(layer.norm_ff_macaron(x))
        x = x + self._attend(layer.norm_mha(x))
        x = x + self._convolve(layer.norm_conv(x))
        x = x + 0.5 * layer.feed_forward(layer.norm_ff(x))
        return layer.norm_final(x)

    def _attend(self, x: Tensor) -> Tensor:
        """ESPnet's attention with relative positions, of a chunk to itself and to what is remembered."""
        attention = self.layer.self_attn
        q, k, v = attention.forward_qkv(x, x, x)  # (1, heads, c, d)
        keys, values = torch.cat([self.keys, k], dim=2), torch.cat([self.values, v], dim=2)  # (1, heads, K, d)
        self.keys, self.values = keys[:, :, -self.left_steps :], values[:, :, -self.left_steps :]
        count, known = q.size(2), keys.size(2)
        # Query i and key j are known - count + i - j steps apart; the table's first row is the farthest distance.
        farthest = self.left_steps + self.chunk - 1
        query, key = torch.arange(count, device=x.device), torch.arange(known, device=x.device)
        rows = farthest - (known - count + query[:, None] - key)  # (c, K)
        by_position = (q + attention.pos_bias_v[:, None]) @ self.positions.transpose(-2, -1)  # (1, heads, c, rows)
        by_position = by_position.gather(3, rows.expand(1, attention.h, -1, -1))
        by_content = (q + attention.pos_bias_u[:, None]) @ keys.transpose(-2, -1)
        weights = ((by_content + by_position) / attention.d_k**0.5).softmax(dim=-1)
        return attention.linear_out((weights @ values).transpose(1, 2).flatten(2))

    def _convolve(self, x: Tensor) -> Tensor:
        seen = torch.cat([self.before, self.conv.gate(x)], dim=2)
        half = self.before.size(2)
        self.before = seen[:, :, seen.size(2) - half :]
        return self.conv.close(convolve_chunk(self.conv.depthwise_conv, seen), None)


def _positions(encoder: Conformer, known: int, chunk: int) -> Tensor:
    """ESPnet's relative positions, from known - 1 steps back to chunk - 1 steps ahead: (known + chunk - 1, D)."""
    table: Any = encoder.embed[0]
    table.extend_pe(encoder.after_norm.weight.new_zeros(1, known))
    middle = table.pe.size(1) // 2
    return table.pe[0, middle - known + 1 : middle + chunk]
