"""ESPnet's own BatchBeamSearch, the oracle of ours, and decoders, CTC branches and language models to search with."""

import torch

from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.espnet_compat import (
    BatchBeamSearch,
    BatchScorerInterface,
    CTCPrefixScorer,
    LengthBonus,
    TransformerDecoder,
    TransformerLM,
)
from espnet_vivit.model.parts import build_checked
from tests.tiny import randomize

WIDTH = 16
IMPOSSIBLE = -1e6  # ESPnet's CTC has -1e10 for what cannot be, ours -inf, which no hypothesis has


class NoBlank(BatchScorerInterface):
    """Minus infinity for the blank after any hypothesis: what our search forbids by itself."""

    def __init__(self, vocabulary, blank=0):
        self.vocabulary, self.blank = vocabulary, blank

    def batch_score(self, ys, states, xs):
        scores = torch.zeros(ys.size(0), self.vocabulary, dtype=xs.dtype, device=xs.device)
        scores[:, self.blank] = -torch.inf
        return scores, states


def random_scorers(vocabulary, *, seed=0, dtype=torch.float64, **options):
    """(decoder, CTC) with weights large enough that hypotheses differ; both let some hypotheses end early."""
    from espnet2.asr.ctc import CTC

    torch.manual_seed(seed)
    options = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2, **options}
    decoder = build_checked("decoder", TransformerDecoder, options, vocab_size=vocabulary, encoder_output_size=WIDTH)
    ctc = CTC(vocabulary, WIDTH)
    randomize(decoder, std=0.3), randomize(ctc, std=0.5)
    with torch.no_grad():
        decoder.output_layer.bias[-1] += 1.0
        ctc.ctc_lo.bias[0] += 2.0
    return decoder.eval().to(dtype), ctc.eval().to(dtype)


def random_lm(vocabulary, *, dtype=torch.float64, **options):
    options = {"embed_unit": 8, "att_unit": WIDTH, "head": 2, "unit": 32, "layer": 2, **options}
    model = randomize(build_checked("lm", TransformerLM, options, vocab_size=vocabulary), std=0.3)
    return model.eval().to(dtype)


def clips(*lengths, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, WIDTH, generator=generator).to(dtype) for length in lengths]


def both(scorers, weights, *, vocabulary, beam_size, normalize_length=False):
    """(ours, ESPnet's) over the same scorers; "ctc" among them is the module, and a "length_bonus" is added."""
    scorers = {**scorers, "length_bonus": LengthBonus(vocabulary)}
    end = vocabulary - 1
    options = {"sos": end, "eos": end, "beam_size": beam_size, "normalize_length": normalize_length}
    ours = BeamSearch(scorers, weights, vocabulary=vocabulary, **options)
    theirs = {**scorers, "no_blank": NoBlank(vocabulary)}
    if theirs.get("ctc") is not None:
        theirs["ctc"] = CTCPrefixScorer(ctc=scorers["ctc"], eos=end)
    key = None if weights.get("ctc") == 1 else "full"
    espnet = BatchBeamSearch(
        theirs, {**weights, "no_blank": 1.0}, vocab_size=vocabulary, pre_beam_score_key=key, **options
    )
    return ours, espnet.eval()


def search_ours(search, states, ratios=(0.0, 0.0)):
    """[(tokens, score, scores by scorer), …] of each clip, all found in one search; the padding is loud."""
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True, padding_value=30.0)
    lengths = torch.tensor([len(clip) for clip in states])
    found = search(padded, lengths, ratios=[ratios] * len(states))
    return [[_told(hypothesis, search.eos) for hypothesis in hypotheses] for hypotheses in found]


def search_espnet(search, states, ratios=(0.0, 0.0)):
    """The same from ESPnet's search, one clip after the other, without what has no probability."""
    with torch.no_grad():
        found = [search(clip, *ratios) for clip in states]
    return [
        [_told(hypothesis, search.eos) for hypothesis in hypotheses if hypothesis.score > IMPOSSIBLE]
        for hypotheses in found
    ]


def _told(hypothesis, eos):
    scores = {name: float(score) for name, score in hypothesis.scores.items() if name != "no_blank"}
    return [token for token in hypothesis.yseq.tolist() if token != eos], float(hypothesis.score), scores


def assert_same(found, expected, *, tolerance=1e-7):
    """Token by token the same hypotheses in the same order, with the same scores."""
    assert [[tokens for tokens, _, _ in clip] for clip in found] == [[tokens for tokens, _, _ in c] for c in expected]
    for clip, wanted in zip(found, expected, strict=True):
        for (_, score, scores), (_, total, parts) in zip(clip, wanted, strict=True):
            assert abs(score - total) < tolerance
            assert scores.keys() == parts.keys()
            assert all(abs(scores[name] - parts[name]) < 10 * tolerance for name in parts)
