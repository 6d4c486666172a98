"""The sentence that is being said: encoder states in as they come; its words so far, and its transcript, out."""

import torch
from torch import Tensor

from espnet_vivit.decode.prefix_search import PrefixSearch
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.decode.word_times import Transcript


class RunningSentence:
    """Steps `begin` to `end` of a stream. `push(states (n, D))`, then ask.

    lead (n, D): states before its first push that belong to it, of a pause.
    """

    def __init__(self, speech2text: Speech2Text, begin: int, lead: Tensor | None = None):
        self.speech2text, self.model = speech2text, speech2text.asr_model
        self._states = [] if lead is None else [lead]
        self.begin, self.end = begin, begin + sum(map(len, self._states))
        self.search = PrefixSearch(
            blank=self.model.blank_id,
            beam_size=speech2text.beam_search.beam_size,
            never=(self.model.sos, self.model.eos),
        )

    @property
    def steps(self) -> int:
        return self.end - self.begin

    @property
    def silent_steps(self) -> int:
        """At its end, the steps of which CTC says nothing; the lead is not counted."""
        return self.search.silent_steps

    @torch.no_grad()
    def push(self, states: Tensor) -> None:
        self.search.push(self.model.ctc.log_softmax(states[None])[0])
        self._states.append(states)
        self.end += len(states)

    def words(self) -> tuple[tuple[str, ...], int]:
        """The most probable words so far, and how many of the first can no longer change."""
        words, settled = self._words(self.search.best.ids), self._words(self.search.settled)
        whole = self.speech2text.asr_train_args.token_type == "word"  # else the last word may go on
        return words, max(0, len(settled) - (not whole))

    def transcript(self) -> Transcript | None:
        """What the search of whole clips, with the attention decoder, finds; None where CTC said nothing."""
        if not self.search.best.ids:
            return None
        return self.speech2text.transcript(torch.cat(self._states)[None])

    def following(self, lead: int) -> "RunningSentence":
        """The next one, to which up to `lead` silent steps before it belong."""
        lead = min(lead, self.silent_steps)
        before = torch.cat(self._states)[self.steps - lead :].clone() if lead else None
        return RunningSentence(self.speech2text, self.end - lead, before)

    def _words(self, ids: tuple[int, ...]) -> tuple[str, ...]:
        tokens = self.speech2text.converter.ids2tokens(list(ids))
        return tuple(self.speech2text.tokenizer.tokens2text(tokens).split())
