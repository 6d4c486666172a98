"""A scorer that keeps the CTC blank out of hypotheses.

ESPnet's CTC prefix scorer gives blank, which is no token, a score of -1e10 and at the next token gives it back. As long
as a better candidate exists no such hypothesis enters the beam; with a beam about as wide as the vocabulary, as small
vocabularies invite, it does, and comes out best with the score 0.
"""

from typing import TYPE_CHECKING

import torch

from espnet_vivit.espnet_compat import BatchScorerInterface

if TYPE_CHECKING:
    from espnet_vivit.espnet_compat import BeamSearch


class NoBlank(BatchScorerInterface):
    """Minus infinity for the blank after any hypothesis, 0 for all other tokens."""

    def __init__(self, vocabulary: int, blank: int):
        self.vocabulary, self.blank = vocabulary, blank

    def batch_score(self, ys: torch.Tensor, states: list, xs: torch.Tensor) -> tuple[torch.Tensor, list]:
        """Scores (n, V) of the tokens that may follow the hypotheses ys (n, L); there is no state."""
        scores = torch.zeros(ys.size(0), self.vocabulary, dtype=xs.dtype, device=xs.device)
        scores[:, self.blank] = -torch.inf
        return scores, states

    def score(self, y: torch.Tensor, state: None, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.batch_score(y[None], [state], x)[0][0], None


def forbid_blank(beam_search: "BeamSearch", blank: int) -> None:
    """Add the scorer to an ESPnet beam search."""
    scorer = NoBlank(beam_search.n_vocab, blank)
    beam_search.scorers["no_blank"] = beam_search.full_scorers["no_blank"] = scorer
    beam_search.weights["no_blank"] = 1.0
