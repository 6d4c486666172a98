"""How the commands under `bin/` end: 0, or 1 with the error's own sentence and no traceback.

Errors of ours say what to do, so a traceback above them only hides the sentence. Anything else is a defect of ours and
keeps its traceback.
"""

import sys
from collections.abc import Callable, Sequence

from espnet_vivit.errors import EspnetVivitError


def exit_status(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run `main(argv)`; print one of our errors as `error: <sentence>` on stderr and return 1."""
    try:
        main(argv)
    except EspnetVivitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
