"""Text files of others: tables, lists and transcripts, whatever has written them, read as lines of Unicode.

UTF-8 with or without byte order mark, and UTF-16 with one (Excel's "Unicode text"). What is neither, and characters
that no text has, are errors that name file, line and character: a control character shows in no editor, and would
become part of a word.
"""

import codecs
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from espnet_vivit.errors import DataError

_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_LINE_END = re.compile("\r\n|\r|\n")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffd]")
# What is not seen and says nothing: zero-width space, word joiner, byte order mark, soft hyphen, marks of direction.
# The joiners U+200C and U+200D stay: Persian, Indic scripts and Emoji are spelt with them.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, its lines ended by \\n. Raises DataError, which names the file, and the line where known."""
    return "\n".join(read_lines(path))


def read_lines(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a file without their ends, one at a time. Raises DataError as `read_text` does."""
    if Path(path).is_fifo():  # nobody may ever write into it
        raise DataError(f"{path} is a pipe", expected="a text file")
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
            file.seek(len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
            wide = encoding in ("utf-16", "utf-32")
            number = 0
            for content in (file.read(),) if wide else file:
                for line in _lines_of(content, path, number + 1, encoding if wide else "utf-8"):
                    number += 1
                    _check_characters(line, path, number)
                    yield line
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})", fix="Check that it exists and may be read.") from None


def has_mark(path: str | os.PathLike) -> bool:
    """Whether a file begins with a byte order mark. False also for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError:
        return False
    return any(head.startswith(mark) for mark, _ in _MARKS)


def visible(text: str) -> str:
    """`text` composed (NFC) and without characters that are not seen and say nothing, which set equal words apart."""
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def named(text: str) -> str:
    """`text` for a message: what is not seen is written out, U+FEFF ZERO WIDTH NO-BREAK SPACE."""
    return "".join(
        letter if letter.isprintable() and unicodedata.category(letter) != "Cf" else f"<{character_name(letter)}>"
        for letter in text
    )


def character_name(letter: str) -> str:
    return f"U+{ord(letter):04X} {unicodedata.name(letter, 'control character')}".replace(
        "U+0009 control character", "tab"
    )


def _lines_of(content: bytes, path: str | os.PathLike, number: int, encoding: str) -> list[str]:
    """A line, or several: of an old Macintosh, whose lines end by \\r, and of UTF-16, which is read as a whole."""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        kind = "UTF-8" if encoding == "utf-8" else f"the {encoding.upper()} that its byte order mark says"
        where = "" if encoding != "utf-8" else f", line {number}"
        found = content[error.start : error.start + 1].hex() + (_perhaps(content, error.start) if where else "")
        raise DataError(
            f"{path} is not {kind}{where} ({error.reason})", found=f"byte 0x{found}",
            fix="Save it as UTF-8.",
        ) from None  # fmt: skip
    if encoding == "utf-8" and "\r" not in text:
        return [text.removesuffix("\n")]
    lines = _LINE_END.split(text)
    return lines[:-1] if not lines[-1] else lines


def _perhaps(content: bytes, position: int) -> str:
    letter = content[position : position + 1].decode("cp1252", errors="ignore")
    return f", in Windows-1252 {letter!r}" if letter else ""


def _check_characters(line: str, path: str | os.PathLike, number: int) -> None:
    odd = _CONTROL.search(line)
    if odd is None:
        return
    fix = "Remove it, or save the file as UTF-8 again"
    if odd[0] == "\0":
        fix = "Is it UTF-16 without a byte order mark, or no text? Save it as UTF-8."
    elif odd[0] == "\ufffd":
        fix = "It stands where another program could not read a letter: put the letter back"
    found = f"{character_name(odd[0])}, as character {odd.start() + 1}"
    raise DataError(f"{path}, line {number} has a character that no text has", found=found, fix=fix)
