"""VSR-ML's and Auto-AVSR v1.0.0's models, and AV-HuBERT's, whole: states, CTC, decoder, beam search, language model.

Oracle: ../shared/fixtures/zoo (its README gives the rule that fills the weights and the inputs); nothing is downloaded.
"""

import json

import numpy as np
import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.model.published.catalog import find_language_model
from espnet_vivit.model.published.language_model import build_language_model
from tests.auto_avsr import drawn

TOLERANCE = 2e-5  # absolute, float32
SCORE_TOLERANCE = 1e-3
BIG, SMALL = pytest.mark.slow, ()


@pytest.fixture(scope="module")
def published(shared_dir):
    """layout -> {"parameters": number, "state_dict": {name: shape}}."""
    return json.loads((shared_dir / "fixtures/zoo/vsr_ml_reference.json").read_text())


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "fixtures/zoo/vsr_ml_reference.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def drawn_input(shape, number=12345):
    return torch.from_numpy(np.random.default_rng([7, number]).standard_normal(shape, dtype=np.float32))


VIDEO = {"video": drawn_input((1, 12, 88, 88)), "video_lengths": torch.tensor([12])}
AUDIO = {"speech": drawn_input((1, 7680)), "speech_lengths": torch.tensor([7680])}
BOTH_AUDIO = {"speech": drawn_input((1, 7680), 54321), "speech_lengths": torch.tensor([7680])}
MODELS = [  # name in the fixture, layout, streams, prefix of the decoder's input, beam, language model and its weight
    pytest.param("video_es", "video_small", VIDEO, [36, 5, 17, 20], 30, ("lm_small", 0.4), id="video small"),
    pytest.param("video", "video_big", VIDEO, [5048, 5, 17, 200], 40, ("lm_big", 0.3), id="video", marks=BIG),
    pytest.param("audio", "audio_big", AUDIO, [5048, 5, 17, 200], 40, None, id="audio", marks=BIG),
    pytest.param("av", "av_big", VIDEO | BOTH_AUDIO, [5048, 5, 17, 200], 40, None, id="both", marks=BIG),
]


def filled(published, layout):
    return {name: drawn(name, shape) for name, shape in published[layout]["state_dict"].items()}


@pytest.mark.parametrize(("name", "layout", "streams", "prefix", "beam", "lm"), MODELS)
@torch.no_grad()
def test_a_published_model_gives_the_published_numbers_and_hypotheses(
    published, reference, name, layout, streams, prefix, beam, lm
):
    model = E2E.from_auto_avsr(filled(published, layout), waveform_normalization="none")  # as the fixture's input
    assert sum(parameter.numel() for parameter in model.parameters()) == published[layout]["parameters"]
    states, lengths = model.encode(**streams)
    given = torch.tensor([prefix])
    logits, _ = model.decoder(states, lengths, given, torch.tensor([len(prefix)]))
    found = {
        "encoder" if name != "av" else "fused": states,
        "ctc_logp_first64": model.ctc.log_softmax(states)[..., :64],
        "decoder_first64": logits[..., :64],
    }
    for key, value in found.items():
        difference = (value - reference[f"{name}_{key}"]).abs().max()
        assert difference < TOLERANCE, f"{key}: {difference}"

    searches = {"": None} if lm is None else {"": None, "_lm": lm}
    for suffix, weighted in searches.items():
        best = search(model, states[0], beam, weighted and (language_model(published, weighted[0]), weighted[1]))
        assert best.yseq.tolist() == reference[f"{name}_beam{suffix}_tokens"].tolist()
        assert abs(best.score - float(reference[f"{name}_beam{suffix}_score"])) < SCORE_TOLERANCE


@pytest.mark.parametrize(
    ("name", "layout", "sequence"),
    [
        pytest.param("lm_es", "lm_small", [36, 5, 17, 20, 4, 9], id="small"),
        pytest.param("lm_subword", "lm_big", [5048, 5, 17, 200, 4, 99], id="big", marks=BIG),
    ],
)
@torch.no_grad()
def test_a_published_language_model_gives_the_published_probabilities(published, reference, name, layout, sequence):
    model = language_model(published, layout)
    assert sum(parameter.numel() for parameter in model.parameters()) == published[layout]["parameters"]
    for count in range(1, len(sequence) + 1):
        logp, _ = model.lm.score(torch.tensor(sequence[:count]), None, torch.empty(0))
        expected = reference[f"{name}_logp_first64"][count - 1]
        torch.testing.assert_close(logp[: len(expected)], expected, atol=TOLERANCE, rtol=0)


def language_model(published, layout):
    state = filled(published, layout)
    found = find_language_model(state)
    model = build_language_model(found.model_options(state))
    found.load(model, state)
    return model.eval()


def search(model, states, beam, lm):
    """The best hypothesis of our beam search: decoder 0.9, CTC 0.1."""
    scorers = {"decoder": model.decoder, "ctc": model.ctc, "lm": None if lm is None else lm[0].lm}
    weights = {"decoder": 0.9, "ctc": 0.1, "lm": 0.0 if lm is None else lm[1]}
    ends = {"sos": model.sos, "eos": model.eos, "blank": model.blank_id}
    beam_search = BeamSearch(scorers, weights, beam_size=beam, vocabulary=model.vocab_size, **ends)
    return beam_search(states[None], torch.tensor([len(states)]))[0][0]
