"""Values that change with the epoch, as a recipe's YAML writes them: `{1: 0.0, 10: 0.5}`.

A number: the value of each epoch named, straight lines between them, the first before and the last after. A list: that
of the latest epoch named. Epochs count from 1, as ESPnet's do. A plain value holds for all epochs.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from espnet_vivit.base.option_types import is_kind
from espnet_vivit.errors import ConfigError


@dataclass(frozen=True)
class ByEpoch:
    """`value(epoch)`; made by `read_by_epoch`."""

    epochs: tuple[int, ...]
    values: tuple

    def __call__(self, epoch: int) -> Any:
        index = bisect_right(self.epochs, epoch) - 1
        if index < 0:
            return self.values[0]
        if index == len(self.epochs) - 1 or not is_kind(self.values[index], float):
            return self.values[index]
        (begin, end), (first, last) = self.epochs[index : index + 2], self.values[index : index + 2]
        return first + (last - first) * (epoch - begin) / (end - begin)

    def __str__(self) -> str:
        if len(self.epochs) == 1:
            return str(self.values[0])
        return "{" + ", ".join(f"{e}: {v}" for e, v in zip(self.epochs, self.values, strict=True)) + "}"


def read_by_epoch(where: str, option: object) -> ByEpoch:
    """The schedule that `option` describes; `where` names it in errors.

    Raises ConfigError for epochs that are no whole numbers from 1, rising, a mixture of numbers and lists, or values
    that are neither.
    """
    if not isinstance(option, Mapping):
        if _is_list(option):
            return ByEpoch((1,), (tuple(option),))
        if not is_kind(option, float):
            expected = "a value, or a schedule by epoch such as {1: 0.0, 10: 0.5}"
            raise ConfigError(where, found=repr(option), expected=expected)
        return ByEpoch((1,), (option,))
    epochs, values = list(option), list(option.values())
    rising = all(isinstance(epoch, int) and epoch >= 1 for epoch in epochs) and all(a < b for a, b in pairwise(epochs))
    alike = all(is_kind(value, float) for value in values) or all(map(_is_list, values))
    if not option or not rising or not alike:
        raise ConfigError(
            f"{where} is no schedule by epoch",
            found=dict(option),
            expected="rising epochs from 1, each with a value of one kind, such as {1: 0.0, 10: 0.5}",
        )
    return ByEpoch(tuple(epochs), tuple(tuple(value) if _is_list(value) else value for value in values))


def _is_list(value: object) -> TypeGuard[Sequence]:
    return isinstance(value, Sequence) and not isinstance(value, str)
