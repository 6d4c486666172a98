"""The report of many clips as one HTML page that needs no other file: counts, causes, and a row for each clip shown.

The pictures are inside the page; the names link to the contact sheets beside it, where there are some. A few lines of
script filter the rows; without script all are shown. What the clips are called is escaped: names are data.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from espnet_vivit.media.quality.clip_report import COLUMNS
from espnet_vivit.media.quality.verdict import SURE_NATS, VERDICTS

if TYPE_CHECKING:
    from espnet_vivit.media.quality.clip_report import ClipReport

SHOWN_MEASURES = {  # measure -> its short name and format on the page; the table has all
    "pictures": ("pictures", "{:.0f}"),
    "faces_found": ("faces found", "{:.0f} %"),
    "longest_gap_s": ("longest gap", "{:.2f} s"),
    "eye_distance_px": ("between the eyes", "{:.0f} px"),
    "sharpness": ("sharpness", "{:.2f}"),
    "level_db": ("sound", "{:.0f} dB"),
    "av_offset_ms": ("sound against mouth", "{:+.0f} ms"),
}
COLORS = {"ok": "#2e7d32", "warn": "#b26a00", "reject": "#c62828"}
WORST_FIRST = tuple(reversed(VERDICTS))
CAUSES_SHOWN = 12

_STYLE = """
:root { color-scheme: light; font-family: system-ui, "DejaVu Sans", sans-serif; color: #202020; }
body { max-width: 1200px; margin: 2rem auto; padding: 0 1rem; line-height: 1.45; }
h1 { font-size: 1.5rem; margin-bottom: .3rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
.bar { display: flex; height: 14px; border-radius: 7px; overflow: hidden; margin: .8rem 0; background: #eee; }
.counts label { margin-right: 1.4rem; font-weight: 600; cursor: pointer; }
input[type=search] { padding: .3rem .6rem; min-width: 16rem; font: inherit; }
.causes td { padding: .1rem .8rem .1rem 0; }
.causes td:first-child { text-align: right; font-weight: 600; }
.clip { display: grid; grid-template-columns: minmax(0, 530px) minmax(0, 1fr); gap: .2rem 1.2rem;
  padding: .8rem 0 .8rem .8rem; border-top: 1px solid #ddd; border-left: 5px solid; }
.clip img { width: 100%; max-width: 526px; image-rendering: auto; display: block; }
.clip .none { color: #777; font-style: italic; }
.clip[hidden] { display: none; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.badge { color: white; border-radius: 4px; padding: .05rem .5rem; font-size: .8rem; margin-right: .4rem; }
.why { margin: .2rem 0 .2rem 1.1rem; padding: 0; overflow-wrap: anywhere; }
.numbers { color: #555; font-size: .85rem; }
.columns td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
.columns td:first-child { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
@media (max-width: 760px) { .clip { grid-template-columns: 1fr; } }
"""

_SCRIPT = """
const boxes = document.querySelectorAll('.counts input'), search = document.querySelector('input[type=search]');
function filter() {
  const verdicts = new Set([...boxes].filter(box => box.checked).map(box => box.value));
  const words = search.value.toLowerCase();
  for (const clip of document.querySelectorAll('.clip'))
    clip.hidden = !verdicts.has(clip.dataset.verdict) || !clip.textContent.toLowerCase().includes(words);
}
for (const input of [...boxes, search]) input.addEventListener('input', filter);
"""


def render_page(
    title: str,
    counts: Mapping[str, int],
    causes: Mapping[str, int],
    shown: Mapping[str, Sequence[ClipReport]],
) -> str:
    """The page's HTML: `counts` of verdicts, `causes` -> clips, and by verdict the rows that are `shown`."""
    total = sum(counts.values())
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{total} {'clip' if total == 1 else 'clips'}. All numbers: <a href='report.tsv'>report.tsv</a>.</p>",
        _bar(counts, total),
        _controls(counts),
        _causes(causes),
        "<h2>Clips</h2>",
    ]
    for verdict in WORST_FIRST:
        body += [_clip(row) for row in shown[verdict]]
        if left_out := counts[verdict] - len(shown[verdict]):
            body.append(f"<p>and {left_out} more with verdict {verdict}, in report.tsv</p>")
    body.append(_columns())
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )


def _bar(counts: Mapping[str, int], total: int) -> str:
    parts = (
        f"<div style='width:{100 * counts[verdict] / max(total, 1):.2f}%;background:{COLORS[verdict]}'></div>"
        for verdict in WORST_FIRST
    )
    return f"<div class='bar'>{''.join(parts)}</div>"


def _controls(counts: Mapping[str, int]) -> str:
    labels = (
        f"<label style='color:{COLORS[verdict]}'><input type='checkbox' checked value='{verdict}'> "
        f"{counts[verdict]} {verdict}</label>"
        for verdict in WORST_FIRST
    )
    return f"<div class='counts'>{''.join(labels)}<input type='search' placeholder='part of a name or reason'></div>"


def _causes(causes: Mapping[str, int]) -> str:
    if not causes:
        return ""
    most = sorted(causes.items(), key=lambda item: (-item[1], item[0]))[:CAUSES_SHOWN]
    rows = "".join(f"<tr><td>{count}</td><td>{html.escape(cause)}</td></tr>" for cause, count in most)
    return f"<h2>Why</h2><table class='causes'>{rows}</table>"


def _clip(row: ClipReport) -> str:
    quality = row.quality
    name = html.escape(row.path)
    if row.sheet:
        name = f"<a href='{quote(row.sheet)}'>{name}</a>"
    picture = "<div class='none'>no picture</div>"
    if row.strip:
        data = base64.b64encode(row.strip).decode()
        picture = f"<img alt='mouth crops of {html.escape(row.path)}' src='data:image/jpeg;base64,{data}'>"
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in quality.reasons)
    known = believed(quality.measures)
    numbers = " · ".join(
        f"{label} {form.format(known[measure])}"
        for measure, (label, form) in SHOWN_MEASURES.items()
        if measure in known
    )
    color = COLORS[quality.verdict]
    return (
        f"<div class='clip' data-verdict='{quality.verdict}' style='border-left-color:{color}'>{picture}<div>"
        f"<div class='name'><span class='badge' style='background:{color}'>{quality.verdict}</span>{name}</div>"
        + (f"<ul class='why'>{reasons}</ul>" if reasons else "")
        + f"<div class='numbers'>{numbers}</div></div></div>"
    )


def believed(measures: Mapping[str, float]) -> dict[str, float]:
    """The measures without those that are missing, and without an offset of the sound that can be chance."""
    known = {name: value for name, value in measures.items() if not math.isnan(value)}
    if 0 < known.get("av_evidence", 0) < SURE_NATS:
        del known["av_offset_ms"]
    return known


def _columns() -> str:
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(what)}</td></tr>" for name, what in COLUMNS.items())
    return f"<h2>Columns of report.tsv</h2><table class='columns'>{rows}</table>"
