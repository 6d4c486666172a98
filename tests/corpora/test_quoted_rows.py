"""Quotes in tables: what a spreadsheet means by them, and what they are where nobody quotes."""

import csv
import io

import pytest

from espnet_vivit.corpora.quoted_rows import rows


def fields(text):
    return [row for _, row in rows(text.split("\n"))]


FIELDS = [["video", "text", "split"], ["a", 'bin "blue", at l', "x"], ["b", "two\nlines", "y"], ["c", '"', "z"]]


def test_what_the_csv_module_writes_as_excel_does_comes_back():
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n").writerows(FIELDS)
    assert fields(written.getvalue()) == FIELDS


def test_a_line_break_in_any_column_belongs_to_its_field():
    for column in range(3):
        row = ["a", "b", "c"]
        row[column] = "one\n\ntwo\nthree"
        written = io.StringIO()
        csv.writer(written, delimiter="\t", lineterminator="\n").writerows([FIELDS[0], row, ["d", "e", "f"]])
        assert fields(written.getvalue()) == [FIELDS[0], row, ["d", "e", "f"]]


@pytest.mark.parametrize(
    "text",
    ['"hello', 'hello"', 'say "hello"', '"a" and "b"', '"', 'he said "', '"She is," he said, "gone"', '5" disk'],
)
def test_a_quote_in_a_text_is_a_character_and_swallows_no_line(text):
    table = f"video\ttext\na\t{text}\nb\tnext\nc\tsecond" + ' "closed"\n' + 'd\tends"'
    expected = [["video", "text"], ["a", text], ["b", "next"], ["c", 'second "closed"'], ["d", 'ends"']]
    assert fields(table) == expected


def test_an_open_quote_before_rows_that_are_short_of_columns_swallows_none_of_them():
    assert fields('v\tt\ts\na\t"open\nb\tend"\nc\tx\ty') == [
        ["v", "t", "s"],
        ["a", '"open'],
        ["b", 'end"'],
        ["c", "x", "y"],
    ]


def test_rows_are_known_by_their_first_line():
    assert [number for number, _ in rows(["v\tt", "", "a\tb", 'c\t"d', 'e"', "f\tg"])] == [1, 3, 4, 6]


def test_a_quote_that_nothing_closes_is_looked_for_in_few_lines():
    read = []
    lines = (read.append(n) or line for n, line in enumerate(["v\tt", 'a\t"open', *["x"] * 1000]))
    found = rows(lines)
    next(found)
    assert next(found) == (2, ["a", '"open'])
    assert len(read) < 100


def test_a_row_with_a_field_too_few_does_not_change_what_a_row_is():
    table = 'video\ttext\tsplit\na\tb\nx\t"one\ntwo"\tz'
    assert fields(table) == [["video", "text", "split"], ["a", "b"], ["x", "one\ntwo", "z"]]
