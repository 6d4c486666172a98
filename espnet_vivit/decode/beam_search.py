"""The beam search: encoder states of one or several clips in, their best hypotheses out.

The same hypotheses and scores as ESPnet's BatchBeamSearch, which recomputes much at every step; here all hypotheses of
all clips are scored together, the clip is projected once (decoder_scorer.py), what hypotheses share is stored once
(prefix_tree.py), and CTC is asked for the hypotheses alone (ctc_prefix.py). Nothing of a clip stays behind: a search
keeps what it needs in an object of its own, so that threads may share a BeamSearch.
B: clips, N: running hypotheses of a clip, V: tokens, S: candidates for each hypothesis, K: beam size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from espnet_vivit.decode.ctc_prefix import CtcPrefixes
from espnet_vivit.decode.decoder_scorer import DecoderScorer
from espnet_vivit.decode.espnet_scorer import EspnetScorer
from espnet_vivit.decode.hypotheses import Candidate, ClipHypotheses, LengthBounds
from espnet_vivit.decode.lm_scorer import LanguageModelScorer
from espnet_vivit.decode.prefix_tree import PrefixTree, Step
from espnet_vivit.espnet_compat import BatchScorerInterface, Hypothesis

CTC = "ctc"
PRE_BEAM_RATIO = 1.5  # CTC scores so many candidates of each hypothesis for each place in the beam, as in ESPnet
SHORTER = 0.1  # by which minlenratio is lowered where no hypothesis has ended, as in ESPnet


class BeamSearch(nn.Module):
    """`BeamSearch(…)(states, lengths) -> [hypotheses of each clip, best first]`.

    Args:
        scorers: name -> ESPnet's decoder, a language model, or any BatchScorerInterface; "ctc": ESPnet's CTC module.
        weights: name -> weight of its scores; what has none, or 0, takes no part.
        beam_size: hypotheses that are kept at each step.
        vocabulary: number of tokens V. sos, eos: ids of what begins and ends a sentence.
        blank: the id of CTC's blank, which is no token: no hypothesis has it.
        normalize_length: rank by score per token.
    """

    def __init__(
        self,
        scorers: Mapping[str, nn.Module | BatchScorerInterface | None],
        weights: Mapping[str, float],
        *,
        beam_size: int,
        vocabulary: int,
        sos: int,
        eos: int,
        blank: int = 0,
        normalize_length: bool = False,
    ):
        super().__init__()
        self.beam_size, self.vocabulary = beam_size, vocabulary
        self.sos, self.eos, self.blank = sos, eos, blank
        self.normalize_length = normalize_length
        self.pre_beam_size = int(PRE_BEAM_RATIO * beam_size)
        self.weights = dict(weights)
        self.scorers: dict[str, nn.Module | BatchScorerInterface] = {}
        self.moved = nn.ModuleDict()  # those of the scorers that `.to(device)` moves
        for name, scorer in scorers.items():
            if scorer is not None and self.weights.get(name, 0.0) != 0:
                self.add(name, scorer, weight=self.weights[name])

    def add(self, name: str, scorer: nn.Module | BatchScorerInterface, *, weight: float) -> None:
        """Add a scorer, as in the constructor."""
        self.scorers[name], self.weights[name] = scorer, weight
        if isinstance(scorer, nn.Module):
            self.moved[name] = scorer

    @torch.no_grad()
    def forward(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        *,
        ratios: Sequence[tuple[float, float]] | None = None,
    ) -> list[list[Hypothesis]]:
        """For each clip its hypotheses that have ended, best first; none where none did.

        states (B, T, D), lengths (B,): of the encoder. ratios: ESPnet's maxlenratio and minlenratio of each clip, in
        tokens per encoder step; left out: (0, 0). A yseq begins with <sos> and ends with one <eos>.
        """
        ratios = ratios or [(0.0, 0.0)] * len(states)
        bounds = [LengthBounds.of_ratios(n, *ratio) for n, ratio in zip(lengths.tolist(), ratios, strict=True)]
        found = _Search(self, states, lengths, bounds).run()
        again = [row for row, clip in enumerate(found) if not clip and ratios[row][1] >= SHORTER]
        if again:
            rows = torch.tensor(again, device=states.device)
            lower = [(ratios[row][0], max(0.0, ratios[row][1] - SHORTER)) for row in again]
            retried = self(states[rows], lengths[rows.to(lengths.device)], ratios=lower)
            for row, clip in zip(again, retried, strict=True):
                found[row] = clip
        return found


@dataclass
class _Beam:
    """Hypotheses (B, N): of which row of the step before, their last tokens, scores, and scores by scorer (M, B, N).

    A score of -inf: no hypothesis, the place is only filled.
    """

    parents: torch.Tensor
    tokens: torch.Tensor
    scores: torch.Tensor
    parts: torch.Tensor

    def candidates(self) -> list[list[Candidate]]:
        """The same on the CPU, of each clip."""
        ids = torch.stack([self.parents, self.tokens], dim=2).tolist()
        scores = torch.cat([self.scores[None], self.parts]).permute(1, 2, 0).tolist()
        return [
            [Candidate(parent, token, score, parts) for (parent, token), (score, *parts) in zip(*clip, strict=True)]
            for clip in zip(ids, scores, strict=True)
        ]

    def selected(self, rows: Sequence[int], places: Sequence[Sequence[int]]) -> "_Beam":
        """Of each clip of `rows` the hypotheses at its `places`, in as many columns as the longest list."""
        count = max(map(len, places))
        filled = [[*some, *[some[0]] * (count - len(some))] for some in places]
        device = self.scores.device
        row, place = torch.tensor(rows, device=device)[:, None], torch.tensor(filled, device=device)
        scores = self.scores[row, place]
        if any(len(some) < count for some in places):
            numbers = torch.tensor([len(some) for some in places], device=device)
            scores = scores.masked_fill(torch.arange(count, device=device) >= numbers[:, None], -torch.inf)
        return _Beam(self.parents[row, place], self.tokens[row, place], scores, self.parts[:, row, place])


class _Search:
    """One search over several clips, with all that it remembers. Clips that are done leave its tensors."""

    def __init__(self, search: BeamSearch, states: torch.Tensor, lengths: torch.Tensor, bounds: Sequence[LengthBounds]):
        self.search = search
        lengths = lengths.to(states.device)
        self.ctc: CtcPrefixes | None = None
        self.full: dict[str, DecoderScorer | LanguageModelScorer | EspnetScorer] = {}
        for name, scorer in search.scorers.items():
            if name == CTC:
                self.ctc = CtcPrefixes(scorer, states, lengths, blank=search.blank, eos=search.eos)
            elif DecoderScorer.takes(scorer):
                self.full[name] = DecoderScorer(scorer, states, lengths)
            elif LanguageModelScorer.takes(scorer):
                self.full[name] = LanguageModelScorer(scorer)
            else:
                self.full[name] = EspnetScorer(scorer, states, lengths)
        self.names = (*self.full, *([CTC] if self.ctc is not None else []))
        self.tree = PrefixTree(len(states), states.device)
        self.clips = [ClipHypotheses(search.sos, search.eos, bound) for bound in bounds]
        self.at_work = [row for row, bound in enumerate(bounds) if bound.longest > 0]  # the clips that rows stand for
        scores = states.new_zeros(len(states), 1)
        ids = torch.zeros_like(scores, dtype=torch.long)
        self.beam = _Beam(ids, torch.full_like(ids, search.sos), scores, scores.new_zeros(len(self.names), *ids.shape))

    def run(self) -> list[list[Hypothesis]]:
        """The hypotheses of each clip that have ended, best first."""
        if len(self.at_work) < len(self.clips):
            self._go_on(self.at_work, [[0]] * len(self.at_work))
        while self.at_work:
            self.beam = self._best(self._step())
            candidates = self.beam.candidates()
            places = [self.clips[clip].advance(found) for clip, found in zip(self.at_work, candidates, strict=True)]
            rows = [row for row, chosen in enumerate(places) if chosen]
            self.at_work = [self.at_work[row] for row in rows]
            self._go_on(rows, [places[row] for row in rows])
        return [self._results(clip) for clip in self.clips]

    def _step(self) -> Step:
        """What the scorers are told about the hypotheses."""
        kept = self.tree.grow(self.beam.parents)
        if kept is not None:
            for scorer in self.full.values():
                scorer.keep_nodes(kept)
        running = [self.clips[clip].running for clip in self.at_work]
        count = self.beam.tokens.size(1)
        prefixes = [[*some, *[some[0]] * (count - len(some))] for some in running]
        return Step(prefixes, self.beam.tokens, self.beam.parents, self.tree.visible)

    def _best(self, step: Step) -> _Beam:
        """The K best of all that the hypotheses may be continued with, (B, K)."""
        search, before = self.search, self.beam
        full = {name: scorer.score(step) for name, scorer in self.full.items()}  # (B, N, V) each
        total = before.scores.new_zeros(*before.scores.shape, search.vocabulary)
        for name, scores in full.items():
            total += search.weights[name] * scores
        total[..., search.blank] = -torch.inf
        ids = prefix_scores = None
        if self.ctc is not None:
            ids = self._candidates(total)
            total = total if ids is None else _without_second_end(total.gather(2, ids), ids, search.eos)
            prefix_scores = self.ctc.score_next(step, ids)
            total += search.weights[CTC] * prefix_scores
        total += before.scores[..., None]
        scores, places = total.flatten(1).topk(min(search.beam_size, total.size(1) * total.size(2)))
        parents = places // total.size(2)
        tokens = places % total.size(2) if ids is None else ids.flatten(1).gather(1, places)
        numbers = parents * search.vocabulary + tokens
        gains = [scores.flatten(1).gather(1, numbers) for scores in full.values()]
        if prefix_scores is not None:
            gains.append(prefix_scores.flatten(1).gather(1, places))
        parts = [part.gather(1, parents) + gain for part, gain in zip(before.parts, gains, strict=True)]
        return _Beam(parents, tokens, scores, torch.stack(parts))

    def _candidates(self, total: torch.Tensor) -> torch.Tensor | None:
        """The tokens (B, N, S) of each hypothesis that CTC is asked for: the best so far, and the end; None: all V."""
        search = self.search
        if not self.full or search.weights[CTC] == 1 or search.pre_beam_size >= search.vocabulary:
            return None
        best = total.topk(search.pre_beam_size, dim=2).indices
        return torch.cat([best, torch.full_like(best[..., :1], search.eos)], dim=2)

    def _go_on(self, rows: Sequence[int], places: Sequence[Sequence[int]]) -> None:
        """Go on with the hypotheses at these places of the beam, of the clips of these rows."""
        if not rows:
            return
        if len(rows) < len(self.beam.scores):
            kept = torch.tensor(rows, device=self.beam.scores.device)
            self.tree.keep_clips(kept)
            for scorer in (*self.full.values(), *([self.ctc] if self.ctc is not None else [])):
                scorer.keep_clips(kept)
        self.beam = self.beam.selected(rows, places)

    def _results(self, clip: ClipHypotheses) -> list[Hypothesis]:
        return [
            Hypothesis(
                yseq=torch.tensor([self.search.sos, *found.tokens, self.search.eos], device=self.beam.scores.device),
                score=found.score,
                scores=dict(zip(self.names, found.parts, strict=True)),
            )
            for found in clip.best(normalize_length=self.search.normalize_length)
        ]


def _without_second_end(total: torch.Tensor, ids: torch.Tensor, eos: int) -> torch.Tensor:
    """Scores (B, N, S) of candidates of which the last one is <eos>: -inf for it where another one is, too."""
    is_there = (ids[..., :-1] == eos).any(dim=2)
    total[..., -1] = total[..., -1].masked_fill(is_there, -torch.inf)
    return total
