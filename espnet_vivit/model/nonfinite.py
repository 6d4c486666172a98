"""Training losses that are not numbers: named, counted, kept out of the weights, and an end after too many in a row.

ESPnet's trainer skips the update when the gradient's norm is not finite, and leaves such values out of an epoch's mean.
What it does not do: say which utterances they were, and stop.
"""

import logging

import torch

from espnet_vivit.errors import NonFiniteLossError

LIMIT = 20  # losses in a row; float16 settles its scale within a few


class NonFiniteLosses:
    """`check(loss, utt_id)` gives back the loss, in a form whose gradient the trainer skips if it is not finite."""

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self.total = self.in_a_row = 0

    def check(self, loss: torch.Tensor, utt_id: list[str] | None) -> torch.Tensor:
        """Raises NonFiniteLossError at the `limit`-th in a row."""
        if torch.isfinite(loss):
            self.in_a_row = 0
            return loss
        self.total += 1
        self.in_a_row += 1
        names = ", ".join(utt_id) if utt_id else "unnamed"
        counts = f"{self.in_a_row} in a row, {self.total} since the start"
        logging.warning("loss %s, this step is skipped (%s); utterances: %s", loss.item(), counts, names)
        if self.in_a_row >= self.limit:
            raise NonFiniteLossError(
                f"{self.limit} training losses in a row were not finite, the last with {names}",
                fix="Lower the learning rate or grad_clip, use amp_dtype: bfloat16 or none instead of float16, and "
                "look at these utterances",
            )
        return loss * torch.nan  # an infinite loss may have a finite gradient, which would not be skipped
