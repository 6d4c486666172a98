"""Faults by kind, and what each came to: right, an error of ours that names it, or counted; never anything else.

A kind is a function of a folder that yields faults, and the input AS_IT_IS, which has to be right: else every fault
would be named for another reason. A fault's `run` returns RIGHT where the result is what it would be without the fault,
COUNTED where what is lost is counted and said, UNTOLD where the file states no length to miss it by; an error of this
package makes it NAMED. An error of another class, a result that is none of these, or more than `LIMIT_S` seconds is a
failure.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from espnet_vivit.errors import EspnetVivitError

RIGHT, NAMED, COUNTED, UNTOLD = "right", "named error", "counted", "the file does not tell"
AS_IT_IS = "as it is"
LIMIT_S = 30.0


@dataclass(frozen=True)
class Fault:
    name: str
    run: Callable[[], str]


Kind = Callable[[Path], Iterator[Fault]]


@dataclass
class Outcomes:
    """What the faults of one kind came to: how many of each outcome, and the failures in words."""

    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


class SilentLossError(AssertionError):
    """A fault was taken for right."""


class _TooSlowError(BaseException):
    """Not an Exception, so that nothing on the way takes it for a broken file."""


def run_all(kind: Kind, folder: Path) -> Outcomes:
    outcomes, begun_s = Outcomes(), time.perf_counter()
    for fault in kind(folder):
        try:
            with _time_limit():
                outcomes.counts[outcome_of(fault)] += 1
        except (Exception, SystemExit, _TooSlowError) as error:
            outcomes.failures.append(f"{fault.name}: {type(error).__name__}: {str(error)[:300]}")
    outcomes.seconds = time.perf_counter() - begun_s
    return outcomes


def outcome_of(fault: Fault) -> str:
    try:
        outcome = fault.run()
    except EspnetVivitError as error:
        if fault.name.endswith(AS_IT_IS) or not str(error).strip():
            raise AssertionError(f"without a fault, or without a word: {error}") from error
        return NAMED
    if fault.name.endswith(AS_IT_IS) and outcome != RIGHT:
        raise AssertionError(f"without a fault it is {outcome}")
    if outcome not in (RIGHT, COUNTED, UNTOLD):
        raise SilentLossError(outcome)
    return outcome


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_):
        raise _TooSlowError(f"no end after {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
