"""Any other scorer of ESPnet's batched beam search (n-grams, length bonus, recurrent language models) in ours."""

import torch

from espnet_vivit.decode.prefix_tree import Step
from espnet_vivit.espnet_compat import BatchScorerInterface


class EspnetScorer:
    """Asks the scorer for one clip after the other, as ESPnet's search would, and keeps its states for it.

    states (B, T, D), lengths (B,): of the encoder.
    """

    def __init__(self, scorer: BatchScorerInterface, states: torch.Tensor, lengths: torch.Tensor):
        self.scorer = scorer
        self.clips = [clip[:length] for clip, length in zip(states, lengths.tolist(), strict=True)]
        self.memory = [[scorer.batch_init_state(clip)] for clip in self.clips]  # of each clip, for each hypothesis

    def score(self, step: Step) -> torch.Tensor:
        """Scores (B, N, V) of the tokens that may follow each hypothesis."""
        found = []
        for row, (clip, parents) in enumerate(zip(self.clips, step.parents.tolist(), strict=True)):
            states = [self.scorer.select_state(self.memory[row], parent) for parent in parents]
            prefixes = torch.tensor(step.prefixes[row], device=clip.device)
            scores, self.memory[row] = self.scorer.batch_score(prefixes, states, clip.expand(len(states), -1, -1))
            found.append(scores)
        return torch.stack(found)

    def keep_nodes(self, kept: torch.Tensor) -> None:
        """Of nodes of the tree, nothing is stored here."""

    def keep_clips(self, clips: torch.Tensor) -> None:
        rows = clips.tolist()
        self.clips, self.memory = [self.clips[row] for row in rows], [self.memory[row] for row in rows]
