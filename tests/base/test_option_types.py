"""Numbers, names and truth values in a YAML are of the kind that the constructor says."""

from collections.abc import Mapping, Sequence

import pytest

from espnet_vivit.base.option_types import check_option_types, check_sizes_and_rates
from espnet_vivit.errors import ConfigError


def part(
    *,
    blocks: int = 1,
    rate: float = 0.1,
    frozen: bool = False,
    pooling: str = "mean",
    width: int | None = None,
    layers: Sequence[int] = (),
    drop: float | Mapping[int, float] = 0.0,
    free=None,
    position: str = None,  # noqa: RUF013
):
    return blocks, rate, frozen, pooling, width, layers, drop, free, position


RIGHT = {
    "blocks": 2,
    "rate": 1,
    "frozen": True,
    "pooling": "max",
    "width": None,
    "layers": [1],
    "drop": {1: 0.1},
    "position": None,
}


def test_what_fits_is_taken_and_what_no_annotation_says_is_left_alone():
    check_option_types("part_conf", RIGHT, part)
    check_option_types("part_conf", {"width": 3, "rate": 0.5, "free": object(), "layers": "x", "drop": "x"}, part)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"blocks": "two"}, "blocks in part_conf: found 'two'; expected a whole number"),
        ({"blocks": 1.5}, "blocks in part_conf: found 1.5; expected a whole number"),
        ({"blocks": True}, "blocks in part_conf: found True; expected a whole number"),
        ({"blocks": None}, "blocks in part_conf: found None; expected a whole number"),
        ({"frozen": "no"}, "frozen in part_conf: found 'no'; expected true or false"),
        ({"pooling": 3}, "pooling in part_conf: found 3; expected a name"),
        ({"width": "big"}, "width in part_conf: found 'big'; expected a whole number or null"),
        ({"rate": "1e-3"}, "rate in part_conf: found '1e-3'; expected a number. YAML takes 1e-3 and '1' for text"),
    ],
)
def test_another_kind_is_an_error_that_names_it(conf, message):
    with pytest.raises(ConfigError) as caught:
        check_option_types("part_conf", conf, part)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"num_blocks": -1}, "num_blocks in part_conf: found -1; expected 1 or more"),
        ({"linear_units": 0}, "linear_units in part_conf: found 0; expected 1 or more"),
        ({"attention_dropout_rate": 1.5}, "attention_dropout_rate in part_conf: found 1.5; expected a share"),
    ],
)
def test_sizes_and_rates_that_no_layer_can_have(conf, message):
    with pytest.raises(ConfigError, match=message):
        check_sizes_and_rates("part_conf", conf)
    check_sizes_and_rates("part_conf", {"num_blocks": 1, "linear_units": 8, "dropout_rate": 0})


def test_heads_must_divide_the_width_that_the_decoder_is_built_with():
    check_sizes_and_rates("decoder_conf", {"attention_heads": 4, "encoder_output_size": 16})
    check_sizes_and_rates("decoder_conf", {"attention_heads": 3})  # of how wide a model is not said
    with pytest.raises(ConfigError, match=r"attention_heads in decoder_conf do not divide .*: found 3 heads for 16"):
        check_sizes_and_rates("decoder_conf", {"attention_heads": 3, "encoder_output_size": 16})
