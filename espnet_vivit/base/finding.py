"""One line of a report of checks: what was looked at, what was found, and what to do about it."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True)
class Finding:
    """`state`: OK, or another word of the report; `fix` says what to do and is empty where there is nothing to do."""

    state: str
    name: str
    found: str
    fix: str = ""
