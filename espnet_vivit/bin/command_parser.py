"""How our commands begin and end: argparse's parser that names the nearest option, and the exit status of an error.

Errors of ours say what to do, so a traceback above them only hides the sentence: a command ends with 1 and the
sentence. Anything else is a defect of ours and keeps its traceback.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from espnet_vivit.base.whole_file import ordinary_trouble
from espnet_vivit.errors import EspnetVivitError, nearest_name, unknown_name

EXTRAS = {  # a package that not every installation has -> the extra that brings it
    **dict.fromkeys(("av", "soundfile", "PIL", "cv2", "jinja2"), "media"),
    **dict.fromkeys(("sentencepiece", "jiwer", "tensorboard", "matplotlib"), "recipes"),
}


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


def add_track_options(parser: argparse.ArgumentParser) -> None:
    """`--audio_track` and `--video_track`, of commands that read media files."""
    for kind in ("audio", "video"):
        parser.add_argument(
            f"--{kind}_track",
            type=int,
            help=f"{kind} track of the files, from 1 (default: the one that a player takes)",
        )


def exit_status(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """What `main(argv)` returns (None: 0); 1 after one of our errors, printed on stderr as `error: <sentence>`.

    A package of an extra that is not installed is such an error, too, and so is a disk that is full or a file that may
    not be read.
    """
    try:
        return main(argv) or 0
    except EspnetVivitError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        sentence = ordinary_trouble(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        print(f"error: {error.name} is not installed. Type: pip install 'espnet-vivit[{extra}]'", file=sys.stderr)
    return 1
