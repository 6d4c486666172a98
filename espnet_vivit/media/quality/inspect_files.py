"""Inspects video files, each in a process of its own, and writes what was found in a folder.

    counts = inspect_files(find_videos(["corpus"]), "inspected", detector="auto")     # Counter(ok=40, warn=0, reject=8)

A file becomes a row of the report (report.py) whatever is wrong with it: one that cannot be read, or that
brings down the process which reads it, is rejected with that as the reason. Recordings longer than PIECE_S become a row
for each piece, so that memory stays bounded and it is seen where they are bad.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from espnet_vivit.base.processes import run_in_processes
from espnet_vivit.errors import ConfigError, DataError, MediaError
from espnet_vivit.media.faces.detectors import choose_detector
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.folder_files import VIDEO_SUFFIXES, files_below
from espnet_vivit.media.files.frame_clock import PauseError
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.media.mouth_clip import MouthClip, stream_mouth_clips
from espnet_vivit.media.quality.clip_report import ClipReport, facts_of
from espnet_vivit.media.quality.contact_sheet import draw_sheet, draw_strip, evenly, one_line, write_sheet
from espnet_vivit.media.quality.page import believed
from espnet_vivit.media.quality.report import open_report
from espnet_vivit.media.quality.second_look import find_turn, look_again
from espnet_vivit.media.quality.verdict import assess_clip, refused_clip, with_remarks
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

SUFFIXES = VIDEO_SUFFIXES | {".npy"}  # crops as bare arrays, which corpora of ours hold
PIECE_S = 60.0
SHEETS = {"all": "of every clip", "bad": "of those that are not ok", "none": "no contact sheets"}
SHEETS_FOLDER = "sheets"
AUDIO_SUFFIXES = (".flac", ".wav")
VIEWS = 4  # pictures of the source on a contact sheet
FEW_FACES = 50  # percent of the pictures: with fewer faces, it is tried whether the picture is turned


@dataclass(frozen=True)
class Video:
    """A file to inspect, and what it is called in the report: its path below the folder that was named."""

    path: Path
    name: str


@dataclass(frozen=True)
class How:
    """How clips are inspected: the options of read_mouth_clip and assess_clip, and what is written."""

    out: Path
    detector: str = "auto"
    modality: str = "auto"
    sheets: str = "bad"
    audio: Path | None = None  # folder with the sound of videos without any, by the same relative names
    tracks: Tracks = AS_PLAYERS


def find_videos(inputs: Iterable[str | os.PathLike]) -> list[Video]:
    """Files as named, and below folders all whose suffix is in SUFFIXES. Raises DataError if there are none."""
    videos = []
    for given in map(Path, inputs):
        if given.is_dir():
            found = (path for path in files_below(given) if path.suffix.lower() in SUFFIXES)
            videos += [Video(path, path.relative_to(given).as_posix()) for path in found]
        elif given.exists():
            videos.append(Video(given, given.name))
        else:
            raise DataError(f"{given} does not exist", fix="Check the path.")
    if not videos:
        raise DataError("no video", found=", ".join(map(str, inputs)), expected=" ".join(sorted(SUFFIXES)))
    if clashing := [name for name, count in Counter(video.name for video in videos).items() if count > 1]:
        full = {video.name for video in videos if video.name in clashing}
        videos = [Video(v.path, v.path.as_posix().lstrip("/.")) if v.name in full else v for v in videos]
    return videos


def inspect_files(
    videos: list[Video], how: How, *, nj: int = 1, title: str = "Quality of clips", seen: Callable | None = None
) -> Counter[str]:
    """Inspect all with `nj` processes, write the report; returns how often each verdict was given.

    `seen` is called with the rows of each video, in their order. Raises ConfigError and MissingDependencyError, which
    are not the clips' fault, and MediaError if the report cannot be written.
    """
    choose_detector(how.detector)  # before the report is begun: not to be had, or misspelt
    with open_report(how.out, title=title) as report:
        for rows in _each(partial(inspect_video, how=how), videos, nj):
            for row in rows:
                report.add(row)
            if seen is not None:
                seen(rows)
    return report.counts


def inspect_video(video: Video, how: How) -> list[ClipReport]:
    """The rows of one file: one, or one for each PIECE_S seconds. Its sheets are written into `how.out`."""
    rows: list[ClipReport] = []
    start_s = 0.0
    try:
        pieces = _pieces(video, how)
        first, second = next(pieces), next(pieces, None)
        for clip in (first,) if second is None else chain((first, second), pieces):
            if isinstance(clip, PauseError):
                rows.append(_refusal(video, clip, start_s))
                continue
            start_s, end_s = clip.start_s, clip.start_s + seconds_of_frames(len(clip.frames))
            span = "" if second is None else f" [{start_s:.0f}-{end_s:.0f} s]"
            called = replace(video, name=video.name + span)
            rows.append(_report(called, _with_sound(clip, video, how), how))
            start_s = end_s
    except (ConfigError, ImportError):
        raise  # not the file's fault
    except MediaError as error:
        rows.append(_refusal(video, error, start_s))
    except Exception as error:  # whatever else a file does to a decoder or a detector is that file's row, too
        rows.append(_refusal(video, MediaError(f"cannot be inspected ({type(error).__name__}: {error})"), start_s))
    return rows


def _pieces(video: Video, how: How) -> Iterator[MouthClip | PauseError]:
    """PIECE_S seconds each; where the pictures pause, that, and what lies behind it."""
    begin_s: float | None = 0.0
    while begin_s is not None:
        start_s, begin_s = begin_s, None
        try:
            yield from stream_mouth_clips(
                video.path, detector=how.detector, chunk_s=PIECE_S, max_gap_s=float("inf"), start_s=start_s,
                tracks=how.tracks,
            )  # fmt: skip
        except PauseError as pause:
            yield pause
            begin_s = pause.end_s


def _report(video: Video, clip: MouthClip, how: How) -> ClipReport:
    """Assess a clip; draw what is asked for. `video.name` is what the row is called."""
    quality = with_remarks(assess_clip(clip, modality=how.modality), clip.source.remarks)
    faceless = quality.measures["faces_found"] < FEW_FACES  # false for NaN: mouth crops
    drawn = how.sheets == "all" or (how.sheets == "bad" and quality.verdict != "ok")
    views = []
    if (drawn or faceless) and clip.detector != "centre":
        views = look_again(
            video.path, clip.landmarks, evenly(len(clip.frames), VIEWS), start_s=clip.start_s, tracks=how.tracks
        )
    if faceless and (degrees := find_turn(views, detector=clip.detector)) is not None:
        hint = f"turned by {degrees} degrees it shows a face" + (": it is upside down" if degrees == 180 else "")
        quality = replace(quality, reasons=(hint, *quality.reasons))
    strip = io.BytesIO()
    draw_strip(clip).save(strip, format="JPEG", quality=80)
    row = ClipReport(video.name, quality, facts_of(clip), strip.getvalue())
    if not drawn:
        return row
    sheet = f"{SHEETS_FOLDER}/{one_line(video.name)}.png"
    image = draw_sheet(clip, quality, title=video.name, facts=describe(row), views=views)
    write_sheet(how.out / sheet, image)
    return replace(row, sheet=sheet)


def _refusal(video: Video, error: MediaError, start_s: float) -> ClipReport:
    """The row of a file, or of its rest after `start_s`, that could not be read."""
    name = f"{video.name} [from {start_s:.0f} s]" if start_s else video.name
    return ClipReport(name, refused_clip(error))


def _with_sound(clip: MouthClip, video: Video, how: How) -> MouthClip:
    """The clip with its part of the sound file that belongs to it, where the file itself has no sound."""
    if how.audio is None or clip.speech is not None:
        return clip
    for suffix in AUDIO_SUFFIXES:
        path = (how.audio / video.name).with_suffix(suffix)
        if path.exists():
            first = round(clip.start_s * AUDIO_RATE_HZ)
            return replace(clip, speech=read_wav(path)[first : first + len(clip.frames) * SAMPLES_PER_FRAME])
    return clip


def describe(row: ClipReport) -> str:
    """What was found in a file that could be read, in one line: pictures, source, faces, sound."""
    facts, known = row.facts, believed(row.quality.measures)
    source = f"source {facts['width']}×{facts['height']} {facts['codec']}, {known['source_rate_hz']:.4g} per second"
    if facts["rotation"]:
        source += f", turned by {facts['rotation']}°"
    if facts["reflected"]:
        source += ", mirrored"
    if facts["transfer"]:
        source += f", brought from {str(facts['transfer']).upper()} to BT.709"
    faces = f"detector {facts['detector']}"
    if "faces_found" in known:
        faces += f": a face in {known['faces_found']:.0f} %"
    if "eye_distance_px" in known:
        faces += f", {known['eye_distance_px']:.0f} px between the eyes"
    sound = "no sound"
    if "level_db" in known:
        coded = f"{facts['audio_codec']} {facts['audio_rate_hz']} Hz" if facts["audio_codec"] else "from its own file"
        sound = f"sound {coded}, {known['level_db']:.0f} dB"
    if "av_offset_ms" in known:
        sound += f", {known['av_offset_ms']:+.0f} ms against the mouth"
    pictures = known["pictures"]
    length = f"{pictures:.0f} picture{'s' * (pictures != 1)}, {pictures / VIDEO_RATE_HZ:.2f} s"
    return "; ".join([length, source, faces, sound])


def _each(work: Callable[[Video], list[ClipReport]], videos: Iterable[Video], nj: int) -> Iterator[list[ClipReport]]:
    """`work` of each video, in order, in `nj` processes; a video that kills its process is a rejected row."""
    if nj <= 1:
        yield from map(work, videos)
        return
    for _, rows in run_in_processes(work, videos, nj=nj, lost=_lost, in_order=True):
        yield rows


def _lost(video: Video, why: str) -> list[ClipReport]:
    error = MediaError(f"{video.path}: {why}", fix="Encode it again, or leave it out.")
    return [_refusal(video, error, 0.0)]
