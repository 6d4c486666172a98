"""AV-HuBERT's sound features against python_speech_features, with whose numbers it was trained."""

import numpy as np
import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.filterbanks import INT16, STACKED, FilterbankAudio

WINDOWS, FILTERS = (0, 1, 5), (0, 1, 12, 25)
EXPECTED = [  # of python_speech_features 0.6, logfbank(samples(), samplerate=16000): these windows and filters
    [9.39805, 11.99382, 16.92535, 20.65126],
    [10.007, 12.36876, 16.85813, 20.42643],
    [12.01846, 12.21875, 16.94283, 20.12741],
]
SAMPLES = 1600


def samples():
    noise = np.random.default_rng(3).standard_normal(SAMPLES)
    return np.round((0.1 * noise).astype(np.float32) * 32768).astype(np.int16)


def test_the_energies_are_those_of_python_speech_features():
    speech = torch.from_numpy(samples() / INT16)[None].float()
    found = FilterbankAudio().log_energies(speech, torch.tensor([SAMPLES]))[0]
    torch.testing.assert_close(found[list(WINDOWS)][:, list(FILTERS)], torch.tensor(EXPECTED), atol=2e-4, rtol=0)


def test_four_windows_are_a_step_and_the_last_window_of_an_utterance_is_missing():
    audio = FilterbankAudio()
    speech = torch.from_numpy(samples() / INT16)[None].float()[:, :1280]
    stacked = audio.stacked_energies(speech, torch.tensor([2]))
    assert stacked.shape == (1, 2, 104)
    energies = audio.log_energies(speech, torch.tensor([1280]))[0]
    steps = torch.cat([energies[:7], torch.zeros(1, 26)]).reshape(2, STACKED * 26)
    expected = torch.nn.functional.layer_norm(steps, (104,))
    torch.testing.assert_close(stacked[0], expected)
    assert (stacked[0, 1, -26:] == stacked[0, 1, -1]).all() and stacked[0, 1, -1] < -1.5, "zeros among large energies"


def test_silence_is_finite():
    features, _ = FilterbankAudio()(torch.zeros(1, 1280), torch.tensor([1280]))
    assert torch.isfinite(features).all()


def test_it_runs_at_25_hz_only():
    with pytest.raises(ConfigError, match="AV-HuBERT runs at 25 Hz: found feature_rate=tubelet"):
        FilterbankAudio(feature_rate="tubelet")
