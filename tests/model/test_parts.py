"""Parts built by name: every misspelt name and option is an error that suggests the right one."""

import inspect

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.model.parts import (
    AUDIO_ENCODERS,
    DECODERS,
    ENCODERS,
    VISION_ENCODERS,
    _load,
    build_checked,
    build_part,
)

TABLES = {"vision": VISION_ENCODERS, "audio": AUDIO_ENCODERS, "encoder": ENCODERS, "decoder": DECODERS}
EVERY_PART = [(kind, name) for kind, table in TABLES.items() for name in table]


def build(conf, **given):
    return build_part("vision_encoder", "linear", VISION_ENCODERS, conf, **given)


def test_a_part_is_built_from_its_conf_and_from_what_the_model_decides():
    part = build({"image_size": 12, "output_dim": 3}, feature_rate="tubelet")
    assert type(part) is LinearFrontend
    assert (part.image_size, part.output_size(), part.feature_rate) == (12, 3, "tubelet")


def test_without_a_conf_defaults_hold():
    assert build(None).image_size == 88


@pytest.mark.parametrize(("kind", "name"), EVERY_PART)
def test_every_listed_part_exists_and_swallows_no_options(kind, name):
    parameters = inspect.signature(_load(TABLES[kind][name])).parameters.values()
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def test_a_misspelt_part_is_named():
    with pytest.raises(
        ConfigError, match=r"unknown vision_encoder: found 'lineer'; expected one of .*linear, resnet, viv"
    ):
        build_part("vision_encoder", "lineer", VISION_ENCODERS, {})


def test_a_misspelt_option_is_named_with_its_part():
    message = (
        "unknown option in vision_encoder_conf for vision_encoder: linear: found 'imagesize'.*Did you mean 'image_s"
    )
    with pytest.raises(ConfigError, match=message):
        build({"imagesize": 12})


def test_an_option_that_contradicts_the_model_is_named_with_both_values():
    with pytest.raises(ConfigError, match=r"own feature_rate: found feature_rate='frame' against 'tubelet'.*top level"):
        build({"feature_rate": "frame"}, feature_rate="tubelet")


def test_an_option_that_agrees_with_the_model_is_accepted():
    assert build({"feature_rate": "tubelet"}, feature_rate="tubelet").feature_rate == "tubelet"


def test_the_conf_is_left_as_it_was():
    conf = {"image_size": 12}
    build(conf, feature_rate="frame")
    assert conf == {"image_size": 12}


def test_what_has_no_table_is_checked_alike():
    with pytest.raises(ConfigError, match=r"unknown option in cube_conf: found 'sise'.*Did you mean 'size'"):
        build_checked("cube_conf", lambda *, size: size, {"sise": 3})
    assert build_checked("cube_conf", lambda *, size: size, {"size": 3}) == 3
