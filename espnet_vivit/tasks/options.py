"""What a recipe's YAML and command line may say, and what is said about everything else.

In: ESPnet's parser. Out: the same parser with our options, without those that cannot work here, and with errors that
name the wrong key and the nearest right one. ESPnet takes YAML values as they are, unchecked against an option's
choices, and accepts and ignores its own `adapter`.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType
from typing import Any, NoReturn

from espnet_vivit.base.config_file import read_config
from espnet_vivit.base.option_types import is_kind, words_for
from espnet_vivit.errors import ConfigError, nearest_name, unknown_name
from espnet_vivit.espnet_compat import (
    ClassChoices,
    ConfigArgumentParser,
    NestedDictAction,
    int_or_none,
    str2bool,
    str_or_none,
)
from espnet_vivit.tasks.presets import configuration_file

_PREPROCESSOR = "Noise is mixed at a chosen SNR by preprocessor_conf: {noise_scp: …, noise_snr_db: […], noise_prob: …}"
_ADAPTER = "ESPnet's adapters do not fit our towers: name tower_adapters instead, as {vision_encoder: {type: lora}}"
REFUSED = {  # options of ESPnet's recognition task that cannot work here -> what to do instead
    "input_size": "The frontends know their own sizes: leave it out",
    "frontend": "Name vision_encoder (vivit, resnet, linear) and audio_encoder (resnet1d, logmel) instead",
    "frontend_conf": "Put the options into vision_encoder_conf or audio_encoder_conf",
    "specaug": "It masks spectrograms; the video's time masks are in preprocessor_conf: {time_masks_per_s: …}",
    "specaug_conf": "It masks spectrograms; the video's time masks are in preprocessor_conf: {time_masks_per_s: …}",
    "normalize": "Each visual preset normalises its own input: leave it out",
    "normalize_conf": "Each visual preset normalises its own input: leave it out",
    "adapter": _ADAPTER,
    "use_adapter": _ADAPTER,
    "adapter_conf": _ADAPTER,
    "save_strategy": _ADAPTER,
    "model": "There is one model class here; its options are in model_conf",
    "noise_scp": _PREPROCESSOR,
    "noise_apply_prob": _PREPROCESSOR,
    "noise_db_range": _PREPROCESSOR,
    "multi_task_dataset": "Give the lists of one data directory in train_data_path_and_name_and_type",
}
_WITHDRAWN = ("adapter", "use_adapter", "adapter_conf", "save_strategy", "multi_task_dataset")  # but ESPnet reads them
_ITERATORS = ("sequence",)  # chunks would cut video, sound and text at the same number of elements


class PartChoices(ClassChoices):
    """`--<kind>` and `--<kind>_conf` for one of the tables in model/parts.py; a part is imported when it is built."""

    def __init__(self, kind: str, table: Mapping[str, str], default: str | None = None):
        super().__init__(kind, {}, default=default, optional=True)
        self.table = table

    def choices(self) -> tuple[str | None, ...]:
        return (*self.table, None)

    def get_class(self, name: str | None) -> Any:
        if name is None:
            return None
        if name not in self.table:
            raise unknown_name(self.name, name, self.table)
        return resolve_name(self.table[name])


class AVSRArgumentParser(ConfigArgumentParser):
    """ESPnet's parser, but errors are ConfigErrors of a sentence, YAML is read as strictly as the command line, and
    `--config` takes the name of a preset."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.add_argument("--config")
        found, others = finder.parse_known_args(args)
        for option in others:
            name = option.partition("=")[0]
            if name.startswith("--") and name[2:] in REFUSED:
                raise refused(name[2:], "on the command line")
        if found.config is not None:
            path = configuration_file(found.config)
            check_config_file(path, self)
            args = ["--config", str(path), *others]
        given, rest = super().parse_known_args(args, namespace)
        for name in [action.dest for action in self._actions if isinstance(action, NestedDictAction)]:
            if getattr(given, name, {}) is None:  # a mapping that the YAML leaves empty
                setattr(given, name, {})
        return given, rest

    def error(self, message: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        near = nearest_name(unknown[0], options) if "unrecognized" in message and unknown else None
        raise ConfigError(message, fix=f"Did you mean {near}?" if near else "See --help.")


def adapt_parser(parser: ConfigArgumentParser) -> ConfigArgumentParser:
    """Turn the parser that ESPnet built into ours, in place."""
    parser.__class__ = AVSRArgumentParser  # ESPnet's factory gives no way to say which class it shall build
    parser.allow_abbrev = False  # `--encoder_con` shall be a typo, not `--encoder_conf`
    for name in _WITHDRAWN:
        _withdraw(parser, name)
    for action in parser._actions:
        if action.dest == "iterator_type":
            action.choices = list(_ITERATORS)
        elif action.dest == "valid_iterator_type":
            action.choices = [*_ITERATORS, None]
    return parser


def _withdraw(parser: argparse.ArgumentParser, name: str) -> None:
    """Take an option away; its default stays in the namespace, where ESPnet's trainer looks for it."""
    for action in [action for action in parser._actions if action.dest == name]:
        parser._actions.remove(action)
        for group in parser._action_groups:
            if action in group._group_actions:
                group._group_actions.remove(action)
        for option in action.option_strings:
            del parser._option_string_actions[option]
        parser.set_defaults(**{name: action.default})


def check_config_file(path: str | Path, parser: argparse.ArgumentParser) -> None:
    """Raise ConfigError for a key of the file that is no option of the parser, or a value that it cannot have."""
    check_config(read_config(path), parser, where=f"in {path}")


def check_config(config: Mapping, parser: argparse.ArgumentParser, *, where: str) -> None:
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    for key, value in config.items():
        if key in REFUSED:
            raise refused(key, where)
        if key not in actions:
            raise unknown_name(f"key {where}", key, actions)
        action = actions[key]
        if isinstance(action, NestedDictAction) and not isinstance(value, dict | None):
            raise ConfigError(f"{key} {where}", found=repr(value), expected="a mapping such as {name: value}")
        if action.choices is not None:
            if isinstance(value, str) and callable(action.type):
                value = action.type(value)
            if value not in action.choices and not (value is None and action.default is None):
                raise unknown_name(f"{key} {where}", value, [name for name in action.choices if name is not None])
        else:
            _check_kind(action, value, where=where)


def refused(key: str, where: str) -> ConfigError:
    """The error for one of ESPnet's options that cannot work here."""
    return ConfigError(f"{key} {where} has no meaning for this task", fix=REFUSED[key])


def add_choice(group: Any, name: str, choices: Iterable[str], *, default: str | None = None, help_text: str) -> None:
    """An option whose value is one of `choices`, or none."""
    group.add_argument(f"--{name}", type=str_or_none, default=default, choices=[*choices, None], help=help_text)


_KINDS = {  # the type of an option of the parser -> the kinds that YAML may give for it
    int: (int,),
    int_or_none: (int, NoneType),
    float: (float,),
    str2bool: (bool,),
    str: (str,),
    str_or_none: (str, NoneType),
}
_ONE_OR_MORE = ("keep_nbest_models",)  # ESPnet's trainer takes a number as well as a list of them
_TRUE = ("true", "yes", "y", "on", "t", "1")  # what str2bool takes for it
_OF_ONE_RUN = {  # what ends without a trained model -> what it is for
    "collect_stats": "writes the shapes of the data",
    "dry_run": "builds everything",
}


def _check_kind(action: argparse.Action, value: Any, *, where: str) -> None:
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
    if action.dest in _ONE_OR_MORE and (isinstance(value, str) or is_kind(value, int)):
        return
    if not isinstance(value, list | tuple):
        example = "[1, 2]" if action.type is int else "[a, b]"
        raise ConfigError(f"{action.dest} {where}", found=repr(value), expected=f"a list such as {example}")
    for each in value:
        _check_one(action, each, f"{action.dest} {where} holds")


def _check_one(action: argparse.Action, value: Any, what: str) -> None:
    kinds = _KINDS.get(action.type)
    if kinds is None or (value is None and action.default is None) or any(is_kind(value, kind) for kind in kinds):
        return
    fix = "Write it in quotes." if str in kinds and isinstance(value, int | float) else None
    expected = words_for([kind for kind in kinds if kind is not NoneType], text="text")
    expected += ", or null" if NoneType in kinds else ""
    raise ConfigError(what, found=repr(value), expected=expected, fix=fix)
