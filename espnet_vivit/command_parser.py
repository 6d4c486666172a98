"""The parser of our commands: argparse's, which also says what a misspelt option or choice was meant to be."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from espnet_vivit.errors import nearest_name, unknown_name


class CommandParser(argparse.ArgumentParser):
    """`CommandParser(...)` as argparse's; an option that does not exist comes first, with the nearest one."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        known = list(self._options())
        before_end = self._given[: self._given.index("--")] if "--" in self._given else self._given
        for word in before_end:
            name = word.partition("=")[0]
            if not name.startswith("--") or any(option.startswith(name) for option in known):
                continue
            near = nearest_name(name, known)
            super().error(f"no option {name}: " + (f"did you mean {near}?" if near else "--help lists those there are"))
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse for each value of a command or of an option with choices."""
        if action.choices is not None and value not in action.choices:
            kind = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            raise argparse.ArgumentError(action, str(unknown_name(kind, value, map(str, action.choices))))

    def _options(self) -> Iterator[str]:
        """Of this command, and of its commands."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from (option for inner in parser._actions for option in inner.option_strings)
