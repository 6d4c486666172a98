"""The hypotheses of a beam search as a tree of tokens, and the keys and values that attention keeps for its nodes.

Hypotheses of one clip share most of their tokens. Each token of each hypothesis that was ever extended is a node;
its keys and values are computed once, stored once, and never move when the search reorders its hypotheses: what is
reordered is a small table that says which nodes each hypothesis consists of. B: clips, N: running hypotheses of a
clip, U: nodes of a clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from espnet_vivit.espnet_compat import MultiHeadedAttention

FIRST_LIMIT = 256  # nodes of a clip from which on those of no hypothesis are dropped


@dataclass(frozen=True)
class Step:
    """What the scorers are told at one step: the running hypotheses, all of the same length.

    prefixes: for each clip and hypothesis its token ids, <sos> first. tokens (B, N): the last one of each.
    parents (B, N): which of the previous step's hypotheses each one continues.
    visible (B, N, U): which nodes each hypothesis consists of; the last N nodes are those of `tokens`, in order.
    """

    prefixes: Sequence[Sequence[Sequence[int]]]
    tokens: torch.Tensor
    parents: torch.Tensor
    visible: torch.Tensor

    @property
    def position(self) -> int:
        """The place of the last token in its hypothesis, from 0."""
        return len(self.prefixes[0][0]) - 1


class PrefixTree:
    """`grow(parents)` adds a node to each hypothesis; `visible` (B, N, U) says which nodes each one consists of."""

    def __init__(self, clips: int, device: torch.device):
        self.visible = torch.zeros(clips, 1, 0, dtype=torch.bool, device=device)
        self.limit = FIRST_LIMIT

    def grow(self, parents: torch.Tensor) -> torch.Tensor | None:
        """Continue the hypotheses `parents` (B, N) by a node each.

        Returns None, or the nodes (B, U') that are left where those of no hypothesis have been dropped: whoever stores
        something for every node has to select these before adding the new ones.
        """
        visible = _gather(self.visible, parents, dim=1)
        clips, count, nodes = visible.shape
        kept = None
        if nodes + count > self.limit:
            kept = _nodes_in_use(visible)
            visible = _gather(visible, kept, dim=2)
            self.limit = max(self.limit, 2 * (kept.size(1) + count))
        own = torch.eye(count, dtype=torch.bool, device=visible.device).expand(clips, -1, -1)
        self.visible = torch.cat([visible, own], dim=2)
        return kept

    def keep_clips(self, clips: torch.Tensor) -> None:
        self.visible = self.visible[clips]


class NodeMemory:
    """Keys and values (B, heads, U, d) of one attention layer for the nodes of a tree, in the order of the nodes."""

    def __init__(self):
        self._stored: torch.Tensor | None = None  # (2, B, heads, room for nodes, d)
        self._nodes = 0

    def add(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add those of the step's new nodes, (B, heads, N, d) each; returns those of all nodes."""
        end = self._nodes + keys.size(2)
        if self._stored is None or end > self._stored.size(3):
            clips, heads, _, size = keys.shape
            larger = keys.new_empty(2, clips, heads, max(FIRST_LIMIT, 2 * end), size)
            if self._stored is not None:
                larger[:, :, :, : self._nodes] = self._stored[:, :, :, : self._nodes]
            self._stored = larger
        self._stored[0, :, :, self._nodes : end] = keys
        self._stored[1, :, :, self._nodes : end] = values
        self._nodes = end
        return self._stored[0, :, :, :end], self._stored[1, :, :, :end]

    def keep_nodes(self, kept: torch.Tensor) -> None:
        """Store only the nodes `kept` (B, U'), in this order."""
        assert self._stored is not None  # nodes can only be dropped after some were added
        index = kept[None, :, None, :, None].expand(2, -1, self._stored.size(2), -1, self._stored.size(4))
        self._nodes = kept.size(1)
        self._stored[:, :, :, : self._nodes] = self._stored.gather(3, index)

    def keep_clips(self, clips: torch.Tensor) -> None:
        if self._stored is not None:
            self._stored = self._stored[:, clips]


def heads_of(projected: torch.Tensor, attention: "MultiHeadedAttention") -> torch.Tensor:
    """(B, N, heads · d) -> (B, heads, N, d)."""
    return projected.unflatten(-1, (attention.h, attention.d_k)).transpose(1, 2)


def keys_and_values(attention: "MultiHeadedAttention", x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What ESPnet's MultiHeadedAttention makes of x (B, N, D): (B, heads, N, d) each."""
    keys = attention.k_norm(heads_of(attention.linear_k(x), attention))
    return keys, heads_of(attention.linear_v(x), attention)


def attend(
    attention: "MultiHeadedAttention",
    x: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """The output (B, N, D) of ESPnet's MultiHeadedAttention for queries x (B, N, D).

    keys, values: as from `keys_and_values`. mask: what may be attended to is True, broadcast to (B, heads, N, U).
    """
    queries = attention.q_norm(heads_of(attention.linear_q(x), attention))
    found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return attention.linear_out(found.transpose(1, 2).flatten(2))


def _gather(values: torch.Tensor, index: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Of values (B, N, U) those of `index` (B, n), along dimension 1 or 2."""
    index = (
        index[:, :, None].expand(-1, -1, values.size(2)) if dim == 1 else index[:, None].expand(-1, values.size(1), -1)
    )
    return values.gather(dim, index)


def _nodes_in_use(visible: torch.Tensor) -> torch.Tensor:
    """(B, N, U) -> (B, U'): the nodes of any hypothesis, in order; clips with fewer get some others behind them."""
    used = visible.any(dim=1)
    count = int(used.sum(dim=1).max())
    return used.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
