"""The report of many clips: every row in the table, a page that shows them, whole or not at all; and the sheets."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from espnet_vivit.errors import DataError, MediaError
from espnet_vivit.media.quality import report as quality_report
from espnet_vivit.media.quality.clip_report import ClipReport, facts_of
from espnet_vivit.media.quality.contact_sheet import (
    NO_FACE,
    draw_sheet,
    draw_strip,
    evenly,
    picture_states,
    write_sheet,
)
from espnet_vivit.media.quality.report import COLUMNS, cause, open_report, read_report
from espnet_vivit.media.quality.second_look import View
from espnet_vivit.media.quality.verdict import assess_clip, refused_clip
from tests.media.talking_mouth import talking

NASTY = "a b'c\"d\te\nf<script>alert(1)</script>&\u202e.mp4"


@pytest.fixture(scope="module")
def good() -> ClipReport:
    clip = talking(seed=3)
    return ClipReport("good.mp4", assess_clip(clip), facts_of(clip))


def refused(name: str) -> ClipReport:
    return ClipReport(name, refused_clip(MediaError(f"cannot read {name}")))


def test_every_row_comes_back_from_the_table(tmp_path, good):
    with open_report(tmp_path) as report:
        report.add(good)
        report.add(refused("bad.mp4"))
    rows = list(read_report(tmp_path / "report.tsv"))
    assert [list(row) for row in rows] == [list(COLUMNS)] * 2
    assert [(row["path"], row["verdict"]) for row in rows] == [("good.mp4", "ok"), ("bad.mp4", "reject")]
    assert float(rows[0]["sharpness"]) == pytest.approx(good.quality.measures["sharpness"], rel=1e-3)
    assert rows[0]["detector"] == "precomputed" and rows[0]["width"] == "360"
    assert rows[1]["reasons"] == "cannot read bad.mp4" and rows[1]["sharpness"] == ""
    assert report.counts == Counter(ok=1, warn=0, reject=1)


def test_names_are_data_in_the_table_and_on_the_page(tmp_path):
    with open_report(tmp_path, title=NASTY) as report:
        report.add(refused(NASTY))
    (row,) = read_report(tmp_path / "report.tsv")
    assert row["path"] == r"a b'c\"d\te\nf<script>alert(1)</script>&\u202e.mp4".replace('\\"', '"')
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1 and "&lt;script&gt;alert(1)" in page


class Reading(HTMLParser):
    """What a page asks for from elsewhere, and what is left open."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.clips = [], [], 0

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.sources += [value for name, value in attributes.items() if name in ("src", "srcset")]
        self.clips += attributes.get("class") == "clip"
        if tag not in ("meta", "input", "img", "br", "link"):
            self.open.append(tag)
        assert tag != "link"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_other_file(tmp_path, good):
    with open_report(tmp_path) as report:
        report.add(ClipReport("one.mp4", good.quality, good.facts, strip=b"\xff\xd8jpeg", sheet="sheets/one two.png"))
        report.add(refused("two.mp4"))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    reading = Reading()
    reading.feed(page)
    assert reading.open == [] and reading.clips == 2
    assert [source.split(",")[0] for source in reading.sources] == ["data:image/jpeg;base64"]
    assert "http" not in page and 'href="sheets/one%20two.png"' in page
    assert page.index("two.mp4") < page.index("one.mp4"), "the rejected clip stands first"


def test_the_page_has_a_bound_and_says_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_report, "PAGE_ROWS", 3)
    with open_report(tmp_path) as report:
        for number in range(10):
            report.add(refused(f"{number}.mp4"))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count('class="clip"') == 3 and "and 7 more with verdict reject" in page
    assert len(list(read_report(tmp_path / "report.tsv"))) == 10


def test_a_run_that_is_interrupted_leaves_the_last_report(tmp_path, good):
    with open_report(tmp_path) as report:
        report.add(good)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), open_report(tmp_path) as report:
        report.add(refused("new.mp4"))
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot make the folder"), open_report(tmp_path / "file" / "report"):
        pass


def test_equal_causes_are_counted_together():
    assert cause("12 gray pictures, -0.5 s") == cause("3 gray pictures, 2 s") == "N gray pictures, N s"
    assert cause("1 gray picture without content") == cause("2 gray pictures without content")
    assert cause("only 1 picture") == cause("only 3 pictures") == "only N pictures"
    assert cause("1 packet of the file cannot be decoded") == cause("7 packets of the file cannot be decoded")
    assert cause("/data/a.mp4 has no sound") == cause("/other/b.mp4 has no sound")


@pytest.mark.parametrize("text", ["", "something\telse\n", "path\tverdict\treasons\nshort row\n"])
def test_another_file_is_no_report(tmp_path, text):
    (tmp_path / "report.tsv").write_text(text)
    with pytest.raises(DataError):
        list(read_report(tmp_path / "report.tsv"))


def test_the_sheet_shows_the_state_of_every_picture(tmp_path):
    clip = talking(seed=3)
    frames, landmarks = clip.frames.copy(), clip.landmarks.copy()
    frames[:10] = 128
    landmarks[20:30] = np.nan
    clip = replace(clip, frames=frames, landmarks=landmarks)
    states = picture_states(clip)
    assert re.sub(r"(.)\1*", r"\1", "".join(map(str, states))) == f"20{NO_FACE}0"
    views = [View(0.0, np.full((288, 360, 3), 90, np.uint8), landmarks[index]) for index in (0, 25)]
    image = draw_sheet(clip, assess_clip(clip), title="clip\n" + 40 * "long ", facts=30 * "fact ", views=views)
    write_sheet(tmp_path / "sheets" / "clip.png", image)
    drawn = np.asarray(Image.open(tmp_path / "sheets" / "clip.png"))
    colors = {tuple(color) for color in drawn.reshape(-1, 3).tolist()}
    assert {(0x8E, 0x8E, 0x8E), (0xE5, 0x39, 0x35), (0xA5, 0xD6, 0xA7)} <= colors  # gray, no face, good
    assert drawn.shape[1] == 1000 and (drawn[-5:] == 255).all()


@pytest.mark.parametrize("pictures", [1, 2, 3, 30])
def test_clips_of_any_length_are_drawn(pictures):
    clip = talking(seed=3)
    names = ("frames", "landmarks", "num_faces", "mouth_opening", "source_change")
    short = {name: getattr(clip, name)[:pictures] for name in names}
    clip = replace(clip, **short, speech=None)
    assert draw_sheet(clip, assess_clip(clip), title="short").width == 1000
    assert draw_strip(clip).height == 64
    assert evenly(pictures, 8).tolist()[:: max(1, min(pictures, 8) - 1)] == ([0, pictures - 1] if pictures > 1 else [0])
