"""The hypotheses of one clip in a beam search: which run, which have ended, and whether more steps are worth while.

The rules are those of ESPnet's BatchBeamSearch (release 202511), its length bounds and end detection (equation 50 of
Watanabe et al. 2017) included, so that both searches return the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

END_STEPS = 3  # so many lengths in a row have to be hopeless before the search ends by itself …
HOPELESS = -10.0  # … that is, their best hypothesis is worse than the best of all by this


class LengthBounds(NamedTuple):
    """Numbers of tokens: no hypothesis is extended beyond `longest`, none is returned that is not beyond `shortest`.

    finds_end: stop when longer hypotheses become hopeless.
    """

    longest: int
    shortest: int
    finds_end: bool

    @classmethod
    def of_ratios(cls, steps: int, maxlenratio: float, minlenratio: float) -> "LengthBounds":
        """ESPnet's ratios are tokens per encoder step, or, if negative, numbers of tokens; 0: to be found."""
        if maxlenratio == 0:
            longest = steps
        else:
            longest = int(-maxlenratio) if maxlenratio < 0 else max(1, int(maxlenratio * steps))
        shortest = int(-minlenratio) if minlenratio < 0 else int(minlenratio * steps)
        return cls(longest, shortest, maxlenratio == 0)


class Candidate(NamedTuple):
    """The hypothesis of row `parent` with one more token; its score, and that of each scorer before weighting."""

    parent: int
    token: int
    score: float
    parts: Sequence[float]


@dataclass(frozen=True)
class EndedHypothesis:
    """tokens: without <sos> and <eos>. length: their number with <eos>, as ESPnet counts it."""

    tokens: tuple[int, ...]
    length: int
    score: float
    parts: Sequence[float]


@dataclass
class ClipHypotheses:
    """Of one clip, at first the empty one; `advance` takes what the beam holds after a step."""

    sos: int
    eos: int
    bounds: LengthBounds
    running: list[list[int]] = field(default_factory=list)
    ended: list[EndedHypothesis] = field(default_factory=list)
    done: bool = False

    def __post_init__(self):
        self.running = [[self.sos]]
        self.steps = 0
        self._best_of_length: dict[int, float] = {}

    def advance(self, beam: Sequence[Candidate]) -> list[int]:
        """Take the step's candidates, best first; returns the places of those that run on."""
        last = self.steps == self.bounds.longest - 1
        places, prefixes = [], []
        for place, candidate in enumerate(beam):
            if candidate.score == -math.inf:
                continue
            prefix = [*self.running[candidate.parent], candidate.token]
            if not last and candidate.token != self.eos:
                places.append(place)
                prefixes.append(prefix)
            elif self.steps >= self.bounds.shortest:
                self._end(prefix, candidate, last)
        self.running = prefixes
        self.done = last or not places or (self.bounds.finds_end and self._is_hopeless())
        self.steps += 1
        return [] if self.done else places

    def best(self, *, normalize_length: bool) -> list[EndedHypothesis]:
        """Those that have ended, best first."""
        if normalize_length:
            return sorted(self.ended, key=lambda found: found.score / found.length, reverse=True)
        return sorted(self.ended, key=lambda found: found.score, reverse=True)

    def _end(self, prefix: list[int], candidate: Candidate, last: bool) -> None:
        # In the last step ESPnet appends an <eos> to all hypotheses, also to those that end in one, and counts it.
        length = len(prefix) - 1 + last
        tokens = tuple(prefix[1:-1] if prefix[-1] == self.eos else prefix[1:])
        self.ended.append(EndedHypothesis(tokens, length, candidate.score, candidate.parts))
        self._best_of_length[length] = max(candidate.score, self._best_of_length.get(length, -math.inf))

    def _is_hopeless(self) -> bool:
        """Whether hypotheses of each of the last lengths have ended, all of them much worse than the best of all."""
        if not self._best_of_length:
            return False
        best = max(self._best_of_length.values())
        recent = [self._best_of_length.get(self.steps - 1 - back) for back in range(END_STEPS)]
        return all(score is not None and score - best < HOPELESS for score in recent)
