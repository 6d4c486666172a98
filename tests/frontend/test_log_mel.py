"""Log-mel energies: the transform, and what is special to it; contracts are tested beside the other frontends."""

import pytest
import torch
import torchaudio

from espnet_vivit.errors import ConfigError, InputError, TooShortError
from espnet_vivit.frontend.log_mel import ENERGY_FLOOR, LogMel

SPEECH = torch.randn(2, 6400, generator=torch.Generator().manual_seed(5))
LENGTHS = torch.tensor([6400, 2000])


@pytest.fixture
def frontend():
    return LogMel(channels=4).eval()


def test_640_samples_are_a_step(frontend):
    features, steps = frontend(SPEECH, LENGTHS)
    assert features.shape == (2, 10, 16) and steps.tolist() == [10, 3]
    assert frontend.output_size() == 16 and frontend.output_lengths(LENGTHS).tolist() == [10, 3]


def test_energies_are_torchaudios(frontend):
    """Oracle: `torchaudio.transforms.MelSpectrogram` of the same windows, the zeros at both ends given to it."""
    oracle = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=400, hop_length=160, f_min=20.0, n_mels=80, center=False
    )
    expected = oracle(torch.nn.functional.pad(SPEECH, (176, 176))).clamp(min=ENERGY_FLOOR).log()
    torch.testing.assert_close(frontend.energies(SPEECH), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape == (2, 80, 40)


def test_a_tone_lies_in_its_own_bin_at_its_own_time(frontend):
    """1000 Hz from 0.2 s on: the strongest bin's filter has its peak there, and it begins at hop 20."""
    time_s = torch.arange(6400) / 16_000
    tone = torch.sin(2 * torch.pi * 1000 * time_s) * (time_s >= 0.2)
    energies = frontend.energies(tone[None])[0]
    strongest = int(energies[:, 30].argmax())
    frequencies = torch.arange(257) * 16_000 / 512
    center_hz = float(frequencies[frontend.filters[:, strongest].argmax()])
    assert abs(center_hz - 1000) <= 16_000 / 512
    loud = energies[strongest] > energies[strongest].max() - 3
    assert loud.nonzero()[0].item() in (20, 21) and loud[21:].all()


def test_loudness_does_not_matter(frontend):
    torch.testing.assert_close(frontend(20 * SPEECH + 3, LENGTHS)[0], frontend(SPEECH, LENGTHS)[0], atol=1e-3, rtol=0)


def test_silence_gives_finite_features_and_gradients(frontend):
    silence = torch.zeros(1, 6400, requires_grad=True)
    features, _ = frontend(silence, torch.tensor([6400]))
    features.sum().backward()
    assert torch.isfinite(features).all() and torch.isfinite(silence.grad).all()


def test_loud_samples_do_not_overflow_under_autocast(frontend):
    """A power spectrum of variance 1 passes float16's 65504; bfloat16 would round it to 3 digits."""
    loud = 8000 * torch.sin(torch.arange(6400) / 5)[None]
    plain, _ = frontend(loud, torch.tensor([6400]))
    with torch.autocast("cpu", torch.bfloat16):
        energies = frontend.energies(SPEECH)
        features, _ = frontend(loud, torch.tensor([6400]))
    assert energies.dtype == torch.float32 and torch.equal(energies, frontend.energies(SPEECH))
    assert (features - plain).norm() < 0.05 * plain.norm()


def test_weights_of_half_precision_leave_the_energies_in_single():
    half = LogMel(channels=4).eval().bfloat16()
    features, _ = half(SPEECH, LENGTHS)
    assert features.dtype == torch.bfloat16
    assert torch.equal(half.energies(SPEECH), LogMel(channels=4).energies(SPEECH)), "filters were rounded"


def test_the_filters_are_no_weights(frontend):
    """They follow from the options: a checkpoint need not carry them, and an optimizer must not move them."""
    assert not {"filters", "window"} & set(frontend.state_dict())
    assert all("filters" not in name for name, _ in frontend.named_parameters())


def test_bins_that_nothing_falls_into_are_refused():
    with pytest.raises(ConfigError, match=r"no frequency falls into: found mel_bins=400.*mel_bins: 80"):
        LogMel(mel_bins=400)
    with pytest.raises(ConfigError, match="bad channels: found 0"):
        LogMel(channels=0)


def test_less_than_one_step_is_too_short(frontend):
    with pytest.raises(TooShortError, match=r"speech 1 of the batch.*found 639 samples; expected at least 640"):
        frontend(SPEECH, torch.tensor([6400, 639]))


def test_samples_as_integers_are_refused_with_the_way_out(frontend):
    with pytest.raises(InputError, match=r"torch\.int16.*divided by 32768"):
        frontend((100 * SPEECH).to(torch.int16), LENGTHS)
