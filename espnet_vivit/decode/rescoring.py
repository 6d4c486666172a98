"""Attention rescoring: what the attention decoder thinks of the hypotheses that another search found.

Each hypothesis is scored as a whole, in one pass over all of them (U2, Zhang et al. 2020, arXiv:2012.05481).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_vivit.decode.prefix_search import Prefix


@torch.no_grad()
def attention_scores(decoder: nn.Module, states: Tensor, hypotheses: Sequence[Sequence[int]], *, eos: int) -> Tensor:
    """Log-probability (N,) of each hypothesis with <eos> behind it. states (T, D); <sos> and <eos> are one token."""
    lengths = torch.tensor([len(ids) + 1 for ids in hypotheses], device=states.device)
    rows = [torch.tensor([eos, *ids], device=states.device) for ids in hypotheses]
    given = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=eos)  # (N, L + 1)
    source = states.expand(len(rows), -1, -1)
    steps = torch.full_like(lengths, len(states))
    log_probs = decoder(source, steps, given, lengths)[0].log_softmax(dim=-1)  # (N, L + 1, V)
    wanted = torch.cat([given[:, 1:], torch.full_like(given[:, :1], eos)], dim=1)  # behind a row's end there is <eos>
    scores = log_probs.gather(2, wanted[..., None])[..., 0]
    return scores.masked_fill(torch.arange(scores.size(1), device=states.device) >= lengths[:, None], 0).sum(1)


def rescored(
    prefixes: Sequence[Prefix], decoder: nn.Module | None, states: Tensor, *, eos: int, ctc_weight: float
) -> list[Prefix]:
    """The prefixes with both scores weighted, best first; without a decoder as they are."""
    if decoder is None or ctc_weight == 1:
        return list(prefixes)
    attention = attention_scores(decoder, states, [prefix.ids for prefix in prefixes], eos=eos).tolist()
    mixed = [
        Prefix(prefix.ids, ctc_weight * prefix.score + (1 - ctc_weight) * score)
        for prefix, score in zip(prefixes, attention, strict=True)
    ]
    return sorted(mixed, key=lambda prefix: prefix.score, reverse=True)
