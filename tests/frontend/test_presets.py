"""Each visual frontend's crop and normalisation."""

import dataclasses

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.presets import RESNET_PRESET, VisualPreset, visual_preset
from espnet_vivit.frontend.resnet import ResNetFrontend


@pytest.mark.parametrize(("height", "crop"), [(96, 88), (48, 44), (100, 92), (1, 1)])
def test_resnet_sees_88_of_96_pixels(height, crop):
    assert visual_preset("resnet", {}).crop_size(height) == crop


@pytest.mark.parametrize(("conf", "crop"), [({}, 88), ({"image_size": 44}, 44), ({"image_size": None}, 88)])
def test_linear_sees_the_size_it_was_built_for(conf, crop):
    assert visual_preset("linear", conf).crop_size(96) == crop


@pytest.mark.parametrize(
    ("conf", "crop"),
    [
        ({}, 224),
        ({"image_size": 96}, 96),
        ({"config": {"image_size": 88}}, 88),
        ({"image_size": 96, "config": {"image_size": 88}}, 96),
        ({"image_size": None, "config": None}, 224),
    ],
)
def test_vivit_sees_the_whole_picture_of_its_configuration(conf, crop):
    assert visual_preset("vivit", conf).crop_size(96) == crop


def test_vivit_from_a_local_folder_sees_the_picture_that_the_folder_states(tmp_path):
    (tmp_path / "config.json").write_text('{"image_size": 96, "num_frames": 32}')
    conf = {"model_name": str(tmp_path)}
    assert visual_preset("vivit", conf).crop_size(96) == 96
    assert visual_preset("vivit", {**conf, "image_size": 64}).crop_size(96) == 64
    assert visual_preset("vivit", {**conf, "pretrained": False}).crop_size(96) == 224
    assert visual_preset("vivit", {"model_name": "google/vivit-b-16x2-kinetics400"}).crop_size(96) == 224


def test_a_picture_need_not_be_square():
    preset = visual_preset("vivit", {"image_size": [48, 96]})
    assert preset.crop == (48, 96) and preset.crop_shape(96) == (48, 96)
    with pytest.raises(ConfigError, match="no square: found 48 x 96 pixels"):
        preset.crop_size(96)
    square = visual_preset("vivit", {"image_size": [96, 96]})
    assert square == visual_preset("vivit", {"image_size": 96}) and square.crop_size(120) == 96


@pytest.mark.parametrize(("name", "black", "white"), [("vivit", -1.0, 1.0), ("resnet", -2.55152, 3.50909)])
def test_the_range_of_normalised_pixels(name, black, white):
    preset = visual_preset(name, {})
    assert (0 - preset.mean) / preset.std == pytest.approx(black, abs=1e-5)
    assert (1 - preset.mean) / preset.std == pytest.approx(white, abs=1e-5)


def test_the_frontends_carry_the_preset_that_preprocessing_is_told():
    assert ResNetFrontend(channels=1).preset == visual_preset("resnet", {})
    assert LinearFrontend(image_size=44, output_dim=2).preset == visual_preset("linear", {"image_size": 44})


def test_a_misspelt_frontend_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"'resnt'.*linear, resnet, vivit.*Did you mean 'resnet'"):
        visual_preset("resnt", {})


@pytest.mark.parametrize(("crop", "ratio"), [(None, None), (88, 0.5)])
def test_a_preset_has_one_crop(crop, ratio):
    with pytest.raises(ConfigError, match="exactly one"):
        VisualPreset(crop=crop, crop_ratio=ratio, mean=0.5, std=0.5)


def test_a_preset_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESNET_PRESET.mean = 0.0
