"""Rows of a tab-separated table, with fields in quotes as spreadsheets write them.

Excel, Google Sheets and pandas put a field with a quote or a line break in it between quotes, and double the quotes
inside. Other tables, Common Voice's among them, know no quoting, and their texts begin or end with quotes. A field is
therefore quoted only if its first and last character are quotes and all between them come in twos; a line break belongs
to a field only if a quote that opens a line's last field closes the first field of a line behind it, which has no row
of its own between them. Any other quote is a character.
"""

import re
from collections.abc import Iterable, Iterator

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_OPEN = re.compile(r'"(?:[^"]|"")*')
_MOST_LINES = 50  # of one field


def rows(lines: Iterable[str], columns: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """(number of the row's first line, its fields) of each line that is not empty.

    columns: of the table; None: as many as the first row has.
    """
    source = enumerate(lines, 1)
    waiting: list[tuple[int, str]] = []
    while (item := waiting.pop(0) if waiting else next(source, None)) is not None:
        number, line = item
        fields = line.split("\t")
        while columns is not None and _opens(fields[-1]):
            joined = _joined(fields, columns, waiting, source)
            if joined is fields:
                break
            fields = joined
        if columns is None and line.strip():
            columns = len(fields)
        if line.strip():
            yield number, [_unquoted(field) for field in fields]


def _joined(
    fields: list[str], columns: int, waiting: list[tuple[int, str]], source: Iterator[tuple[int, str]]
) -> list[str]:
    """`fields` with the lines that its last, open field goes on in; what was only looked at is left in `waiting`."""
    text = fields[-1]
    for ahead in range(_MOST_LINES):
        if ahead == len(waiting):
            item = next(source, None)
            if item is None:
                return fields
            waiting.append(item)
        first, *others = waiting[ahead][1].split("\t")
        text += "\n" + first
        row = [*fields[:-1], text, *others]
        if _QUOTED.fullmatch(text) and len(row) <= columns and (len(others) + 1 < columns or len(fields) == 1):
            del waiting[: ahead + 1]
            return row
        if others or not _OPEN.fullmatch(text):  # a row of its own: the quote was a character
            return fields
    return fields


def _opens(field: str) -> bool:
    return field.startswith('"') and _QUOTED.fullmatch(field) is None and _OPEN.fullmatch(field) is not None


def _unquoted(field: str) -> str:
    inside = _QUOTED.fullmatch(field.strip())
    return inside[1].replace('""', '"') if inside else field
