"""The quality of many clips in a folder: report.tsv, a row a clip, and index.html, one page to look at.

    with open_report("inspected") as report:
        for path in videos:
            report.add(ClipReport(path, assess_clip(clip), facts_of(clip)))

report.tsv has the columns of COLUMNS; empty fields could not be measured, and names with tabs or newlines stand with
escapes. Both files appear complete, at the end of the block, or not at all. Memory does not grow with the clips: the
page shows up to PAGE_ROWS of each verdict, the table has all.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.errors import DataError
from espnet_vivit.media.quality.clip_report import COLUMNS, ClipReport
from espnet_vivit.media.quality.page import render_page
from espnet_vivit.media.quality.verdict import VERDICTS

if TYPE_CHECKING:
    pass

TABLE_NAME, PAGE_NAME = "report.tsv", "index.html"
PAGE_ROWS = 300  # of each verdict on the page; some 2.5 MB of pictures for each such number


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
