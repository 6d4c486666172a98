"""The report of many clips as one HTML page that needs no other file: counts, causes, and a row for each clip shown.

The pictures are inside the page; the names link to the contact sheets beside it, where there are some. A few lines of
script filter the rows; without script all are shown. What the clips are called is escaped: names are data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from espnet_vivit.base.templates import render
from espnet_vivit.media.quality.clip_report import COLUMNS
from espnet_vivit.media.quality.verdict import SURE_NATS, VERDICT_COLORS, VERDICTS

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
WORST_FIRST = tuple(reversed(VERDICTS))
CAUSES_SHOWN = 12


def render_page(
    title: str,
    counts: Mapping[str, int],
    causes: Mapping[str, int],
    shown: Mapping[str, Sequence[ClipReport]],
) -> str:
    """The page's HTML: `counts` of verdicts, `causes` -> clips, and by verdict the rows that are `shown`."""
    return render(
        "clips.html",
        title=title,
        total=sum(counts.values()),
        counts={verdict: counts[verdict] for verdict in WORST_FIRST},
        colors=VERDICT_COLORS,
        causes=sorted(causes.items(), key=lambda item: (-item[1], item[0]))[:CAUSES_SHOWN],
        shown=shown,
        numbers=_numbers,
        columns=COLUMNS,
    )


def _numbers(measures: Mapping[str, float]) -> str:
    """The measures that the page shows, as one line."""
    known = believed(measures)
    return " · ".join(
        f"{label} {form.format(known[measure])}"
        for measure, (label, form) in SHOWN_MEASURES.items()
        if measure in known
    )


def believed(measures: Mapping[str, float]) -> dict[str, float]:
    """The measures without those that are missing, and without an offset of the sound that can be chance."""
    known = {name: value for name, value in measures.items() if not math.isnan(value)}
    if 0 < known.get("av_evidence", 0) < SURE_NATS:
        del known["av_offset_ms"]
    return known
