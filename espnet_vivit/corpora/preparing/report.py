"""What became of every clip of a preparation: report.tsv, a row a clip, and report.html, a page to look at.

report.tsv has `utt_id`, `split`, `path` (the source, with its span in seconds where it was cut), `verdict`, `reasons`
and the columns of media/quality/report.py; its rows are sorted by id. Both files appear whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.corpora.preparing.journal import Row
from espnet_vivit.media.quality.clip_report import COLUMNS, ClipReport, format_cell
from espnet_vivit.media.quality.page import render_page
from espnet_vivit.media.quality.report import PAGE_ROWS, cause
from espnet_vivit.media.quality.verdict import VERDICTS, Quality

REPORT_NAME, PAGE_NAME = "report.tsv", "report.html"


def write_report(out_dir: Path, rows: Iterable[Row]) -> None:
    """Write both files. Memory is bounded: the page shows up to PAGE_ROWS of each verdict, the table all."""
    counts: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
    causes: Counter[str] = Counter()
    shown: dict[str, list[ClipReport]] = {verdict: [] for verdict in VERDICTS}
    with replacing(out_dir / REPORT_NAME) as path:
        with open(path, "w", encoding="utf-8", newline="\n") as table:
            table.write("\t".join(("utt_id", "split", *COLUMNS)) + "\n")
            for row in rows:
                report = clip_report(row)
                cells = (format_cell(row.clip.utt_id), format_cell(row.clip.split), *report.cells())
                table.write("\t".join(cells) + "\n")
                counts[report.quality.verdict] += 1
                causes.update({cause(reason) for reason in report.quality.reasons})
                if len(shown[report.quality.verdict]) < PAGE_ROWS:
                    shown[report.quality.verdict].append(report)
    with replacing(out_dir / PAGE_NAME) as path:
        path.write_text(render_page(f"Prepared: {out_dir.name}", counts, causes, shown), encoding="utf-8")


def clip_report(row: Row) -> ClipReport:
    """A row for the table and the page."""
    clip, made = row
    name = clip.video or clip.utt_id
    if clip.start_s or clip.end_s is not None:
        name += f" [{clip.start_s:.2f}-{'end' if clip.end_s is None else f'{clip.end_s:.2f} s'}]"
    measures = {key: float("nan") if value is None else value for key, value in made.measures.items()}
    return ClipReport(name, Quality(made.verdict, tuple(made.reasons), measures), dict(made.facts), made.strip)


def commonest_causes(report: Path, count: int) -> list[tuple[str, int]]:
    """Why clips of a report.tsv are rejected, without their numbers and names: (cause, clips), the commonest first."""
    causes: Counter[str] = Counter()
    with open(report, encoding="utf-8", newline="\n") as table:
        columns = table.readline().rstrip("\n").split("\t")
        verdict, reasons = columns.index("verdict"), columns.index("reasons")
        for line in table:
            cells = line.rstrip("\n").split("\t")
            if cells[verdict] == "reject":
                causes[cause(cells[reasons].split("; ")[0])] += 1
    return causes.most_common(count)
