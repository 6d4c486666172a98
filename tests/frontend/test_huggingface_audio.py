"""Audio towers of the hub: what the library itself makes of an utterance alone is what comes out of ours."""

import pytest
import torch
import transformers

from espnet_vivit.frontend.hub.speech_towers import KINDS
from espnet_vivit.frontend.huggingface_audio import HuggingFaceAudio
from tests.frontend.hub.towers import CONFIGS, WAVEFORMS, library_tower, save

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
SECOND = 16000


def both(kind, tmp_path, *, preprocessing=None, **options):
    """(the library's tower, our encoder of the folder in which it is saved)."""
    torch.manual_seed(7)
    tower = library_tower(kind)
    return tower, HuggingFaceAudio(save(tower, tmp_path / kind, **(preprocessing or {})), **options).eval()


def averaged(states: torch.Tensor, steps: int) -> torch.Tensor:
    """(L, D) at 50 Hz -> (steps, D): means of two, the last of what there is."""
    return torch.stack([states[2 * step : 2 * step + 2].mean(0) for step in range(steps)])


def test_every_kind_of_the_table_is_tested():
    assert {"whisper", *WAVEFORMS} == set(KINDS)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", WAVEFORMS)
def test_an_utterance_is_what_the_library_makes_of_it(kind, normalize, tmp_path):
    tower, encoder = both(kind, tmp_path, preprocessing={"do_normalize": normalize})
    speech = torch.randn(SECOND) * 0.1 + 0.05
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize)
    values = extractor(speech.numpy(), sampling_rate=SECOND, return_tensors="pt").input_values
    with torch.no_grad():
        states = tower(values).last_hidden_state[0]
        features, lengths = encoder(speech[None], torch.tensor([SECOND]))
    assert states.shape[0] == 49 and lengths.tolist() == [25]
    torch.testing.assert_close(features[0], averaged(states, 25), **TOLERANCE)


def test_whisper_hears_the_own_length_of_an_utterance(tmp_path):
    """The library's encoder takes one length alone: here built with as many positions as the second has."""
    tower, encoder = both("whisper", tmp_path)
    speech = torch.randn(SECOND) * 0.1
    extractor = transformers.WhisperFeatureExtractor()
    mel = extractor(speech.numpy(), sampling_rate=SECOND, padding=False, return_tensors="pt").input_features
    config = transformers.WhisperConfig(**{**CONFIGS["whisper"], "max_source_positions": 50})
    second = transformers.WhisperModel(config).encoder.eval()
    state = tower.encoder.state_dict()
    state["embed_positions.weight"] = state["embed_positions.weight"][:50]
    second.load_state_dict(state)
    with torch.no_grad():
        states = second(mel).last_hidden_state[0]
        features, lengths = encoder(speech[None], torch.tensor([SECOND]))
    assert mel.shape[-1] == 100 and lengths.tolist() == [25]
    torch.testing.assert_close(features[0], averaged(states, 25), **TOLERANCE)
