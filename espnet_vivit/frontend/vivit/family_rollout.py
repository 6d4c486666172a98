"""Attention rollout of factorised and causal ViViTs: a clip's steps in, the share of each place in each step out.

The rule is that of `attention_rollout`: the attention of each layer, averaged over its heads and mixed half and half
with the identity, multiplied through all layers. Here a layer's matrix over all tokens of a clip is block-diagonal: it
connects the places of one step, or the steps of one place. So the rows of the product are carried from the last layer
to the first, and no matrix over all tokens is ever made. The weights of a layer are read off by giving its attention
values that name their own token, which holds for windows, masks, rotary positions and causal context alike.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from espnet_vivit.frontend.vivit.blocks import Attend, Attention
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.factorised_self_attention import FactorisedSelfAttention
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.step_layout import StepLayout


@dataclass(frozen=True)
class Weights:
    """What an attention has looked at, averaged over heads; None where it does not look that way.

    space: (n, N, N), from each token of a step to the tokens of the same step. time: (n, N, n), from each token of a
    step to the same token of the other steps.
    """

    space: torch.Tensor | None
    time: torch.Tensor | None

    def carry(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (t, n, N) of a product times (this matrix + identity) / 2."""
        found = torch.zeros_like(rows)
        ways = (self.space is not None) + (self.time is not None)
        if self.space is not None:
            found = found + torch.einsum("tsq,sqk->tsk", rows, self.space) / ways
        if self.time is not None:
            found = found + torch.einsum("tqp,qpk->tkp", rows, self.time) / ways
        return (rows + found) / 2


def family_maps(tower: FamilyTower, steps: torch.Tensor, pixel_affine: tuple[float, float]) -> torch.Tensor:
    """Steps (n, C, frames, H, W) of one clip, or of one window, -> maps (n, h * w) float32, sums at most 1."""
    layout = StepLayout.of_equal(1, len(steps), device=steps.device)
    with recording(tower) as seen:
        tower(steps, pixel_affine, layout)
    places = tower.config.grid[0] * tower.config.grid[1]
    share = pooled_share(tower, places)
    if not isinstance(tower, FactorisedEncoder):
        rows = torch.eye(len(steps), device=steps.device)[..., None] * share
        return _carried(rows, seen).sum(1)
    in_space, in_time = seen[: len(tower.layers)], seen[len(tower.layers) :]
    if tower.config.temporal_tokens == "places":
        rows = _carried(torch.eye(len(steps), device=steps.device)[..., None] * share, in_time)
        rows = F.pad(rows, (len_before(tower), 0))
    else:
        rows = _through_time(in_time, len(steps))[..., None] * share
    return _carried(rows, in_space)[..., len_before(tower) :].sum(1)


def len_before(tower: FactorisedEncoder) -> int:
    """Tokens of a step before its places: CLS and registers."""
    return int(tower.config.cls_token) + tower.config.registers


def pooled_share(tower: FamilyTower, places: int) -> torch.Tensor:
    """(N,): how much of a step's vector comes from each of its tokens; of the maximum, as of the mean, equal shares."""
    config, before = tower.config, len_before(tower) if isinstance(tower, FactorisedEncoder) else 0
    share = torch.full((places,), 1 / places, device=tower.device)
    if config.pooling == "gaussian":
        share = tower.pooling.gaussian.masks().mean(0).flatten()
    if before and config.temporal_tokens == "steps":
        share = F.pad(share, (before, 0))
        if config.pooling == "cls":
            share = torch.zeros_like(share).index_fill(0, torch.tensor([0], device=share.device), 1.0)
    return share


def _through_time(seen: list[Weights], count: int) -> torch.Tensor:
    """(n, n): the share of each step in each step of the temporal stage; a CLS token in time keeps its own share."""
    assert seen[0].space is not None  # over the one row that holds the clip's steps
    tokens = seen[0].space.size(-1)
    rows = torch.eye(tokens, device=seen[0].space.device)[tokens - count :, None]  # (n, 1, n or n + 1)
    return _carried(rows, seen)[:, 0, tokens - count :]


def _carried(rows: torch.Tensor, seen: list[Weights]) -> torch.Tensor:
    for weights in reversed(seen):
        rows = weights.carry(rows)
    return rows


@contextlib.contextmanager
def recording(tower: FamilyTower) -> Iterator[list[Weights]]:
    """Inside the block each attention of the tower, in evaluation, appends what it looks at, in the order of calls."""
    seen: list[Weights] = []
    readers = {"space": _over_row, "tracks": _over_tracks, "time": _over_time, "halves": _over_both}
    attentions = [(name, part) for name, part in tower.named_modules() if isinstance(part, Attention)]
    hooks = []
    for name, attention in attentions:
        of_kind = readers[_kind(tower, name)]

        def look(part: Any, given: tuple, read: Callable = of_kind) -> None:
            seen.append(_weights(read, part, *given))

        hooks.append(attention.register_forward_pre_hook(look))
    training = tower.training
    tower.eval()
    try:
        yield seen
    finally:
        tower.train(training)
        for hook in hooks:
            hook.remove()


def _kind(tower: FamilyTower, name: str) -> str:
    """How the attention of that name sees the tokens; the pooled steps of a factorised encoder are one row."""
    if isinstance(tower, FactorisedEncoder):
        return "tracks" if name.startswith("temporal.") and tower.config.temporal_tokens == "places" else "space"
    if isinstance(tower, FactorisedSelfAttention):
        return "time" if name.endswith("time_attention") else "space"
    return "halves"


def _weights(read: Callable, attention: Attention, x: torch.Tensor, attend: Attend | None = None) -> Weights:
    q, k, _ = attention.project(x)
    return read(attend or attention.everywhere, q, k)


def _over_row(attend: Attend, q: torch.Tensor, k: torch.Tensor) -> Weights:
    names = torch.eye(q.size(2), dtype=q.dtype, device=q.device)
    return Weights(attend(q, k, names.expand(*q.shape[:2], -1, -1)).float().mean(1), None)


def _over_tracks(attend: Attend, q: torch.Tensor, k: torch.Tensor) -> Weights:
    over_row = _over_row(attend, q, k).space  # (places, n, n)
    assert over_row is not None
    return Weights(None, over_row.transpose(0, 1))


def _over_time(attend: Attend, q: torch.Tensor, k: torch.Tensor) -> Weights:
    names = torch.eye(q.size(0), dtype=q.dtype, device=q.device)[:, None, None]
    return Weights(None, attend(q, k, names.expand(-1, *q.shape[1:3], -1)).float().mean(1))


def _over_both(attend: Attend, q: torch.Tensor, k: torch.Tensor) -> Weights:
    """The first half of the heads looks at other steps, the second at other places."""
    steps, heads, places, _ = q.shape
    names = q.new_zeros(steps, heads, places, max(steps, places))
    in_time, in_space = names.chunk(2, dim=1)
    in_time[..., :steps] = torch.eye(steps, dtype=q.dtype, device=q.device)[:, None, None]
    in_space[..., :places] = torch.eye(places, dtype=q.dtype, device=q.device)
    time, space = (half.float().mean(1) for half in attend(q, k, names).chunk(2, dim=1))
    return Weights(space[..., :places], time[..., :steps])
