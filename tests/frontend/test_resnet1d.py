"""ResNet-18 on the waveform: what is special to it; contracts and published numbers are tested beside it."""

import pytest
import torch
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError, InputError, TooShortError
from espnet_vivit.frontend.resnet1d import ResNet1d, normalize_utterances

SPEECH = torch.randn(2, 6400, generator=torch.Generator().manual_seed(5))
LENGTHS = torch.tensor([6400, 2000])


@pytest.fixture
def frontend():
    return ResNet1d(channels=4).eval()


def test_640_samples_are_a_step(frontend):
    features, steps = frontend(SPEECH, LENGTHS)
    assert features.shape == (2, 10, 32) and steps.tolist() == [10, 3]
    assert frontend.output_size() == 32 and frontend.output_lengths(LENGTHS).tolist() == [10, 3]


def test_utterances_are_normalised_over_their_own_samples():
    """Oracle: PyTorch's layer_norm, which is what Auto-AVSR's data loader applies to each waveform alone."""
    loud = 30 * SPEECH + 4
    normalised = normalize_utterances(loud, LENGTHS)
    for row, clip, length in zip(normalised, loud, LENGTHS, strict=True):
        expected = F.layer_norm(clip[:length], (int(length),), eps=1e-8)
        torch.testing.assert_close(row[:length], expected)
        assert not row[length:].any()


def test_loudness_and_offset_do_not_matter_with_normalisation(frontend):
    torch.testing.assert_close(frontend(20 * SPEECH + 3, LENGTHS)[0], frontend(SPEECH, LENGTHS)[0], atol=1e-4, rtol=0)


def test_loudness_matters_without_it():
    plain = ResNet1d(channels=4, waveform_normalization="none").eval()
    assert not torch.allclose(plain(20 * SPEECH, LENGTHS)[0], plain(SPEECH, LENGTHS)[0], atol=1e-2)


def test_silence_gives_finite_features_and_gradients(frontend):
    silence = torch.zeros(1, 6400, requires_grad=True)
    features, _ = frontend(silence, torch.tensor([6400]))
    features.sum().backward()
    assert torch.isfinite(features).all() and torch.isfinite(silence.grad).all()


def test_a_remainder_below_640_samples_is_not_heard():
    plain = ResNet1d(channels=4, waveform_normalization="none").eval()
    changed = SPEECH.clone()
    changed[1, 3 * 640 : 2000] = 9.0
    torch.testing.assert_close(plain(changed, LENGTHS)[0], plain(SPEECH, LENGTHS)[0], atol=0, rtol=0)


def test_tubelet_rate_halves_the_steps():
    features, steps = ResNet1d(channels=4, feature_rate="tubelet").eval()(SPEECH, LENGTHS)
    assert features.shape == (2, 5, 32) and steps.tolist() == [5, 1]


def test_batch_norm_counts_valid_steps_only(frontend):
    """Oracle: mean and variance of the first convolution's output over the valid steps, computed in double."""
    frontend = ResNet1d(channels=4, waveform_normalization="none")
    with torch.no_grad():
        rows = [frontend.trunk.conv1(SPEECH[:1, None]), frontend.trunk.conv1(SPEECH[1:, None, : 3 * 640])]
    values = torch.cat([row[0].double() for row in rows], dim=1)  # (C, 160 * (10 + 3))
    frontend.train()(SPEECH, LENGTHS)
    torch.testing.assert_close(frontend.trunk.bn1.running_mean, (0.1 * values.mean(1)).float())
    torch.testing.assert_close(frontend.trunk.bn1.running_var, (0.9 + 0.1 * values.var(1)).float())


def test_less_than_one_step_is_too_short(frontend):
    with pytest.raises(TooShortError, match=r"speech 1 of the batch.*found 639 samples; expected at least 640"):
        frontend(SPEECH, torch.tensor([6400, 639]))


def test_samples_as_integers_are_refused_with_the_way_out(frontend):
    with pytest.raises(InputError, match=r"torch\.int16.*divided by 32768"):
        frontend(SPEECH.to(torch.int16), LENGTHS)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"waveform_normalization": "utterence"}, "Did you mean 'utterance'"),
        ({"feature_rate": "50hz"}, "feature_rate"),
        ({"channels": 0}, "channels=0"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ConfigError, match=message):
        ResNet1d(**option)
