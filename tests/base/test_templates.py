"""Templates: values are data wherever they stand, and one that is missing is an error."""

from html.parser import HTMLParser

import jinja2
import pytest

from espnet_vivit.base.templates import FOLDER, render

HOSTILE = "a b'c\"d</title></style><script>alert(1)</script>&<img src=x onerror=alert(1)>"


class Reading(HTMLParser):
    """The text and the elements of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def test_a_hostile_value_stays_text_in_elements_and_attributes():
    def page(value: str) -> Reading:
        parts = [("heading", value), ("rows", [(value, "times"), (value, 3)]), ("left_out", (value, value))]
        return Reading(render("experiment.html", title=value, parts=parts))

    hostile, plain = page(HOSTILE), page("plain")
    assert hostile.tags == plain.tags and hostile.attributes == plain.attributes
    assert hostile.text == plain.text.replace("plain", HOSTILE) and hostile.text.count(HOSTILE) == 7


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render("experiment.html", parts=[])


def test_no_template_switches_escaping_off():
    templates = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert set(templates) == {"clips.html", "experiment.html", "words.html"}
    for name, text in templates.items():
        assert not any(way in text for way in ("safe", "autoescape", "='{{", "={{")), name
