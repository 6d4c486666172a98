"""What the model reads on the validation set, epoch by epoch: greedy CTC, out of the pass that ESPnet makes anyway.

In: the model while ESPnet validates it. Out: `{utterance: transcript}` and `{utterance: reference}`, from which the
word error rate and the signs of a collapse come. CTC is handed the encoder's states for its loss; here they are also
asked for their best token per step. No second pass, no beam: as a rule the error rate is above that of decoding.
References are the tokens put together again, so a word that the tokens cannot spell counts as `<unk>`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.tasks.loading.pieces import WORD_START

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

SPACE = "<space>"


class GreedyTranscripts:
    """`with transcripts.listening(model): …` fills `hypotheses` and `references`, both `{utterance: text}`."""

    def __init__(self, token_type: str):
        self.token_type = token_type
        self.hypotheses: dict[str, str] = {}
        self.references: dict[str, str] = {}

    @contextmanager
    def listening(self, model: "E2E") -> Iterator[None]:
        """While `model` is validated. Intermediate CTCs come after the model's own, and are passed over."""
        waiting: list[str] = []

        def note_utterances(module, args, kwargs) -> None:
            waiting[:] = kwargs.get("utt_id") or []

        def read(ctc, args) -> None:
            states, lengths, text, text_lengths = args[:4]
            if not waiting:
                return
            best, lengths, text, text_lengths = (x.cpu() for x in (ctc.argmax(states), lengths, text, text_lengths))
            for row, utt_id in enumerate(waiting):
                steps = best[row, : lengths[row]].unique_consecutive().tolist()
                tokens = [index for index in steps if index != model.blank_id]
                self.hypotheses[utt_id] = self.spell([model.token_list[index] for index in tokens])
                wanted = text[row, : text_lengths[row]].tolist()
                self.references[utt_id] = self.spell([model.token_list[index] for index in wanted])
            waiting.clear()

        hooks = []
        if model.ctc is not None:  # with ctc_weight 0 there is nobody to ask
            hooks = [
                model.register_forward_pre_hook(note_utterances, with_kwargs=True),
                model.ctc.register_forward_pre_hook(read),
            ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def spell(self, tokens: Sequence[str]) -> str:
        """Tokens of this type as text with blanks between its words."""
        if self.token_type == "word":
            return " ".join(tokens)
        if self.token_type == "char":
            return "".join(" " if token == SPACE else token for token in tokens).strip()
        return "".join(tokens).replace(WORD_START, " ").strip()

    def gather(self) -> None:
        """Distributed: every process gets the transcripts of all; to be called by all of them."""
        shares: list = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, (self.hypotheses, self.references))
        for hypotheses, references in shares:
            self.hypotheses |= hypotheses
            self.references |= references

    def word_error_rate(self) -> float | None:
        """A fraction; None if there was no CTC to ask, or nothing was said."""
        spoken = {utt_id: text for utt_id, text in self.references.items() if text}
        if not spoken:
            return None
        return score(spoken, {utt_id: self.hypotheses[utt_id] for utt_id in spoken}).wer
