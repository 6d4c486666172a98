"""Audio towers of the hub: what the library itself makes of an utterance alone is what comes out of ours."""

import pytest
import torch
import transformers

from espnet_vivit.errors import ConfigError, InputError
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


@pytest.mark.parametrize("kind", ["whisper", *WAVEFORMS])
def test_a_kept_layer_gives_the_states_that_the_library_shows(kind, tmp_path):
    tower, encoder = both(kind, tmp_path, layer=1)
    speech = torch.randn(SECOND) * 0.1
    with torch.no_grad():
        if kind == "whisper":
            speech = torch.randn(8 * SECOND) * 0.1  # the library takes no other length
            extractor = transformers.WhisperFeatureExtractor()
            mel = extractor(speech.numpy(), sampling_rate=SECOND, padding=False, return_tensors="pt").input_features
            states = tower.encoder(mel, output_hidden_states=True).hidden_states[1][0]
        else:
            values = (speech - speech.mean()) / (speech.var(correction=0) + 1e-7).sqrt()
            states = tower(values[None], output_hidden_states=True).hidden_states[1][0]
        features, _ = encoder(speech[None], torch.tensor([len(speech)]))
    torch.testing.assert_close(features[0], averaged(states, features.size(1)), **TOLERANCE)


def test_speech_beyond_whispers_positions_is_an_error(tmp_path):
    _, encoder = both("whisper", tmp_path)  # 400 positions, 8 s
    long = torch.randn(1, 9 * SECOND)
    with pytest.raises(
        InputError, match=r"longer than this Whisper has positions for: found 9.0 s; expected at most 8 s"
    ):
        encoder(long, torch.tensor([9 * SECOND]))


def test_states_that_cannot_be_brought_to_25_hz_are_an_error(tmp_path):
    odd = save(library_tower("wav2vec2", conv_stride=(5, 3, 2, 2, 2, 2, 2)), tmp_path / "odd")
    with pytest.raises(ConfigError, match=r"cannot be brought to 25 Hz: found 33.3333 Hz, from sound of 16000 Hz"):
        HuggingFaceAudio(odd)
    low = save(library_tower("wav2vec2"), tmp_path / "low", sampling_rate=8000)
    with pytest.raises(ConfigError, match="found 25 Hz, from sound of 8000 Hz; expected sound of 16000 Hz"):
        HuggingFaceAudio(low)
    shortened = save(library_tower("wav2vec2", add_adapter=True), tmp_path / "shortened")
    with pytest.raises(ConfigError, match="shortens its states behind its layers: found add_adapter"):
        HuggingFaceAudio(shortened)
