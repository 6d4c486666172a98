"""AV-HuBERT base, whole, from its published names: ResNet, projection, and the states of one stream and of both.

Oracle: ../shared/fixtures/zoo (its README gives the rule that fills the weights and the inputs); the decoder's is
transformers' Speech2TextDecoder, which the published port uses.
"""

import json

import numpy as np
import pytest
import torch
from transformers import Speech2TextConfig
from transformers.models.speech_to_text.modeling_speech_to_text import Speech2TextDecoder

from espnet_vivit import E2E
from espnet_vivit.frontend.avhubert import AvHubertFrontend
from espnet_vivit.model.fairseq_decoder import FairseqDecoder
from espnet_vivit.model.init_parts import load_parts
from espnet_vivit.model.published.avhubert import PORT, PORT_FINE_TUNED
from espnet_vivit.model.published.catalog import find_layout
from tests.auto_avsr import drawn
from tests.published import decoder_state

TOLERANCE = 2e-5
STEPS = torch.tensor([12])
PARTS = ("vision_encoder", "audio_encoder", "fusion", "encoder")
PARAMETERS = {"base": 103_132_392, "large": 325_135_080}


@pytest.fixture(scope="module")
def names(shared_dir):
    tables = json.loads((shared_dir / "fixtures/zoo/avhubert_names.json").read_text())
    return {size: table["state_dict"] for size, table in tables.items()}


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "fixtures/zoo/avhubert_reference.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def state(names):
    """base, filled: the magnitudes of the weight normalization by a rule of their own."""
    filled = {name: drawn(name, shape) for name, shape in names["base"].items()}
    return {n: 1 + 0.1 * value if n.endswith("original0") else value for n, value in filled.items()}


@pytest.fixture(scope="module")
def model(state):
    whole = E2E(3, **PORT.model_options(state)).eval()
    PORT.load(torch.nn.ModuleDict({name: getattr(whole, name) for name in PARTS}), state)
    return whole


def drawn_input(shape, number=12345):
    return torch.from_numpy(np.random.default_rng([7, number]).standard_normal(shape, dtype=np.float32))


@torch.no_grad()
def states(model, *, video: bool, audio: bool):
    seen = heard = None
    if video:
        seen, _ = model.vision_encoder(drawn_input((1, 1, 12, 88, 88)), STEPS)
    if audio:  # the fixture's sound is features already
        heard = model.audio_encoder.proj(drawn_input((1, 104, 12), 54321).transpose(1, 2))
    return model.encoder(model.fusion(seen, heard, STEPS), STEPS)[0]


@pytest.mark.parametrize("size", ["base", "large"])
def test_the_published_layout_is_recognized_at_full_size(names, size):
    with torch.device("meta"):
        published = {name: torch.empty(shape) for name, shape in names[size].items()}
        layout = find_layout(published)
        model = E2E(3, **layout.model_options(published))
    assert layout is PORT
    ours = torch.nn.ModuleDict({name: getattr(model, name) for name in PARTS})
    left = sum(published[name].numel() for name in ("mask_emb", "label_embs_concat"))
    assert sum(parameter.numel() for parameter in ours.parameters()) + left == PARAMETERS[size]


@pytest.mark.slow
def test_resnet_and_projection_give_the_published_numbers(model, reference):
    with torch.no_grad():
        features, _ = model.vision_encoder.resnet(drawn_input((1, 1, 12, 88, 88)), STEPS)
        projected, _ = model.vision_encoder(drawn_input((1, 1, 12, 88, 88)), STEPS)
    assert (features - reference["resnet"]).abs().max() < TOLERANCE
    assert (projected - reference["video_features"]).abs().max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("key", "video", "audio"), [("v", True, False), ("a", False, True), ("av", True, True)])
def test_the_states_are_the_published_ones(model, reference, key, video, audio):
    difference = (states(model, video=video, audio=audio) - reference[f"encoder_{key}"]).abs().max()
    assert difference < TOLERANCE


@pytest.mark.slow
def test_as_a_vision_encoder_it_gives_the_states_of_the_silent_video(state, reference, tmp_path):
    torch.save(state, tmp_path / "base.pth")
    holder = torch.nn.Module()
    holder.vision_encoder = AvHubertFrontend().eval()
    (loaded,) = load_parts(holder, {"vision_encoder": tmp_path / "base.pth"})
    assert "AV-HuBERT license" in loaded.terms["licence of the weights"]
    with torch.no_grad():
        found, _ = holder.vision_encoder(drawn_input((1, 1, 12, 88, 88)), STEPS)
    assert (found - reference["encoder_v"]).abs().max() < TOLERANCE


def test_the_decoder_is_the_ports(tmp_path):
    """Logits of a prefix, in fairseq's order of the vocabulary and in ours."""
    width, vocabulary = 16, 10
    config = Speech2TextConfig(
        vocab_size=vocabulary,
        d_model=width,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        scale_embedding=False,
        pad_token_id=1,
        dropout=0.0,
        attention_dropout=0.0,
    )
    theirs = Speech2TextDecoder(config).eval()
    weights = decoder_state("", width=width, vocabulary=vocabulary)
    theirs.load_state_dict(weights, strict=True)
    ours = FairseqDecoder(vocabulary - 1, width, attention_heads=2, linear_units=24, num_blocks=2).eval()
    holder = torch.nn.Module()
    holder.decoder = ours
    PORT_FINE_TUNED.load(holder, {f"model.decoder.{name}": value for name, value in weights.items()})
    memory = torch.randn(1, 5, width)
    their_prefix, our_prefix = torch.tensor([[2, 4, 6, 3]]), torch.tensor([[8, 2, 4, 1]])  # </s> first, as fairseq
    with torch.no_grad():
        states = theirs(input_ids=their_prefix, encoder_hidden_states=memory).last_hidden_state
        expected = states @ weights["embed_tokens.weight"].T
        found, _ = ours(memory, torch.tensor([5]), our_prefix, torch.tensor([4]))
    torch.testing.assert_close(found, expected[..., [0, 3, 4, 5, 6, 7, 8, 9, 2]], atol=1e-5, rtol=0)
