"""How sure CTC is of each token of a hypothesis: its probability against everything else that could stand in its place.

With all other tokens held, let P(k) be CTC's probability, over all alignments, of the hypothesis with token k at
position i, and P(-) that of the hypothesis without it. The confidence of y_i is P(y_i) / (sum over k of P(k) + P(-)).
It does not depend on where or how sharply the tokens fire, which the posterior of a single step does: a spike half of
which is blank may be a certain token at an uncertain time. Forward and backward variables: Graves et al., ICML 2006.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Which tokens are rivals, so that large vocabularies stay fast: 60 tokens in 500 steps of 5000 take 0.14 s on a core.
RIVAL_PROBABILITY = 1e-4  # reached at some step
MAX_RIVALS = 128  # beside the hypothesis's own tokens, those that reach most


def token_confidences(log_probs: torch.Tensor, ids: Sequence[int], *, blank: int) -> torch.Tensor:
    """(L,) float64, 0 to 1. log_probs (T', V): of the clip; ids: the L tokens of the hypothesis, none of them blank.

    A hypothesis that has no alignment gets zeros.
    """
    log_probs = log_probs.detach().double().cpu()
    count = len(ids)
    if count == 0:
        return torch.zeros(0, dtype=torch.float64)
    targets = torch.tensor(list(ids))
    rivals = _rivals(log_probs, targets, blank)  # (K,)
    before, after = _before_and_after(log_probs, targets, blank)
    edge = torch.tensor([blank])
    previous, following = torch.cat([edge, targets[:-1]]), torch.cat([targets[1:], edge])  # (L,)

    running = torch.full((count, len(rivals)), -torch.inf, dtype=torch.float64)
    total = running.clone()
    for step, scores in enumerate(log_probs[:, rivals]):
        entry = before.joined(step, rivals != previous[:, None])
        leave = after.joined(step + 1, rivals != following[:, None])
        running = torch.logaddexp(running, entry) + scores
        total = torch.logaddexp(total, running + leave)
    chosen = total[rivals == targets[:, None]]

    # Left out: from what is before straight to the next token, or, of the last token, to the end.
    steps = torch.arange(log_probs.size(0) + 1)
    straight = before.joined(steps, previous != following) + after.token
    without = torch.logsumexp(straight, dim=0)
    without[-1] = torch.logaddexp(before.blank[-1, -1], before.token[-1, -1])
    everything = torch.logaddexp(torch.logsumexp(total, dim=1), without)
    return torch.where(chosen > -torch.inf, (chosen - everything).exp(), 0.0).clamp(0, 1)


def _rivals(log_probs: torch.Tensor, targets: torch.Tensor, blank: int) -> torch.Tensor:
    """(K,) the hypothesis's tokens and all others that the model gives any weight, without the blank, sorted."""
    highest, tokens = log_probs.max(dim=0).values.index_fill(0, torch.tensor([blank]), -torch.inf).sort(descending=True)
    others = tokens[:MAX_RIVALS][highest[:MAX_RIVALS] >= math.log(RIVAL_PROBABILITY)]
    return torch.unique(torch.cat([targets, others]))


@dataclass(frozen=True)
class _Side:
    """What is on one side of each token, (T' + 1, L) log-probabilities: its blank there, or the neighbouring token."""

    blank: torch.Tensor
    token: torch.Tensor

    def joined(self, step: int | torch.Tensor, differs: torch.Tensor) -> torch.Tensor:
        """Both, but a token that does not differ from its neighbour needs the blank between; (L, K), or (T' + 1, L)."""
        blank, token = self.blank[step], self.token[step]
        if differs.ndim > blank.ndim:
            blank, token = blank[:, None], token[:, None]
        return torch.where(differs, torch.logaddexp(blank, token), blank)


def _before_and_after(log_probs: torch.Tensor, targets: torch.Tensor, blank: int) -> tuple[_Side, _Side]:
    """Row t: what the first t steps say up to token i, and what the steps from t on say after it."""
    forward = _forward(log_probs, targets, blank)
    backward = _forward(log_probs.flip(0), targets.flip(0), blank).flip(0, 1)
    nothing = torch.full((len(forward), 1), -torch.inf, dtype=forward.dtype)
    return (
        _Side(forward[:, 0:-1:2], torch.cat([nothing, forward[:, 1:-2:2]], dim=1)),
        _Side(backward[:, 2::2], torch.cat([backward[:, 3::2], nothing], dim=1)),
    )


def _forward(log_probs: torch.Tensor, targets: torch.Tensor, blank: int) -> torch.Tensor:
    """(T' + 1, 2 L + 1): log-probability that the first t steps end in state s of blank, y_1, blank, y_2, …, blank."""
    states = torch.full((2 * len(targets) + 1,), blank)
    states[1::2] = targets
    skips = torch.zeros(len(states), dtype=torch.bool)
    skips[3::2] = targets[1:] != targets[:-1]
    nothing = torch.full((2,), -torch.inf, dtype=log_probs.dtype)
    now = torch.full((len(states),), -torch.inf, dtype=log_probs.dtype)
    now[0] = 0.0  # before the first step: as if a blank had been
    rows = [now]
    for scores in log_probs[:, states]:
        padded = torch.cat([nothing, now])
        arrived = torch.logaddexp(now, padded[1:-1])
        now = torch.where(skips, torch.logaddexp(arrived, padded[:-2]), arrived) + scores
        rows.append(now)
    return torch.stack(rows)
