"""The parser of our commands: argparse's, which also says what a misspelt option may have been meant to be."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn


class CommandParser(argparse.ArgumentParser):
    """`CommandParser(...)` as argparse's; an option that does not exist is named first, with the nearest one."""

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
            near = difflib.get_close_matches(name, known, n=1)
            super().error(
                f"no option {name}: " + (f"did you mean {near[0]}?" if near else "--help lists those there are")
            )
        super().error(message)

    def _options(self) -> Iterator[str]:
        """Of this command, and of its commands."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from (option for inner in parser._actions for option in inner.option_strings)
