"""Values of the wrong kind in a recipe's YAML: the constructor's annotations are the schema, as its names are."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real

from espnet_vivit.errors import ConfigError

_AT_LEAST_ONE = ("num_blocks", "linear_units", "attention_heads", "output_size")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", types.NoneType: "null"}


@dataclass(frozen=True)
class Values:
    """The values that one option can have: truth values, whole numbers or numbers between bounds, or some names.

    words: the same for an error; None: made from the bounds. Infinity is a number where `infinite` says so, NaN never.
    """

    kind: type = float
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    infinite: bool = False
    words: str | None = None

    def hold(self, value: object) -> bool:
        """Whether the option can have this value."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if not isinstance(value, Integral if self.kind is int else Real):
            return False
        number = float(value)
        return (
            not math.isnan(number)
            and (self.infinite or not math.isinf(number))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.words is not None:
            return self.words
        if self.choices:
            return " or ".join(self.choices)
        bounds = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        said = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        return ", ".join([_KINDS[self.kind], *said])


def check_option_types(where: str, conf: Mapping, taker: Callable) -> None:
    """Raise ConfigError for an option that `taker` annotates as number, name or truth value, and that is none.

    `where` names `conf` in the error. Options whose annotation says anything else are left to `taker`.
    """
    for name, parameter in inspect.signature(taker).parameters.items():
        union = isinstance(parameter.annotation, types.UnionType)
        wanted = typing.get_args(parameter.annotation) if union else (parameter.annotation,)
        if name not in conf or conf[name] is parameter.default:  # ESPnet annotates `str` where it means `str | None`
            continue
        if not set(wanted) <= _KINDS.keys() or any(_is(conf[name], kind) for kind in wanted):
            continue
        fix = None
        if isinstance(conf[name], str) and {int, float} & set(wanted) and is_number(conf[name]):
            fix = "YAML takes 1e-3 and '1' for text, 1.0e-3 and 1 for numbers"
        expected = " or ".join(_KINDS[kind] for kind in wanted)
        raise ConfigError(f"{name} in {where}", found=repr(conf[name]), expected=expected, fix=fix)


def check_sizes_and_rates(where: str, conf: Mapping) -> None:
    """Raise ConfigError for layers of no size, dropout rates that are no shares, heads that do not divide the width.

    ESPnet's parts take -1 blocks, and their heads end in a bare assert. `conf` may hold the encoder_output_size that a
    decoder is built with.
    """
    for name, value in conf.items():
        if not isinstance(value, int | float):  # where no annotation tells, the part itself judges
            continue
        if name in _AT_LEAST_ONE and value < 1:
            raise ConfigError(f"{name} in {where}", found=value, expected="1 or more")
        if name.endswith("dropout_rate") and not 0 <= value < 1:
            raise ConfigError(f"{name} in {where}", found=value, expected="a share from 0 to below 1")
    heads, width = conf.get("attention_heads"), conf.get("encoder_output_size")
    if isinstance(heads, int) and isinstance(width, int) and width % heads:
        raise ConfigError(
            f"attention_heads in {where} do not divide the encoder's output_size",
            found=f"{heads} heads for {width}",
            expected="a divisor of output_size",
            fix="Leave it out to take the encoder's.",
        )


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def is_number(text: str) -> bool:
    """Whether a text, which YAML takes 1e-3 for, was meant as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
