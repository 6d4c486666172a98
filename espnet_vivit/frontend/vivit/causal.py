"""Attention in time that looks back only, over a whole clip or over what has arrived of it so far.

Step i attends to steps i - left_context .. i, or to all before it. Through L temporal blocks a feature then depends
on the last L * left_context steps, and the state of a stream is bounded: so many rotated keys and values in each block.

A clip that arrives in pieces gives the same bits as the clip in one piece where each query is multiplied with a tensor
of keys of one shape, whatever else is computed with it: `look_back` gathers the window of each query, with zeros before
the clip's beginning. It needs a finite `left_context` (and `blocks.by_rows` for the linear layers).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from espnet_vivit.frontend.vivit.blocks import Attend
from espnet_vivit.frontend.vivit.rotary import rotate

_QUERIES_AT_ONCE = 256  # whose windows are gathered together: a bound of memory


def causal_attend(
    everywhere: Callable, rotary: torch.Tensor | None, left_context: int | None, *, exact: bool
) -> Attend:
    """Causal attention over whole clips; everywhere: `Attention.everywhere`.

    exact: the arithmetic of a stream. Training uses one masked product instead, which is faster and can drop out.
    """

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if left_context is None:
            return everywhere(q, k, v, rotary=rotary, causal=True)
        if exact and not torch.compiler.is_compiling():
            assert rotary is not None  # FamilyConfig
            past = KeysAndValues.empty(left_context, k, v)
            return look_back(rotate(q, rotary), rotate(k, rotary), v, past)
        ages = torch.arange(q.size(-2), device=q.device)
        ages = ages[:, None] - ages  # of key j, seen from query i
        return everywhere(q, k, v, rotary=rotary, mask=(ages >= 0) & (ages <= left_context))

    return attend


def remembering_attend(
    rotary: torch.Tensor, left_context: int | None, past: "KeysAndValues | None", remembered: list
) -> Attend:
    """Causal attention of the next steps of a clip; what its block is to remember is appended to `remembered`."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = rotate(q, rotary), rotate(k, rotary)
        before = past if past is not None else KeysAndValues.empty(left_context, k, v)
        remembered.append(before.with_new(k, v))
        return look_back(q, k, v, before)

    return attend


class KeysAndValues:
    """What a temporal block remembers: rotated keys and values (rows, heads, m, d) of the m steps before the next one.

    With a finite `left_context`, m is that number from the beginning, the first `absent` of them zeros that stand for
    steps before the clip; without, m grows.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, left_context: int | None, absent: int):
        self.keys, self.values, self.left_context, self.absent = keys, values, left_context, absent

    @classmethod
    def empty(cls, left_context: int | None, keys: torch.Tensor, values: torch.Tensor) -> "KeysAndValues":
        """The state before the first step; keys and values (rows, heads, n, d) say the sizes."""
        absent = left_context or 0
        no_keys, no_values = (x.new_zeros(*x.shape[:2], absent, x.size(-1)) for x in (keys, values))
        return cls(no_keys, no_values, left_context, absent)

    def with_new(self, keys: torch.Tensor, values: torch.Tensor) -> "KeysAndValues":
        """The state behind further steps."""
        keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        if self.left_context is None:
            return KeysAndValues(keys, values, None, 0)
        surplus = keys.size(2) - self.left_context
        absent = max(0, self.absent - surplus)
        return KeysAndValues(
            keys[:, :, surplus:].contiguous(), values[:, :, surplus:].contiguous(), self.left_context, absent
        )


def look_back(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, past: KeysAndValues) -> torch.Tensor:
    """Attention of new steps, rotated queries and keys (rows, heads, n, d), to `past` and to new ones before them."""
    keys, values = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
    if past.left_context is None:
        new, known = q.size(2), keys.size(2)
        visible = torch.ones(new, known, dtype=torch.bool, device=q.device).tril(known - new)
        return F.scaled_dot_product_attention(q, keys, values, visible)
    span = past.left_context + 1
    found = []
    for start in range(0, q.size(2), _QUERIES_AT_ONCE):
        some = q[:, :, start : start + _QUERIES_AT_ONCE, None]  # (rows, heads, n, 1, d)
        stop = start + some.size(2) + past.left_context
        of_each = [x[:, :, start:stop].unfold(2, span, 1) for x in (keys, values)]  # (rows, heads, n, d, span)
        scores = (some * q.size(-1) ** -0.5) @ of_each[0].contiguous()
        places = torch.arange(some.size(2), device=q.device)[:, None] + torch.arange(span, device=q.device) + start
        scores = scores.masked_fill((places < past.absent)[:, None], -torch.inf)  # (n, 1, span)
        found.append((scores.softmax(-1) @ of_each[1].transpose(-1, -2).contiguous()).squeeze(-2))
    return torch.cat(found, dim=2)
