"""How the commands under `bin/` end: 0, or 1 with the error's own sentence and no traceback.

Errors of ours say what to do, so a traceback above them only hides the sentence. Anything else is a defect of ours and
keeps its traceback.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from espnet_vivit.errors import EspnetVivitError


def exit_status(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run `main(argv)`; print one of our errors as `error: <sentence>` on stderr and return 1."""
    try:
        main(argv)
    except EspnetVivitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` only if the block ends without an error.

    A file that was interrupted half-way can therefore never be taken for a finished one by a later run.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial{os.getpid()}")  # two runs at once do not meet
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write the lines to `path` as UTF-8, all or nothing."""
    with replaced_when_complete(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
