"""Conv3d + ResNet-18: what is special to it; contracts and published numbers are tested beside it."""

import pytest
import torch
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.feature_rate import average_pairs
from espnet_vivit.frontend.resnet import ResNetFrontend

RAW = torch.randint(0, 256, (2, 6, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
LENGTHS = torch.tensor([6, 3])


@pytest.fixture
def frontend():
    return ResNetFrontend(channels=4).eval()


def test_raw_pixels_are_normalised_as_the_preset_says(frontend):
    normalised = (RAW.double() / 255 - 0.421) / 0.165
    torch.testing.assert_close(frontend(RAW, LENGTHS)[0], frontend(normalised.float(), LENGTHS)[0], atol=1e-5, rtol=0)


def test_raw_pixels_taken_for_normalised_ones_would_differ(frontend):
    assert not torch.allclose(frontend(RAW, LENGTHS)[0], frontend(RAW.float(), LENGTHS)[0], atol=1e-2)


def test_a_channel_axis_changes_nothing(frontend):
    assert torch.equal(frontend(RAW, LENGTHS)[0], frontend(RAW[:, None], LENGTHS)[0])


def test_width_and_output_size(frontend):
    assert frontend.output_size() == 32 and frontend(RAW, LENGTHS)[0].shape == (2, 6, 32)
    assert ResNetFrontend(channels=1).output_size() == 8


def test_padded_frames_never_enter_the_trunk(frontend):
    frames = []
    frontend.trunk.register_forward_pre_hook(lambda _, inputs: frames.append(len(inputs[0])))
    frontend(RAW, LENGTHS)
    assert frames == [6 + 3]


def test_the_first_batch_norm_counts_valid_frames_only(frontend):
    """Oracle: mean and variance of the convolution's output over the frames of both clips, computed in double."""
    with torch.no_grad():
        convolved = []
        for clip, length in zip(RAW, LENGTHS, strict=True):
            clip = (clip[None, None, :length].float() / 255 - 0.421) / 0.165
            convolved.append(frontend.frontend3D[0](clip)[0].double().flatten(1))  # (C, length * pixels)
    values = torch.cat(convolved, dim=1)
    frontend.train()(RAW, LENGTHS)
    norm = frontend.frontend3D[1]
    torch.testing.assert_close(norm.running_mean, (0.1 * values.mean(1)).float())
    torch.testing.assert_close(norm.running_var, (0.9 + 0.1 * values.var(1)).float())


def test_tubelet_rate_is_pairs_of_the_frame_rate(frontend):
    features, lengths = frontend(RAW, LENGTHS)
    halved = ResNetFrontend(channels=4, feature_rate="tubelet").eval()
    halved.load_state_dict(frontend.state_dict())
    found, steps = halved(RAW, LENGTHS)
    expected, expected_steps = average_pairs(features, lengths)
    assert torch.equal(found, expected) and torch.equal(steps, expected_steps)
    assert steps.tolist() == [3, 1]


def test_a_frame_is_heard_two_frames_away_and_no_further(frontend):
    changed = RAW.clone()
    changed[0, 5] = 255 - changed[0, 5]
    difference = (frontend(changed, LENGTHS)[0] - frontend(RAW, LENGTHS)[0])[0].abs().amax(1)
    assert (difference[3:] > 0).all() and (difference[:3] == 0).all()


def test_weights_in_bfloat16_take_raw_pixels(frontend):
    features, _ = frontend.to(torch.bfloat16)(RAW, LENGTHS)
    assert features.dtype == torch.bfloat16 and torch.isfinite(features).all()


def test_batch_norm_trains_on_one_small_clip():
    """One clip of one frame has many pixels at the usual sizes, so its statistics exist."""
    features, _ = ResNetFrontend(channels=1).train()(torch.zeros(1, 1, 88, 88, dtype=torch.uint8), torch.tensor([1]))
    assert features.shape == (1, 1, 8)


def test_bad_options_and_color_are_refused(frontend):
    with pytest.raises(ConfigError, match=r"feature_rate.*'25'"):
        ResNetFrontend(feature_rate="25")
    with pytest.raises(ConfigError, match="channels=0"):
        ResNetFrontend(channels=0)
    with pytest.raises(TypeError, match="chanels"):
        ResNetFrontend(chanels=64)
    with pytest.raises(InputError, match="average the colors"):
        frontend(RAW[:, None].expand(-1, 3, -1, -1, -1), LENGTHS)


def test_the_trunk_starts_with_healthy_features():
    features, _ = ResNetFrontend(channels=16).train()(RAW, LENGTHS)
    assert 0.05 < features[0].std() < 5
    assert not any(isinstance(layer, nn.ReLU) for layer in ResNetFrontend(channels=1).modules())
