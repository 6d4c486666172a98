"""CTC prefix beam search that goes on as steps arrive: log-probabilities in, the best label sequences so far out.

A label sequence (prefix) keeps the probability of all alignments of the steps so far that say it and end in blank, and
of those that end in its last label (Hannun et al. 2014, arXiv:1408.2873; WeNet's U2 carries it on chunk by chunk).
Every later sequence extends one that is in the beam, so what all of them begin with can never change again.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SETTLED = 0.9  # of the probability: what so much of the beam begins with is settled, and the rest is dropped


class Prefix(NamedTuple):
    """A label sequence and the log-probability that the steps so far say it."""

    ids: tuple[int, ...]
    score: float


class PrefixSearch:
    """One sentence. blank: id of CTC's blank; never: ids that are no labels, such as <sos/eos>.

    settled_share: prefixes that together are so probable settle what they all begin with; 1: all of the beam.
    """

    def __init__(self, *, blank: int, beam_size: int, never: Sequence[int] = (), settled_share: float = SETTLED):
        self.blank, self.beam_size, self.never = blank, beam_size, (blank, *never)
        self.settled_share = settled_share
        self.settled: tuple[int, ...] = ()  # what every prefix begins with: later steps cannot change it
        self.steps = self.silent_steps = 0  # in all; at the end, those of which blank is the most probable label
        self._beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}  # ending in blank, in a label

    def push(self, log_probs: Tensor) -> None:
        """Go on with log_probs (n, V) of the next steps."""
        labels = log_probs.index_fill(1, torch.tensor(self.never, device=log_probs.device), -torch.inf)
        count = min(self.beam_size, labels.size(1) - len(set(self.never)))
        best = labels.topk(count, dim=1)
        silent = log_probs.argmax(dim=1) == self.blank
        rows = zip(log_probs.tolist(), best.indices.tolist(), silent.tolist(), strict=True)
        for scores, candidates, is_silent in rows:
            self._step(scores, candidates)
            self._settle()
            self.steps += 1
            self.silent_steps = self.silent_steps + 1 if is_silent else 0

    @property
    def best(self) -> Prefix:
        return self.prefixes()[0]

    def prefixes(self) -> list[Prefix]:
        """The beam, best first."""
        found = [Prefix(ids, _add(*scores)) for ids, scores in self._beam.items()]
        return sorted(found, key=lambda prefix: prefix.score, reverse=True)

    def _settle(self) -> None:
        """Keep to what the most probable prefixes, `settled_share` of the beam together, begin with."""
        prefixes, likely, share = self.prefixes(), [], 0.0
        total = math.fsum(math.exp(prefix.score - prefixes[0].score) for prefix in prefixes)
        for prefix in prefixes:
            likely.append(prefix.ids)
            share += math.exp(prefix.score - prefixes[0].score) / total
            if self.settled_share < 1 and share >= self.settled_share:
                break
        first, last = min(likely), max(likely)  # in lexical order: the two that differ first
        differ = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
        self.settled = first[: next(differ, len(first))]
        self._beam = {ids: scores for ids, scores in self._beam.items() if ids[: len(self.settled)] == self.settled}

    def _step(self, scores: Sequence[float], candidates: Sequence[int]) -> None:
        in_blank: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
        in_label: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
        for ids, (blank, label) in self._beam.items():
            total = _add(blank, label)
            last = ids[-1] if ids else None
            in_blank[ids] = _add(in_blank[ids], total + scores[self.blank])
            if last is not None:
                in_label[ids] = _add(in_label[ids], label + scores[last])
            for token in candidates:
                longer = (*ids, token)  # a label after itself needs a blank in between
                before = blank if token == last else total
                in_label[longer] = _add(in_label[longer], before + scores[token])
        totals = {ids: _add(in_blank[ids], in_label[ids]) for ids in {**in_blank, **in_label}}
        kept = sorted(totals, key=lambda ids: totals[ids], reverse=True)[: self.beam_size]
        self._beam = {ids: (in_blank[ids], in_label[ids]) for ids in kept}


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
