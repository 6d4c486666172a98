"""Looks at videos before anybody trains on them or reads them: what is in them, and whether their mouths are usable.

    espnet-vivit inspect clip.mp4
    espnet-vivit inspect corpus/ --out inspected --nj 8

writes in --out: report.tsv (a row for each clip, its columns explained in index.html), index.html (a page to look at)
and sheets/*.png (contact sheets). A few videos are described on the terminal; of many, what is wrong with them.
With --json, a line of JSON for each clip goes to stdout instead.

Exit codes: 0 no clip was rejected; 1 an error, nothing was inspected; 3 all were inspected and some are rejected.
"""

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, add_track_options
from espnet_vivit.media.files.tracks import Tracks
from espnet_vivit.media.quality.clip_report import ClipReport
from espnet_vivit.media.quality.inspect_files import SHEETS, How, Video, describe, find_videos, inspect_files
from espnet_vivit.media.quality.report import PAGE_NAME, TABLE_NAME
from espnet_vivit.media.quality.verdict import JUDGED_AS, MEASURES

SOME_REJECTED = 3
FEW = 3  # videos that are described; of more, only what is wrong
MANY_SHEETS = 100  # videos of which every one gets a contact sheet without being asked
TOLD = 20  # bad clips named on the terminal


def describe_clip(row: ClipReport, out: Path) -> str:
    """The paragraph on one clip: verdict, reasons, what was found, where its contact sheet is."""
    lines = [f"{row.quality.verdict.upper():6}  {_plain(row.path)}"]
    lines += [f"        - {_plain(reason)}" for reason in row.quality.reasons]
    if row.facts:
        lines += [f"        {part}" for part in describe(row).split("; ")]
    if row.sheet:
        lines.append(f"        contact sheet: {_plain(str(out / row.sheet))}")
    return "\n".join(lines)


def as_json(row: ClipReport, out: Path) -> str:
    """A clip as one line of JSON: path, verdict, reasons, facts, measures (null: not measured), contact sheet."""
    measures = {name: None if math.isnan(value) else round(value, 4) for name, value in row.quality.measures.items()}
    content = {
        "path": row.path,
        "verdict": row.quality.verdict,
        "reasons": row.quality.reasons,
        **row.facts,
        **measures,
    }
    return json.dumps(content | {"contact_sheet": str(out / row.sheet) if row.sheet else None}, ensure_ascii=False)


def summary(counts: Counter[str], out: Path) -> str:
    total = sum(counts.values())
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("ok", "warn", "reject"))
    return f"{total} {'clip' if total == 1 else 'clips'}: {verdicts}; see {out / PAGE_NAME} and {out / TABLE_NAME}"


def _plain(text: str) -> str:
    """For a terminal: names may hold newlines and worse."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _Teller:
    """Tells on the terminal what comes in: everything of a few videos, the bad ones of many, or JSON."""

    def __init__(self, options: argparse.Namespace, videos: Sequence[Video]):
        from tqdm import tqdm

        self.options = options
        self.few = len(videos) <= FEW
        self.told = 0
        self.bar = tqdm(total=len(videos), unit="video", desc="inspect", disable=None if not self.few else True)

    def __call__(self, rows: Sequence[ClipReport]) -> None:
        for row in rows:
            if self.options.json:
                self.bar.write(as_json(row, self.options.out))
            elif self.few:
                self.bar.write(describe_clip(row, self.options.out))
            elif row.quality.verdict != "ok":
                self.told += 1
                if self.told <= TOLD:
                    reasons = "; ".join(row.quality.reasons)
                    self.bar.write(f"{row.quality.verdict.upper():6}  {_plain(row.path)}: {_plain(reasons)}")
                elif self.told == TOLD + 1:
                    self.bar.write(f"… more in {self.options.out / TABLE_NAME}")
        self.bar.update()


def build_parser() -> argparse.ArgumentParser:
    columns = "\n".join(f"  {name:24}{what}" for name, what in MEASURES.items())
    parser = CommandParser(
        prog="espnet-vivit inspect",
        description="Check whether videos are fit for lip reading: verdict, reasons and contact sheet of each clip.",
        epilog="what is measured:\n" + columns + "\n\nexit codes: 0 none rejected, 1 an error, 3 some are rejected\n"
        "example: espnet-vivit inspect corpus/ --out inspected --nj 8\n"
        "example: espnet-vivit inspect crops/ --detector centre --modality video",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of video files")
    parser.add_argument(
        "--out", type=Path, default=Path("inspected"), help="folder for the report (default: inspected)"
    )
    parser.add_argument(
        "--detector",
        default="auto",
        help="face detector: auto, mediapipe or haar; centre for mouth crops (default: auto)",
    )
    parser.add_argument("--modality", default="auto", choices=JUDGED_AS, help=_choices(JUDGED_AS))
    parser.add_argument(
        "--audio", type=Path, help="folder with the sound of silent videos: files of the same names, .flac or .wav"
    )
    parser.add_argument(
        "--sheets", choices=SHEETS, help=_choices(SHEETS) + f" (default: all for up to {MANY_SHEETS} clips, else bad)"
    )
    add_track_options(parser)
    parser.add_argument("--nj", type=int, help="number of processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per clip")
    return parser


def _choices(choices: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in choices.items())


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    videos = find_videos(options.inputs)
    sheets = options.sheets or ("all" if len(videos) <= MANY_SHEETS else "bad")
    tracks = Tracks(options.video_track, options.audio_track)
    how = How(options.out, options.detector, options.modality, sheets, options.audio, tracks)
    teller = _Teller(options, videos)
    nj = min(options.nj or os.cpu_count() or 1, len(videos))
    title = "Quality of " + ", ".join(map(str, options.inputs))
    with teller.bar:
        counts = inspect_files(videos, how, nj=nj, title=title, seen=teller)
    print(summary(counts, options.out), file=sys.stderr if options.json else sys.stdout)
    return SOME_REJECTED if counts["reject"] else 0
