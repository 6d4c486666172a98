"""One clip's row of a quality report: its facts, measures and verdict, as a table and a page show them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espnet_vivit.media.quality.verdict import MEASURES, Quality

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip


FACTS = {
    "detector": "what found the faces",
    "width": "pixels of the file's pictures as players show them",
    "height": "pixels of the file's pictures as players show them",
    "codec": "of the pictures",
    "rotation": "degrees counter-clockwise by which pictures were turned to stand upright",
    "reflected": "whether pictures were also mirrored",
    "transfer": "hlg or pq, of pictures that were brought from it to BT.709",
    "num_source_frames": "pictures in the file, up to here",
    "audio_codec": "of the sound",
    "audio_rate_hz": "samples per second in the file",
}
COLUMNS = {
    "path": "the file, relative to the folder that was inspected",
    "verdict": "ok, warn (look at it) or reject (leave it out)",
    "reasons": "why, separated by '; ', the worst first",
    **FACTS,
    **MEASURES,
}


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
