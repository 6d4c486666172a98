"""FILE → FRAMES: what a media file holds, and its pictures at 25 per second, one after the other.

    with open_source("clip.mov") as source:
        source.info                  # SourceInfo(height=1080, width=1920, rate_hz=29.97, …)
        for picture in source.frames(): ...          # (H, W, 3) uint8 RGB, upright

In: whatever FFmpeg decodes (through PyAV), or a `.npy` with (T, H, W) uint8 at 25 per second. Time counts as in a
player, from the file's beginning, which may lie before the first picture; timestamps alone decide which picture is
shown when (frame_clock.py), so any rate, a variable one too, comes out right. How a picture is brought into the shape
and colors that a player shows: shown_picture.py. One picture is held at a time: memory does not grow with the file.
Sound is read by sound_track.py from the same zero; its `read_speech` is offered here, too.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.containers import MediaFile, breaks_off, is_short, open_container
from espnet_vivit.media.files.frame_clock import at_video_rate
from espnet_vivit.media.files.shown_picture import PictureMaker
from espnet_vivit.media.files.sound_track import read_speech
from espnet_vivit.media.files.timed_frames import can_seek, decode_timed
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.media.files.video_file import open_npy
from espnet_vivit.units import VIDEO_RATE_HZ, seconds_of_frames

if TYPE_CHECKING:
    from espnet_vivit.media.files.timed_frames import Timed

__all__ = ["Source", "SourceInfo", "open_source", "read_speech"]

_SEEK_FROM_S = 20.0  # below, decoding from the start costs less than finding a key frame
_LEAD_S = 0.25  # sound that lies before the first picture for less holds no word


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a file. `num_source_frames` and `broken_packets` count what was decoded so far, 0 before."""

    path: str
    height: int  # pixels as a player shows them: upright and square
    width: int
    rate_hz: float  # pictures per second in the file, on average
    num_source_frames: int
    duration_s: float  # of the pictures, as the header says; NaN where it says nothing
    rotation: int  # degrees counter-clockwise by which pictures were turned to stand upright
    codec: str
    audio_codec: str | None
    audio_rate_hz: int | None
    broken_packets: int = 0
    lead_frames: int = 0  # pictures at 25 per second from the file's beginning to its first picture
    transfer: str = ""  # "hlg" or "pq" of pictures that were brought from it to BT.709
    reflected: bool = False  # whether pictures were also mirrored
    tracks: Tracks = AS_PLAYERS
    remarks: tuple[str, ...] = ()  # what a person should know about the file, so far as it was read


@contextmanager
def open_source(path: str | os.PathLike, *, tracks: Tracks = AS_PLAYERS) -> Iterator[Source]:
    """A `Source`, closed at the end. Raises MediaError: no such file, unreadable, without a picture or that track."""
    path = Path(path)
    if path.suffix == ".npy":
        yield _NpySource(path)
        return
    with open_container(path, tracks) as media:
        yield Source(media, tracks)


class Source:
    """An open file: `info`, and the pictures by `frames()`. Made by `open_source`."""

    def __init__(self, media: MediaFile, tracks: Tracks = AS_PLAYERS):
        path, stream = media.path, media.video
        if stream is None:
            if media.container.streams.video:
                raise MediaError(f"{path} has no video stream that can be decoded", fix="Encode it again, as H.264.")
            raise MediaError(f"{path} has no video stream", fix="Is it an audio file?")
        self._media, self._path, self._stream, self._tracks = media, path, stream, tracks
        self.counts = {"frames": 0, "broken": 0}
        self._decoding = self._decode()
        first = next(self._decoding, None)
        if first is None:
            raise MediaError(f"{path} holds no video frame that can be decoded", fix="Record or encode it again.")
        self._first = first
        self.zero_s, self.lead_frames = media.clock(first[0])
        self._maker = PictureMaker(stream, first[2])
        self._info = self._probe()

    @property
    def info(self) -> SourceInfo:
        counts = {"num_source_frames": self.counts["frames"], "broken_packets": self.counts["broken"]}
        return replace(self._info, remarks=(*self._media.remarks, *self._remarks()), **counts)

    def _remarks(self) -> Iterator[str]:
        lead_s = seconds_of_frames(self.lead_frames)
        if lead_s > _LEAD_S and self._media.sound is not None:
            yield f"the first picture comes {lead_s:.2f} s after the beginning: only sound lies before it"
        if self._maker.interlaced:
            yield "the video is interlaced: lines of two moments are in each picture; deinterlace it (ffmpeg: bwdif)"
        if self._maker.other_size is not None:
            (height, width), other = (self._info.height, self._info.width), self._maker.other_size
            yield f"the picture's size changes from {width}x{height} (to {other[1]}x{other[0]}): it is scaled to that"

    def first_index(self, start_s: float = 0.0) -> int:
        """Which picture at 25 per second, counted from the file's beginning, `frames(start_s=…)` gives first."""
        return max(self.lead_frames, round(start_s * VIDEO_RATE_HZ))

    def frames(self, *, start_s: float = 0.0, end_s: float | None = None) -> Generator[np.ndarray, None, None]:
        """(H, W, 3) uint8 RGB pictures at 25 per second, those of `start_s` to `end_s` seconds of the file.

        A picture shown twice is the same array twice: do not write into it. To be called once.
        Raises MediaError where a file breaks off, after the pictures before; PauseError in the midst of a long pause.
        """
        first = self.first_index(start_s)
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        shown: tuple[object, np.ndarray] | None = None  # frame, picture
        for frame in at_video_rate(self._timed_from(seconds_of_frames(first)), first=first, end=last):
            if shown is None or frame is not shown[0]:
                shown = frame, self._maker.picture(frame)
            yield shown[1]

    def _timed_from(self, start_s: float) -> Timed:
        """(time_s, duration_s, frame), counted from the file's beginning; not much before a late `start_s`."""
        near = start_s - seconds_of_frames(self.lead_frames) <= _SEEK_FROM_S
        timed = self._from_first() if near else self._sought(start_s)
        end_s = 0.0
        for time_s, duration_s, frame in timed:
            end_s = time_s + duration_s
            yield time_s - self.zero_s, duration_s, frame
        self._check_complete(end_s)

    def _from_first(self) -> Timed:
        yield from chain([self._first], self._decoding)
        self._media.check_whole()

    def _sought(self, start_s: float) -> Timed:
        """From a key frame before `start_s` on: by the file's index, or by reading the file up to there undecoded."""
        import av

        assert self._stream.time_base is not None  # streams that are read have one
        self._decoding.close()
        from_s, first, container = self.zero_s + start_s - 1, None, self._media.container
        if can_seek(container, from_s):
            try:
                container.seek(int(from_s / self._stream.time_base), stream=self._stream)
                timed = self._decode()
                first = next(timed, None)
            except av.FFmpegError:  # files without an index may refuse
                first = None
        if first is not None and first[0] - self.zero_s <= start_s:
            yield from chain([first], timed)
            self._media.check_whole()
            return
        with open_container(self._path, self._tracks) as media:
            assert media.video is not None  # it is the same file
            yield from decode_timed(media, media.video, self.counts, from_s)
            media.check_whole()
            self._media.remarks.update(media.remarks)

    def _decode(self) -> Timed:
        return decode_timed(self._media, self._stream, self.counts)

    def _check_complete(self, end_s: float) -> None:
        """end_s: on the file's own clock, from which some formats count their length."""
        expected_s = self._info.duration_s
        if is_short(max(end_s, end_s - self._first[0]), expected_s):  # not where it is NaN
            raise breaks_off(self._path, end_s - self.zero_s, expected_s, " of pictures")

    def _probe(self) -> SourceInfo:
        stream, audio, maker = self._stream, self._media.sound, self._maker
        stated_s = self._media.stated_end_s(stream)
        return SourceInfo(
            path=str(self._path),
            height=maker.height,
            width=maker.width,
            rate_hz=float(stream.average_rate or stream.guessed_rate or 0),
            num_source_frames=0,
            duration_s=float("nan") if stated_s is None else stated_s,
            rotation=maker.orientation.rotation,
            codec=stream.codec_context.name,
            audio_codec=audio.codec_context.name if audio else None,
            audio_rate_hz=audio.codec_context.sample_rate if audio else None,
            lead_frames=self.lead_frames,
            transfer=maker.transfer,
            reflected=maker.orientation.reflected,
            tracks=self._tracks,
        )


class _NpySource(Source):
    """Gray pictures of an array file, 25 per second, read from the disk as they are asked for."""

    def __init__(self, path: Path):
        self._frames = open_npy(path)
        self.zero_s, self.lead_frames, self.counts = 0.0, 0, {"frames": 0, "broken": 0}
        num_frames, height, width = self._frames.shape
        duration_s = num_frames / VIDEO_RATE_HZ
        self._info = SourceInfo(str(path), height, width, float(VIDEO_RATE_HZ), 0, duration_s, 0, "npy", None, None)

    @property
    def info(self) -> SourceInfo:
        return replace(self._info, num_source_frames=self.counts["frames"])

    def frames(self, *, start_s: float = 0.0, end_s: float | None = None) -> Generator[np.ndarray, None, None]:
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        for gray in self._frames[round(start_s * VIDEO_RATE_HZ) : last]:
            self.counts["frames"] += 1
            yield np.repeat(gray[:, :, None], 3, axis=2)
