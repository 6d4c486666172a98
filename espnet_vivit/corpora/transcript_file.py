"""The transcript beside a video: bare words, or a file of LRS2 and LRS3; of any other form it is refused by name.

Taken word for word, the times, boxes and tags of a form would be learnt as speech.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from espnet_vivit.base.text_file import read_text
from espnet_vivit.corpora.lrs import TimedText, read_timed_text
from espnet_vivit.corpora.preparing.source_clip import one_line
from espnet_vivit.errors import DataError

_NUMBER = r"\d+(?:\.\d+)?"
_TIMED_LINE = re.compile(rf"(?:\S+\s+)?{_NUMBER}\s+{_NUMBER}\s+\S+|\S+\s+{_NUMBER}\s+{_NUMBER}(?:\s+{_NUMBER})?")
_CUE = re.compile(r"(?:\d+:)?\d+:\d+[.,]?\d*\s*-->\s*(?:\d+:)?\d+:\d+")
_LRS_LINES = ("Conf:", "Ref:", "WORD START END")
_MARKUP = re.compile(r"<(\?xml|!doctype|html|tt\b|trans\b|annotation_document)", re.IGNORECASE)


def read_transcript(path: Path) -> TimedText:
    """The text, and the times of its words where an LRS file has them.

    Raises DataError, which names the file: not readable, empty, or of another form.
    """
    text = read_text(path)
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if lines and lines[0].startswith("Text:"):
        return read_timed_text(path)
    form = next((name for name, fits in _FORMS.items() if lines and fits(lines)), None)
    if form is not None:
        raise DataError(
            f"its transcript {path.name} is {form}", found=repr(lines[0][:60]), expected="the words alone, in one line",
            fix="Write the words into it, or a table transcripts.tsv with the columns video and text",
        )  # fmt: skip
    words = one_line(text)
    if not words:
        raise DataError(f"its transcript {path.name} is empty")
    return TimedText(words, ())


def _all_timed(lines: list[str]) -> bool:
    return len(lines) > 1 and all(_TIMED_LINE.fullmatch(line) for line in lines)


def _is_json(lines: list[str]) -> bool:
    if lines[0][0] not in "{[":
        return False
    try:
        return isinstance(json.loads("\n".join(lines)), dict | list)
    except ValueError:
        return False


_FORMS: dict[str, Callable[[list[str]], bool]] = {
    "a subtitle file": lambda lines: lines[0].startswith("WEBVTT") or any(_CUE.search(line) for line in lines),
    "a list of words and times, as .align and .ctm files are": _all_timed,
    "of LRS2's or LRS3's form, without its line `Text:`": lambda lines: any(
        line.startswith(_LRS_LINES) for line in lines
    ),
    "a Praat TextGrid": lambda lines: lines[0].startswith("File type =") and "ooText" in lines[0],
    "an SSA subtitle file": lambda lines: lines[0].startswith("[Script Info]"),
    "markup (XML or HTML)": lambda lines: _MARKUP.match(lines[0]) is not None,
    "JSON": _is_json,
    "rich text (RTF)": lambda lines: lines[0].startswith("{\\rtf"),
}
