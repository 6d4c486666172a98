"""The quality of many clips in a folder: report.tsv, a row a clip, and index.html, one page to look at.

    with open_report("inspected") as report:
        for path in videos:
            report.add(ClipReport(path, assess_clip(clip), facts_of(clip)))

report.tsv has the columns of COLUMNS; empty fields could not be measured, and names with tabs or newlines stand with
escapes. Both files appear complete, at the end of the block, or not at all. Memory does not grow with the clips: the
page shows up to PAGE_ROWS of each verdict, the table has all.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from espnet_vivit.errors import DataError
from espnet_vivit.media.quality import VERDICTS, Quality
from espnet_vivit.media.quality_page import COLUMNS, FACTS, render_page
from espnet_vivit.whole_file import make_folder, replacing

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip

TABLE_NAME, PAGE_NAME = "report.tsv", "index.html"
PAGE_ROWS = 300  # of each verdict on the page; some 2.5 MB of pictures for each such number


@dataclass(frozen=True)
class ClipReport:
    """One row: the file as it is called, its quality, FACTS about it, and for the page a small JPEG and a link."""

    path: str
    quality: Quality
    facts: dict[str, object] = field(default_factory=dict)
    strip: bytes = b""  # JPEG
    sheet: str = ""  # path of the contact sheet relative to the report's folder

    def cells(self) -> list[str]:
        """The row of report.tsv, in the order of COLUMNS."""
        reasons = "; ".join(self.quality.reasons)
        known = {"path": self.path, "verdict": self.quality.verdict, "reasons": reasons}
        known |= self.facts | self.quality.measures
        return [format_cell(known.get(column)) for column in COLUMNS]


def facts_of(clip: MouthClip) -> dict[str, object]:
    """FACTS of a clip that was read."""
    source = clip.source
    return {"detector": clip.detector, **{name: getattr(source, name) for name in list(FACTS)[1:]}}


def format_cell(value: object) -> str:
    """A field without tabs and newlines: numbers with 4 digits, NaN and None empty, control characters escaped."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    text = str(value).replace("\\", "\\\\")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class ReportWriter:
    """Takes the rows one by one: into the table at once, and for the page what it will show; see `open_report`."""

    def __init__(self, table: TextIO):
        self.counts: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
        self.causes: Counter[str] = Counter()  # reasons without their numbers -> clips
        self.shown: dict[str, list[ClipReport]] = {verdict: [] for verdict in VERDICTS}
        self._table = table
        self._table.write("\t".join(COLUMNS) + "\n")

    def add(self, row: ClipReport) -> None:
        verdict = row.quality.verdict
        self._table.write("\t".join(row.cells()) + "\n")
        self.counts[verdict] += 1
        self.causes.update({cause(reason) for reason in row.quality.reasons})
        if len(self.shown[verdict]) < PAGE_ROWS:
            self.shown[verdict].append(row)


@contextmanager
def open_report(folder: str | os.PathLike, *, title: str = "Quality of clips") -> Iterator[ReportWriter]:
    """A ReportWriter whose report.tsv and index.html appear in `folder` when the block ends well. Raises MediaError."""
    folder = make_folder(folder)
    with replacing(folder / TABLE_NAME) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as table:
            writer = ReportWriter(table)
            yield writer
        with replacing(folder / PAGE_NAME) as page:
            page.write_text(render_page(title, writer.counts, writer.causes, writer.shown), encoding="utf-8")


def cause(reason: str) -> str:
    """A reason without its numbers and quoted names, so that equal faults can be counted; one of a thing is many."""
    reason = re.sub(r"(?<![\w])-?\d[\d.]*", "N", reason)
    reason = re.sub(r"\bN((?: gray| black)? (?:picture|packet))\b", r"N\1s", reason)
    return re.sub(r"\S*/\S+", "FILE", reason)


def read_report(path: str | os.PathLike) -> Iterator[dict[str, str]]:
    """The rows of a report.tsv as dictionaries of COLUMNS, one at a time. Raises DataError for another kind of file."""
    try:
        with open(path, encoding="utf-8", newline="\n") as table:
            header = table.readline().rstrip("\n").split("\t")
            if header[:3] != list(COLUMNS)[:3]:
                raise DataError(f"{path} is no quality report", found="\t".join(header[:3]), expected="path verdict …")
            for number, line in enumerate(table, start=2):
                cells = line.rstrip("\n").split("\t")
                if len(cells) != len(header):
                    raise DataError(f"{path}:{number}", found=f"{len(cells)} fields", expected=f"{len(header)}")
                yield dict(zip(header, cells, strict=True))
    except OSError as error:
        raise DataError(f"cannot read the report {path} ({error})", fix="Run espnet-vivit inspect first.") from error
