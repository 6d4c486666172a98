"""The values of a YAML against the kinds of the options that they are for.

In: an option of ESPnet's parser, and what a file says for it. Out: nothing, or one error. argparse turns text into an
option's kind and refuses what it cannot turn; a number or a list from a file ESPnet passes on as it is, so that
`max_epoch: 2.5` ends in a TypeError minutes later. Text is left to argparse, as on the command line.
"""

import argparse
from typing import Any

from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import int_or_none, str2bool, str_or_none

_KINDS = {  # an option's type -> (what YAML may give for it, in words)
    int: (int, "a whole number"),
    int_or_none: (int, "a whole number, or null"),
    float: ((int, float), "a number"),
    str2bool: (bool, "true or false"),
    str: (str, "text"),
    str_or_none: (str, "text, or null"),
}
_OR_NULL = (int_or_none, str_or_none)
_ONE_OR_MORE = ("keep_nbest_models",)  # ESPnet's trainer takes a number as well as a list of them
_TRUE = ("true", "yes", "y", "on", "t", "1")  # what str2bool takes for it
_OF_ONE_RUN = {  # what ends without a trained model -> what it is for
    "collect_stats": "writes the shapes of the data",
    "dry_run": "builds everything",
}


def check_value(action: argparse.Action, value: Any, *, where: str) -> None:
    """Raise ConfigError unless `value` is of the kind that `action` takes; `where` names the file in the error.

    Options of other kinds than numbers, texts, truth values and lists of them are left to whoever reads them.
    """
    name = action.dest
    if name in _OF_ONE_RUN and str(value).strip().lower() in _TRUE:
        raise ConfigError(
            f"{name} {where}: it {_OF_ONE_RUN[name]} and trains nothing",
            fix=f"Leave it out, and say --{name} true on the command line of the run that shall do so",
        )
    if value == action.default and type(value) is type(action.default):
        return
    if isinstance(action.nargs, int) or action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction):
        _check_list(action, value, where=where)
    elif not isinstance(value, str) or action.type in (str, str_or_none):
        _check_one(action, value, f"{name} {where}")


def _check_list(action: argparse.Action, value: Any, *, where: str) -> None:
    if action.dest in _ONE_OR_MORE and (isinstance(value, str) or _is(value, int)):
        return
    if not isinstance(value, list | tuple):
        example = "[1, 2]" if action.type is int else "[a, b]"
        raise ConfigError(f"{action.dest} {where}", found=repr(value), expected=f"a list such as {example}")
    for each in value:
        _check_one(action, each, f"{action.dest} {where} holds")


def _check_one(action: argparse.Action, value: Any, what: str) -> None:
    if action.type not in _KINDS or (value is None and (action.type in _OR_NULL or action.default is None)):
        return
    kind, expected = _KINDS[action.type]
    if not _is(value, kind):
        fix = "Write it in quotes." if kind is str and isinstance(value, int | float) else None
        raise ConfigError(what, found=repr(value), expected=expected, fix=fix)


def _is(value: Any, kind: type | tuple) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
