"""Frontends over clips that arrive in pieces: the features of the whole clip, no later than promised."""

import random

import pytest
import torch

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.log_mel import LogMel
from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.resnet1d import ResNet1d

PIXELS, FRAME = 16, 640
RUNNING = {"waveform_normalization": "running"}
RATES = ["frame", "tubelet"]


def linear(**options):
    return LinearFrontend(image_size=PIXELS, output_dim=8, **options)


def resnet(**options):
    return ResNetFrontend(channels=2, **options)


def logmel(**options):
    return LogMel(channels=4, **RUNNING, **options)


def resnet1d(**options):
    return ResNet1d(channels=4, **RUNNING, **options)


def built(build, **options):
    torch.manual_seed(0)
    frontend = build(**options)
    for name, tensor in frontend.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.5)
    return frontend.eval()


def clip_of(build, frames, over=0):
    if build in (linear, resnet):
        return torch.randint(256, (frames, PIXELS, PIXELS), dtype=torch.uint8)
    loudness = torch.linspace(0.01, 1, frames * FRAME + over)
    return torch.randn(frames * FRAME + over) * loudness + 0.1


def whole(frontend, clip):
    with torch.no_grad():
        return frontend(clip[None], torch.tensor([len(clip)]))[0][0]


def in_pieces(stream, clip, rng, longest):
    features = []
    while len(clip):
        count = rng.randint(0, longest)
        features.append(stream(clip[:count]))
        clip = clip[count:]
    return torch.cat([*features, stream.finish()])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("build", [linear, resnet, logmel, resnet1d])
def test_a_clip_in_any_pieces_has_the_features_of_the_whole(build, rate):
    frontend, rng = built(build, feature_rate=rate), random.Random(1)
    longest = 9 if build in (linear, resnet) else 9 * FRAME
    for frames in (1, 2, 3, 8, 31):
        clip = clip_of(build, frames, over=77)
        found = in_pieces(frontend.stream(), clip, rng, longest)
        torch.testing.assert_close(found, whole(frontend, clip), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "rate", "late"),
    [
        (linear, "frame", 1),
        (linear, "tubelet", 0),
        (resnet, "frame", 2),
        (resnet, "tubelet", 1),
        (logmel, "frame", 4),
        (logmel, "tubelet", 2),
        (resnet1d, "frame", 1),
        (resnet1d, "tubelet", 1),
    ],
)
def test_a_step_is_there_when_what_it_depends_on_is(build, rate, late):
    stream = built(build, feature_rate=rate).stream()
    features = stream(clip_of(build, 20))
    assert len(features) == (20 if rate == "frame" else 10) - late


@pytest.mark.parametrize("build", [linear, resnet, logmel, resnet1d])
def test_a_stream_holds_no_more_after_a_minute_than_after_a_second(build):
    stream = built(build).stream()
    held = []
    for _ in range(60):
        stream(clip_of(build, 25))
        bounded = getattr(stream, "bounded", stream)
        held.append(bounded._held.untyped_storage().nbytes())
    assert held[-1] == held[1]


def test_sound_without_running_normalization_cannot_stream():
    with pytest.raises(ConfigError, match="normalises over the whole clip"):
        LogMel(channels=4).eval().stream()
    with pytest.raises(ConfigError, match="running"):
        ResNet1d(channels=4).eval().stream()


def test_sound_that_is_taken_as_it_is_streams():
    frontend, clip = built(lambda: ResNet1d(channels=4, waveform_normalization="none")), clip_of(resnet1d, 9)
    found = in_pieces(frontend.stream(), clip, random.Random(2), 2000)
    torch.testing.assert_close(found, whole(frontend, clip), atol=1e-5, rtol=1e-5)


def test_a_stream_says_what_it_cannot_read():
    stream = built(logmel).stream()
    with pytest.raises(InputError, match="cannot read"):
        stream(torch.zeros(1, 640))
    with pytest.raises(InputError, match="not finite"):
        stream(torch.full((640,), torch.nan))
    stream.finish()
    with pytest.raises(InputError, match="finished"):
        stream(torch.zeros(640))
    with pytest.raises(InputError, match="evaluation"):
        built(linear).train().stream()(clip_of(linear, 2))


def test_nothing_at_all_has_no_features():
    for build in (linear, logmel):
        frontend = built(build)
        assert frontend.stream().finish().shape == (0, frontend.output_size())
