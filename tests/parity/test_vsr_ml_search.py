"""The beam search over the decoders of published models, against what their own repository's search found.

Oracle: ../shared/fixtures/zoo (its README gives the rule that fills the weights): encoder states in, hypotheses out.
"""

import zlib

import numpy as np
import pytest
import torch

from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.espnet_compat import TransformerDecoder, TransformerLM

SEED = 7
SIZES = {  # width, heads, units, vocabulary, beam, weight of the language model
    "video": (768, 12, 3072, 5049, 40, 0.3),
    "audio": (768, 12, 3072, 5049, 40, None),
    "video_es": (256, 4, 2048, 37, 30, 0.4),
}
LM_SIZES = {"embed_unit": 128, "att_unit": 512, "head": 8, "unit": 2048, "layer": 16, "pos_enc": None}


def filled(module, prefix="", renamed=()):
    """Weights by the README's rule, which goes by VSR-ML's names."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            for ours, theirs in renamed:
                name = name.replace(ours, theirs)
            rng = np.random.default_rng([SEED, zlib.crc32(f"{prefix}{name}".encode())])
            drawn = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32))
            if parameter.dim() > 1:
                parameter.copy_(drawn / np.sqrt(np.prod(parameter.shape[1:])))
            else:
                parameter.copy_(1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn)
    return module.eval()


@pytest.mark.slow
@pytest.mark.parametrize("with_lm", [False, True], ids=["alone", "lm"])
@pytest.mark.parametrize("name", SIZES)
def test_the_hypothesis_is_the_one_of_the_models_own_repository(shared_dir, name, with_lm):
    from espnet2.asr.ctc import CTC

    width, heads, units, vocabulary, beam_size, lm_weight = SIZES[name]
    if with_lm and lm_weight is None:
        pytest.skip("its repository decodes this model without a language model")
    with np.load(shared_dir / "fixtures" / "zoo" / "vsr_ml_reference.npz") as arrays:
        states = torch.from_numpy(arrays[f"{name}_encoder"])
        kind = "beam_lm" if with_lm else "beam"
        tokens, score = arrays[f"{name}_{kind}_tokens"].tolist(), float(arrays[f"{name}_{kind}_score"])
    decoder = TransformerDecoder(vocabulary, width, attention_heads=heads, linear_units=units, num_blocks=6)
    scorers = {"decoder": filled(decoder, "decoder."), "ctc": filled(CTC(vocabulary, width), "ctc.")}
    weights = {"decoder": 0.9, "ctc": 0.1}
    if with_lm:
        renamed = ((".norm1.", ".norm_mha."), (".norm2.", ".norm_ff."))
        scorers["lm"], weights["lm"] = filled(TransformerLM(vocabulary, **LM_SIZES), renamed=renamed), lm_weight
    end = vocabulary - 1
    search = BeamSearch(scorers, weights, beam_size=beam_size, vocabulary=vocabulary, sos=end, eos=end)
    best = search(states, torch.tensor([states.size(1)]))[0][0]
    assert best.yseq.tolist() == tokens
    assert best.score == pytest.approx(score, abs=1e-3)
