"""The text of subtitles in; a font file that has all of its letters out.

DejaVu Sans, which matplotlib brings along, has Latin, Greek, Cyrillic, Hebrew, Arabic and more, but none of the letters
of Chinese, Japanese, Korean or the Indian languages: for these, a font is looked for among those that are installed.
"""

import logging
import os
import unicodedata
from collections.abc import Iterable

from espnet_vivit.errors import ConfigError

_USUAL = "DejaVu Sans"
_PLAIN_STYLES = ("Regular", "Book", "Roman", "Normal")
_PLACEHOLDERS = ("lastresort", "adobeblank")  # fonts that have a box, or nothing, for every letter there is
_NAMED = 8  # letters in an error
_JOINED_SCRIPTS = (0x0900, 0x109F)  # from Devanagari to Burmese: letters change with their neighbours


def choose_font(texts: Iterable[str], font: str | os.PathLike | None = None) -> str:
    """The path of a font that has all letters of the texts: `font` itself, or DejaVu Sans, or an installed one.

    Raises ConfigError if it has not, or if there is none, and names some of the missing letters.
    """
    from matplotlib.font_manager import findfont

    letters = _letters(texts)
    _warn_if_not_joined(letters)
    path = findfont(_USUAL) if font is None else os.fspath(font)
    missing = _missing(_open(path), letters)
    if not missing:
        return path
    named = ", ".join(f"{letter} (U+{ord(letter):04X})" for letter in missing[:_NAMED])
    named += f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    if font is not None:
        raise ConfigError(f"the font {path} lacks letters of the subtitles", found=named, fix="Name another: --font")
    installed = _installed_with(letters)
    if installed is None:
        raise ConfigError(
            "no installed font has all letters of the subtitles",
            found=named,
            fix="Install one (Noto has fonts for every script), or name its file: --font FILE",
        )
    return installed


def check_font(font: str | os.PathLike) -> None:
    """Raise ConfigError if the file is no font."""
    _open(os.fspath(font))


def _letters(texts: Iterable[str]) -> list[str]:
    """What has to be drawn, each once: no blanks, marks of direction or the like."""
    found = dict.fromkeys(letter for text in texts for letter in text)
    return [
        letter
        for letter in found
        if unicodedata.category(letter)[0] not in "CZ" and not unicodedata.name(letter, "").startswith("VARIATION SEL")
    ]


def _open(path: str):
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path)
    except (OSError, RuntimeError) as error:  # FreeType's errors are RuntimeErrors
        raise ConfigError(
            f"cannot read the font {path} ({error})", expected="a .ttf, .otf or .ttc file", fix="Check the path."
        ) from error


def _missing(font, letters: Iterable[str]) -> list[str]:
    return [letter for letter in letters if not font.get_char_index(ord(letter))]


def _installed_with(letters: list[str]) -> str | None:
    """The plainest of the installed fonts that have all of the letters; None if none has."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    # the manager's list is made once and kept for months: what was installed since then is found by looking again
    paths = sorted({*findSystemFonts(), *(entry.fname for entry in fontManager.ttflist)})
    best: tuple[tuple, str] | None = None
    for path in paths:
        try:
            font = _open(path)
        except ConfigError:
            continue  # a damaged file among the fonts is not this user's concern
        name = font.family_name.lower().replace(" ", "")
        if not font.scalable or any(placeholder in name for placeholder in _PLACEHOLDERS) or _missing(font, letters):
            continue
        rank = (font.style_name not in _PLAIN_STYLES, "sans" not in name, "mono" in name, len(path))
        if best is None or (rank, path) < best:
            best = (rank, path)
    return None if best is None else best[1]


def _warn_if_not_joined(letters: Iterable[str]) -> None:
    from PIL import features

    first, last = _JOINED_SCRIPTS
    needs = any(unicodedata.bidirectional(one) in ("R", "AL") or first <= ord(one) <= last for one in letters)
    if needs and not features.check("raqm"):
        logging.warning("Pillow has no Raqm here: letters of this script may be in the wrong order, or not joined")
