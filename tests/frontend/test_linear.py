"""The linear frontend is one 3-D convolution over whole pictures; PyTorch's is the oracle."""

import pytest
import torch
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.linear import LinearFrontend

SIZE, DIM = 12, 5
VIDEO = torch.randn(2, 7, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


def build(feature_rate, **options):
    return LinearFrontend(feature_rate=feature_rate, output_dim=DIM, image_size=SIZE, **options)


def convolve(frontend, video, *, stride):
    """Oracle: `conv3d` with the projection's weight, (B, T, H, W) -> (B, T', D)."""
    weight = frontend.projection.weight.reshape(DIM, 1, 2, SIZE, SIZE)
    return F.conv3d(video[:, None], weight, frontend.projection.bias, stride=(stride, 1, 1))[..., 0, 0].transpose(1, 2)


def test_tubelet_rate_is_a_convolution_with_stride_two():
    frontend = build("tubelet")
    features, steps = frontend(VIDEO, torch.tensor([7, 6]))
    torch.testing.assert_close(features, convolve(frontend, VIDEO, stride=2))
    assert steps.tolist() == [3, 3]


def test_frame_rate_is_a_convolution_with_stride_one_over_a_repeated_last_frame():
    frontend = build("frame")
    features, steps = frontend(VIDEO, torch.tensor([7, 4]))
    repeated = torch.cat([VIDEO[:1], VIDEO[:1, -1:]], dim=1)
    torch.testing.assert_close(features[:1], convolve(frontend, repeated, stride=1))
    shorter = torch.cat([VIDEO[1:, :4], VIDEO[1:, 3:4]], dim=1)  # its own last frame, not the padding behind it
    torch.testing.assert_close(features[1:, :4], convolve(frontend, shorter, stride=1))
    assert steps.tolist() == [7, 4]


@pytest.mark.parametrize("feature_rate", ["frame", "tubelet"])
def test_a_single_frame_is_repeated(feature_rate):
    frontend = build(feature_rate)
    twice = torch.cat([VIDEO[:1, :1], VIDEO[:1, :1]], dim=1)
    features, steps = frontend(VIDEO[:1, :1], torch.tensor([1]))
    torch.testing.assert_close(features, convolve(frontend, twice, stride=2))
    assert steps.tolist() == [1]


def test_the_same_weights_serve_both_rates():
    frame, tubelet = build("frame"), build("tubelet")
    tubelet.load_state_dict(frame.state_dict())
    lengths = torch.tensor([7, 7])
    torch.testing.assert_close(tubelet(VIDEO, lengths)[0], frame(VIDEO, lengths)[0][:, 0:6:2])


def test_raw_pixels_are_normalised_as_the_preset_says():
    raw, frontend = torch.randint(0, 256, (1, 4, SIZE, SIZE), dtype=torch.uint8), build("frame")
    normalised = ((raw.double() / 255 - 0.421) / 0.165).float()
    lengths = torch.tensor([4])
    torch.testing.assert_close(frontend(raw, lengths)[0], frontend(normalised, lengths)[0], atol=1e-5, rtol=0)


def test_one_matrix_is_all_it_has():
    frontend = LinearFrontend()
    assert sum(p.numel() for p in frontend.parameters()) == 2 * 88 * 88 * 512 + 512
    assert frontend.output_size() == 512


def test_another_picture_size_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"found 12x12 pixels; expected 44x44.*image_size"):
        LinearFrontend(image_size=44, output_dim=DIM)(VIDEO, torch.tensor([7, 7]))


@pytest.mark.parametrize("option", [{"output_dim": 0}, {"image_size": 0}, {"feature_rate": "frames"}])
def test_bad_options_are_refused(option):
    with pytest.raises(ConfigError, match="found"):
        LinearFrontend(**option)
