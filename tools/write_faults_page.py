"""Write docs/faults.md: run every fault of tests/faults and count what it came to.

    PYTHONPATH=. python tools/write_faults_page.py

It takes some minutes. The exit status is 1 if a fault ended in a traceback, a hang or a silent loss; those are printed.
"""

import logging
import platform
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.campaign import COUNTED, NAMED, RIGHT, UNTOLD, Outcomes, run_all  # noqa: E402
from tests.faults.kinds import KINDS  # noqa: E402

PAGE = ROOT / "docs" / "faults.md"
COLUMNS = (RIGHT, NAMED, COUNTED, UNTOLD)
HEAD = """# Injected faults

<!-- Written by tools/write_faults_page.py, which runs all of them. -->

What happens when something is wrong with a configuration, a list, a file of weights, a video or a disk. Each fault is
drawn from a seed and put into an otherwise good input; `tests/faults` holds the generators, and `make slow` runs them.
It has to end in one of these ways:

- **right**: the result is what it would have been, or the value is one that the option can have;
- **named error**: an error of this package, which says what was found and, mostly, what to do;
- **counted**: what is lost is counted or said in the result;
- **the file does not tell**: a sound or video whose format states no length, so that nobody can know what is missing.

Anything else is a failure: an error of another class, more than 30 seconds without an end, a loss without a word.

"""


def page(outcomes: Mapping[str, Outcomes]) -> str:
    lines = ["| kind | faults | " + " | ".join(COLUMNS) + " | failures |", "|---|" + "---:|" * (len(COLUMNS) + 2)]
    total = Outcomes()
    for kind, one in outcomes.items():
        lines.append(_row(kind, one))
        total.counts.update(one.counts)
        total.failures += one.failures
        total.seconds += one.seconds
    lines.append(_row("all", total))
    python = platform.python_version()
    return HEAD + "\n".join(lines) + f"\n\n{total.seconds:.0f} s in one process, Python {python}.\n"


def _row(kind: str, one: Outcomes) -> str:
    counts = [one.counts[column] for column in COLUMNS]
    return f"| {kind} | " + " | ".join(map(str, [sum(counts) + len(one.failures), *counts, len(one.failures)])) + " |"


def main() -> int:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    outcomes = {}
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            outcomes[name] = run_all(kind, Path(folder))
        sys.stdout.write(f"{_row(name, outcomes[name])} {outcomes[name].seconds:.0f} s\n")
        sys.stdout.writelines(f"    {failure}\n" for failure in outcomes[name].failures)
    PAGE.write_text(page(outcomes), encoding="utf-8")
    return int(any(one.failures for one in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
