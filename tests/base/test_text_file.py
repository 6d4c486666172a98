"""Texts as other programs write them: encodings, line ends, and characters that nobody sees."""

import codecs

import pytest

from espnet_vivit.base.text_file import has_mark, named, read_lines, read_text, visible
from espnet_vivit.errors import DataError

WORDS = "bin blau é\nzwei 数\n"
LINES = ["bin blau é", "zwei 数"]


@pytest.mark.parametrize(
    ("content", "marked"),
    [
        (WORDS.encode(), False),
        (WORDS.encode().rstrip(b"\n"), False),
        (WORDS.encode("utf-8-sig"), True),
        (WORDS.encode("utf-16"), True),
        (codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"), True),
        (WORDS.encode("utf-32"), True),
        (WORDS.replace("\n", "\r\n").encode(), False),
        (WORDS.replace("\n", "\r\n").encode("utf-16"), True),
        (WORDS.replace("\n", "\r").encode(), False),
    ],
    ids=["UTF-8", "no last line end", "BOM", "UTF-16", "UTF-16 BE", "UTF-32", "CRLF", "UTF-16 CRLF", "CR"],
)
def test_the_same_lines_whoever_has_written_them(content, marked, tmp_path):
    (tmp_path / "t.txt").write_bytes(content)
    assert list(read_lines(tmp_path / "t.txt")) == LINES
    assert read_text(tmp_path / "t.txt") == "\n".join(LINES)
    assert has_mark(tmp_path / "t.txt") == marked


def test_empty_lines_are_lines_and_an_empty_file_has_none(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"a\n\n\nb\n\n")
    assert list(read_lines(tmp_path / "t.txt")) == ["a", "", "", "b", ""]
    (tmp_path / "t.txt").write_bytes(b"")
    assert list(read_lines(tmp_path / "t.txt")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nbin caf\u00e9\n".encode("cp1252"), r"not UTF-8, line 2 .*found byte 0xe9, in Windows-1252 'é'.*as UTF-8"),
        (b"a\n\xff\n", "not UTF-8, line 2"),
        (b"\xff\xfea", "not the UTF-16 that its byte order mark says"),
        ("a\nb".encode("utf-16-le"), r"line 1 .*U\+0000 control character, as character 2.*Is it UTF-16 without"),
        (b"a\nb\x07c", r"line 2 has a character that no text has: found U\+0007 control character, as char"),
        (b"a\x0bb", r"U\+000B"),
        ("a\u2028b".encode(), r"U\+2028 LINE SEPARATOR"),
        ("a\x85b".encode(), r"U\+0085"),
        ("caf\ufffd".encode(), r"U\+FFFD REPLACEMENT CHARACTER.*could not read a letter"),
    ],
    ids=["cp1252", "no encoding", "half UTF-16", "UTF-16 unmarked", "bell", "VT", "line separator", "NEL", "replaced"],
)
def test_what_is_no_text_is_named_with_its_line(content, message, tmp_path):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.txt.*{message}"):
        read_text(tmp_path / "t.txt")


@pytest.mark.parametrize("name", ["absent.txt", "folder"])
def test_no_file_is_named(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=rf"cannot read .*{name}"):
        read_text(tmp_path / name)


def test_what_nobody_sees_sets_no_words_apart_but_joiners_are_spelling():
    assert visible("\ufeffcafe\u0301 a\u200bb so\u00adft \u200fx\u2069") == "café ab soft x"
    assert visible("می\u200cخواهم") == "می\u200cخواهم"


def test_an_invisible_character_is_written_out_in_messages():
    assert named("\ufeffa\tb") == "<U+FEFF ZERO WIDTH NO-BREAK SPACE>a<tab>b"
    assert named("é 数") == "é 数"
