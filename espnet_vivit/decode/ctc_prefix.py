"""CTC scores of the tokens that may continue a prefix: all hypotheses of several clips at once.

The score of a prefix is the logarithm of the probability that the label sequence begins so; of a prefix with <eos>,
that it is exactly so (algorithm 2 of Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech
Recognition", 2017). Two things make it cheap: the probability of prefix + token follows from the forward
variables of the prefix alone, so that those of a new prefix are computed when it enters the beam and not for every
candidate; and their recursion over time, linear in probabilities, is a cumulative sum.
B: clips, N: hypotheses of a clip, T: encoder steps, V: tokens, S: candidates.
"""

from typing import Any

import torch

from espnet_vivit.decode.prefix_tree import Step

FLOOR = -1e10  # log-probability of what cannot be: finite, so that sums over time are numbers


class CtcPrefixes:
    """Of one search over several clips; computes in float64, as sums over a clip's steps are long.

    ctc: ESPnet's CTC module. states (B, T, D), lengths (B,): of the encoder.
    """

    def __init__(self, ctc: Any, states: torch.Tensor, lengths: torch.Tensor, *, blank: int, eos: int):
        self.blank, self.eos = blank, eos
        self.dtype, self.device = states.dtype, states.device
        log_probs = ctc.log_softmax(states)
        if states.device.type == "mps":  # which has no float64
            log_probs, lengths = log_probs.cpu(), lengths.cpu()
        log_probs = log_probs.double().clamp(min=FLOOR)  # (B, T, V)
        padding = torch.arange(states.size(1), device=lengths.device) >= lengths[:, None]  # (B, T): nothing but blank
        log_probs = log_probs.masked_fill(padding[:, :, None], FLOOR)
        log_probs[:, :, blank] = log_probs[:, :, blank].masked_fill(padding, 0.0)
        self.log_probs = log_probs.transpose(1, 2).contiguous()  # (B, V, T)
        self.highest = self.log_probs.amax(dim=2)  # (B, V)
        self.probs = (self.log_probs - self.highest[:, :, None]).exp()
        blanks = self.log_probs[:, blank][:, None]  # (B, 1, T)
        self.ends_in_blank = blanks.cumsum(dim=2)  # (B, N, T): log-probability of a path up to t that says the prefix
        self.ends_in_token = torch.full_like(blanks, -torch.inf)  # … and whose last label is a token
        self.score = torch.zeros_like(blanks[..., 0])  # (B, N): of the prefix
        self.last: torch.Tensor | None = None  # (B, N): the prefixes' last tokens; None: there are none yet

    def score_next(self, step: Step, candidates: torch.Tensor | None) -> torch.Tensor:
        """What each candidate adds to the score of its prefix: (B, N, S), -inf for the blank.

        candidates (B, N, S): token ids; None: all V tokens.
        """
        if step.position:
            self._extend(step.parents.to(self.probs.device), step.tokens.to(self.probs.device))
        if candidates is None:
            every = torch.arange(self.probs.size(1), device=self.probs.device)
            ids = every.expand(*self.score.shape, -1)
        else:
            ids = candidates.to(self.probs.device)
        total = torch.logaddexp(self.ends_in_token, self.ends_in_blank)
        scores = self._begun_with(self._before(total), None if candidates is None else ids)
        if self.last is not None:  # a token after itself needs a blank in between
            again = self._before(self.ends_in_blank) + self._rows(self.log_probs, self.last[..., None])[:, :, 0]
            repeated = torch.logsumexp(again, dim=2, keepdim=True)
            scores = torch.where(ids == self.last[..., None], repeated, scores)
        scores = torch.where(ids == self.eos, total[..., -1:], scores)
        impossible = (ids == self.blank) | (scores < FLOOR / 2)
        scores = (scores - self.score[..., None]).masked_fill(impossible, -torch.inf)
        return scores.to(self.device, self.dtype)

    def keep_clips(self, clips: torch.Tensor) -> None:
        """Go on with the clips of these rows only."""
        clips = clips.to(self.probs.device)
        for name in ("log_probs", "highest", "probs", "ends_in_blank", "ends_in_token", "score", "last"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else value[clips])

    def _extend(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Go on with the prefixes of rows `parents` (B, N), each extended by its token."""
        rows = parents[..., None].expand(-1, -1, self.probs.size(2))
        blank, token = self.ends_in_blank.gather(1, rows), self.ends_in_token.gather(1, rows)
        total = torch.logaddexp(token, blank)
        if self.last is not None:
            total = torch.where((self.last.gather(1, parents) == tokens)[..., None], blank, total)
        before = self._before(total)
        self.last = tokens
        said = self._rows(self.log_probs, tokens[..., None])[:, :, 0]  # (B, N, T)
        self.score = torch.logsumexp(before + said, dim=2)
        self.ends_in_token = _recursion(before, said)
        silent = self.log_probs[:, self.blank][:, None].expand_as(said)
        self.ends_in_blank = _recursion(_shift(self.ends_in_token, -torch.inf), silent)

    def _before(self, paths: torch.Tensor) -> torch.Tensor:
        """(B, N, T): the same one step earlier; before the first step, only the empty prefix has been said."""
        return _shift(paths, 0.0 if self.last is None else -torch.inf)

    def _begun_with(self, before: torch.Tensor, ids: torch.Tensor | None) -> torch.Tensor:
        """log Σ_t exp(before_t) P_t(token), (B, N, S): as a product, scaled by the highest factor of either."""
        peak = before.amax(dim=2, keepdim=True).clamp(min=-torch.finfo(before.dtype).max)
        weights = (before - peak).exp()
        if ids is None:
            sums, highest = weights @ self.probs.transpose(1, 2), self.highest[:, None]
        else:
            chosen = self._rows(self.probs, ids)  # (B, N, S, T)
            sums = (chosen @ weights[..., None])[..., 0]
            highest = self.highest[:, None].expand(-1, ids.size(1), -1).gather(2, ids)
        return sums.log() + peak + highest

    def _rows(self, values: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Of values (B, V, T) the rows of ids (B, N, S): (B, N, S, T)."""
        clips = torch.arange(ids.size(0), device=ids.device)[:, None, None]
        return values[clips, ids]


def _shift(values: torch.Tensor, first: float) -> torch.Tensor:
    return torch.cat([torch.full_like(values[..., :1], first), values[..., :-1]], dim=-1)


def _recursion(entering: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """r_t = logaddexp(r_{t-1}, entering_t) + log_probs_t for all t at once: divided by the product of all probabilities
    up to t, it is a cumulative sum."""
    products = log_probs.cumsum(dim=-1)
    return products + torch.logcumsumexp(entering - _shift(products, 0.0), dim=-1)
