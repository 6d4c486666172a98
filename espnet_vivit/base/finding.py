"""The lines of a report of checks: what was checked, what was found, and what to do about it."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True)
class Finding:
    """The result of one check. `state` is OK or another word of the report; `fix` says what to do and is empty where
    nothing needs doing.
    """

    state: str
    name: str
    found: str
    fix: str = ""
