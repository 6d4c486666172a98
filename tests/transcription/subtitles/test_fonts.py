"""Fonts for burnt subtitles: one that has the letters, wherever it is; or an error that names what is missing."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from espnet_vivit.errors import ConfigError
from espnet_vivit.transcription.subtitles import fonts
from espnet_vivit.transcription.subtitles.burn import burn_subtitles, draw_text
from espnet_vivit.transcription.subtitles.fonts import check_font, choose_font
from espnet_vivit.transcription.subtitles.formats import Cue
from tests.media.videos import numbered, write_video

CHINESE = "你好"


def write_font(path: Path, letters: str, *, family: str = "Test Sans") -> Path:
    """Each letter a box, the one half as high as the next."""
    names = {ord(letter): f"letter{index}" for index, letter in enumerate(letters)}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    glyphs = {}
    for index, name in enumerate([".notdef", *names.values()]):
        pen, top = TTGlyphPen(None), 800 >> index
        pen.moveTo((50, 0))
        for corner in ((50, top), (450, top), (450, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (500, 50)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(monkeypatch):
    """The fonts that are found on the machine: those that matplotlib brings, and what is appended."""
    brought = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    found: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: found)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", brought)
    return found


def test_dejavu_is_taken_for_what_it_has(installed):
    assert Path(choose_font(["Привет, γειά\nété"])).name == "DejaVuSans.ttf"
    assert Path(choose_font([])).name == "DejaVuSans.ttf"


def test_an_installed_font_is_found_that_has_the_letters(installed, tmp_path):
    installed += [
        str(write_font(tmp_path / "a.ttf", CHINESE[0])),  # lacks one
        str(write_font(tmp_path / "b.ttf", CHINESE, family="Last Resort")),  # boxes for everything
        str(write_font(tmp_path / "c.ttf", CHINESE, family="Serif Test")),
        str(write_font(tmp_path / "d.ttf", CHINESE)),
    ]
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    installed.append(str(tmp_path / "damaged.ttf"))
    chosen = choose_font([f"{CHINESE[0]} \u200b{CHINESE[1]}"])  # blanks and marks of direction need no letter
    assert chosen == str(tmp_path / "d.ttf")


def test_the_letters_are_drawn_with_it(installed, tmp_path):
    path = write_font(tmp_path / "test.ttf", CHINESE)
    high, low = (draw_text(letter, 320, 240, str(path))[0].sum() for letter in CHINESE)
    assert high > 1.5 * low > 0
    usual = choose_font([])
    boxes = [draw_text(letter, 320, 240, usual)[0] for letter in CHINESE]
    np.testing.assert_array_equal(*boxes)  # what DejaVu Sans lacks looks all the same


def test_letters_that_no_font_has_are_named(installed, tmp_path):
    with pytest.raises(ConfigError, match=r"你 \(U\+4F60\), 好 \(U\+597D\)\. Install one .* --font FILE"):
        choose_font(["hello", "你好"])
    with pytest.raises(ConfigError, match=r"and 12 more"):
        choose_font(["".join(map(chr, range(0x4E00, 0x4E14)))])
    clip = write_video(tmp_path / "clip.mp4", map(numbered, range(3)))
    with pytest.raises(ConfigError, match="no installed font"):
        burn_subtitles(clip, [Cue(0, 1, CHINESE, ())], tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_font_that_is_named_is_taken_or_refused(installed, tmp_path):
    path = write_font(tmp_path / "test.ttf", CHINESE)
    assert choose_font([CHINESE], path) == str(path)
    with pytest.raises(ConfigError, match=r"test\.ttf lacks letters of the subtitles: found a \(U\+0061\)"):
        choose_font(["a" + CHINESE], path)
    clip = write_video(tmp_path / "clip.mp4", map(numbered, range(3)))
    burn_subtitles(clip, [Cue(0, 1, CHINESE, ())], tmp_path / "out.mp4", font=path)
    assert (tmp_path / "out.mp4").exists()


def test_what_is_no_font_is_said(tmp_path):
    (tmp_path / "text.ttf").write_text("no font")
    for name in ("text.ttf", "missing.ttf"):
        with pytest.raises(ConfigError, match=rf"cannot read the font .*{name}"):
            check_font(tmp_path / name)


@pytest.mark.parametrize(("text", "warned"), [("नमस्ते", True), ("שלום", True), ("hello", False)])
def test_letters_that_need_joining_are_warned_of_where_pillow_cannot(monkeypatch, caplog, text, warned):
    monkeypatch.setattr("PIL.features.check", lambda name: name != "raqm")
    monkeypatch.setattr(fonts, "_missing", lambda font, letters: [])
    choose_font([text])
    assert bool(caplog.records) == warned
