"""The tubelet embedding against the library's own Conv3d."""

import copy

import numpy as np
import pytest
import torch
from transformers import VivitConfig, VivitImageProcessor
from transformers.models.vivit.modeling_vivit import VivitTubeletEmbeddings

from espnet_vivit.frontend.vivit.embedding import NORMALIZATIONS, ConvStem, embed_tubelets

SCENIC = NORMALIZATIONS["scenic"]
FRAMES, HEIGHT, WIDTH = 6, 16, 24
TOLERANCE = 1e-5


@pytest.fixture
def library():
    config = VivitConfig(image_size=[HEIGHT, WIDTH], num_frames=FRAMES, tubelet_size=[2, 8, 8], hidden_size=12)
    return VivitTubeletEmbeddings(config)


def raw(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, channels, FRAMES, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def by_library(library, frames):
    """`frames` (W, C, n, H, W') float; the library wants (B, T, C, H, W) in RGB."""
    return library(frames.expand(-1, 3, -1, -1, -1).transpose(1, 2))


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "RGB"])
def test_float_frames_equal_the_librarys_convolution(library, channels):
    frames = torch.randn(2, channels, FRAMES, HEIGHT, WIDTH)
    tokens = embed_tubelets(frames, library.projection, SCENIC)
    assert tokens.shape == (2, 3 * 2 * 3, 12)
    torch.testing.assert_close(tokens, by_library(library, frames), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "RGB"])
@pytest.mark.parametrize(("name", "low", "high"), [("scenic", -1, 1), ("huggingface", -3, 1)])
def test_uint8_equals_normalising_first(library, channels, name, low, high):
    frames = raw(channels)
    normalised = frames.float() / 255 * (high - low) + low
    tokens = embed_tubelets(frames, library.projection, NORMALIZATIONS[name])
    torch.testing.assert_close(tokens, by_library(library, normalised), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("name", "do_normalize"), [("scenic", False), ("huggingface", True)])
def test_the_normalisations_are_those_of_the_librarys_processor(name, do_normalize):
    """Its default gives [-3, 1]; without its second normalisation, scenic's [-1, 1]."""
    processor = VivitImageProcessor(do_resize=False, do_center_crop=False, do_normalize=do_normalize)
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    frames[0, 0, 0], frames[0, 0, 1] = 0, 255
    by_processor = processor(list(frames), return_tensors="np")["pixel_values"][0]  # (T, C, H, W)
    scale, shift = NORMALIZATIONS[name]
    np.testing.assert_allclose(frames.transpose(0, 3, 1, 2) * scale + shift, by_processor, atol=1e-5)


@pytest.mark.parametrize(
    "frames", [torch.randn(2, 1, FRAMES, HEIGHT, WIDTH), raw(1), raw(3)], ids=["gray", "u8", "rgb"]
)
def test_gradients_equal_the_librarys(library, frames):
    scale, shift = SCENIC if frames.dtype == torch.uint8 else (1.0, 0.0)
    direction = torch.randn(2, 18, 12)
    parameters = (library.projection.weight, library.projection.bias)
    ours = torch.autograd.grad((embed_tubelets(frames, library.projection, SCENIC) * direction).sum(), parameters)
    theirs = torch.autograd.grad((by_library(library, frames * scale + shift) * direction).sum(), parameters)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_gradients_of_the_pixels_equal_the_librarys(library):
    gray = torch.randn(1, 1, FRAMES, HEIGHT, WIDTH, requires_grad=True)
    direction = torch.randn(1, 18, 12)
    (ours,) = torch.autograd.grad((embed_tubelets(gray, library.projection, SCENIC) * direction).sum(), gray)
    (theirs,) = torch.autograd.grad((by_library(library, gray) * direction).sum(), gray)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [torch.randn(1, 1, FRAMES, HEIGHT, WIDTH), raw(1)], ids=["float", "uint8"])
def test_the_stored_parameters_stay_those_of_the_checkpoint(library, frames):
    before = {name: value.clone() for name, value in library.state_dict().items()}
    embed_tubelets(frames, library.projection, SCENIC).sum().backward()
    after = library.state_dict()
    assert library.projection.weight.shape == (12, 3, 2, 8, 8)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tower_of_one_channel_is_not_summed():
    config = VivitConfig(image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=12, num_channels=1)
    library = VivitTubeletEmbeddings(config)
    frames = torch.randn(2, 1, 4, 16, 16)
    tokens = embed_tubelets(frames, library.projection, SCENIC)
    torch.testing.assert_close(tokens, library(frames.transpose(1, 2)), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("name", ["scenic", "huggingface"])
def test_in_bfloat16_raw_gray_is_as_exact_as_normalised_color_in_the_library(library, how, name):
    """Scale and shift folded into rounded weights must not cost what they save: bright pixels would multiply errors."""
    scale, shift = NORMALIZATIONS[name]
    frames = raw(1)
    normalised = frames * scale + shift
    expected = by_library(library, normalised)
    half = copy.deepcopy(library).bfloat16() if how == "weights" else library
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        ours = embed_tubelets(frames, half.projection, (scale, shift))
        theirs = by_library(half, normalised.to(half.projection.weight.dtype))
    error, their_error = ((found.float() - expected).norm() / expected.norm() for found in (ours, theirs))
    assert ours.dtype == torch.bfloat16
    assert error < 1.5 * their_error, f"{error:.1e} and the library {their_error:.1e}"
    assert error < 6e-3


def test_the_convolutional_stem_is_convolutions_norms_and_activations_in_turn():
    """Oracle: torch's own layers, one after the other, on each frame by itself between the first and the last."""
    torch.manual_seed(0)
    stem = ConvStem(64, (8, 8)).eval()
    windows = torch.randn(2, 1, 4, 16, 16)
    moving = stem.motion(windows)
    frames = []
    for frame in moving.unbind(2):
        for conv, norm in zip((torch.nn.Identity(), *stem.convs), stem.norms, strict=True):
            frame = torch.nn.Sequential(conv, norm, torch.nn.SiLU())(frame)
        frames.append(frame)
    expected = stem.join(torch.stack(frames, dim=2)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(stem(windows), expected, atol=TOLERANCE, rtol=TOLERANCE)
