"""FILE → FRAMES: what a media file holds, and its pictures at 25 per second, one after the other.

    with open_source("clip.mov") as source:
        source.info                  # SourceInfo(height=1080, width=1920, rate_hz=29.97, …)
        for picture in source.frames(): ...          # (H, W, 3) uint8 RGB, upright

In: whatever FFmpeg decodes (through PyAV), or a `.npy` with (T, H, W) uint8 at 25 per second. Time counts from the
first picture on, and timestamps alone decide which picture is shown when (media/frame_clock.py), so any rate, a
variable one too, comes out right. One picture is held at a time: memory does not grow with the file.
Sound is read by media/sound_track.py from the same zero; its `read_speech` is offered here, too.
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
from espnet_vivit.media.files.containers import (
    HEADERS_TO_TRUST,
    can_seek,
    decode_timed,
    open_container,
    sound_stream,
    video_stream,
)
from espnet_vivit.media.files.frame_clock import at_video_rate
from espnet_vivit.media.files.sound_track import read_speech
from espnet_vivit.media.files.video_file import open_npy
from espnet_vivit.units import VIDEO_RATE_HZ

if TYPE_CHECKING:
    from av.container import InputContainer

    from espnet_vivit.media.files.containers import Timed

__all__ = ["Source", "SourceInfo", "open_source", "read_speech"]

_SEEK_FROM_S = 20.0  # below, decoding from the start costs less than finding a key frame
_MISSING_S = 0.5  # a file that ends earlier than its header says is truncated


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a file. `num_source_frames` and `broken_packets` count what was decoded so far, 0 before."""

    path: str
    height: int  # pixels, upright
    width: int
    rate_hz: float  # pictures per second in the file, on average
    num_source_frames: int
    duration_s: float  # of the pictures, as the header says; NaN where it says nothing
    rotation: int  # degrees counter-clockwise by which pictures were turned to stand upright
    codec: str
    audio_codec: str | None
    audio_rate_hz: int | None
    broken_packets: int = 0


@contextmanager
def open_source(path: str | os.PathLike) -> Iterator[Source]:
    """A `Source`, closed at the end. Raises MediaError: no such file, unreadable, or without a picture."""
    path = Path(path)
    if path.suffix == ".npy":
        yield _NpySource(path)
        return
    with open_container(path) as container:
        yield Source(path, container)


class Source:
    """An open file: `info`, and the pictures by `frames()`. Made by `open_source`."""

    def __init__(self, path: Path, container: InputContainer):
        from av.video.reformatter import VideoReformatter

        stream = video_stream(container)
        if stream is None:
            if container.streams.video:
                raise MediaError(f"{path} has no video stream that can be decoded", fix="Encode it again, as H.264.")
            raise MediaError(f"{path} has no video stream", fix="Is it an audio file?")
        self._path, self._container, self._stream = path, container, stream
        self.counts = {"frames": 0, "broken": 0}
        self._decoding = self._decode()
        first = next(self._decoding, None)
        if first is None:
            raise MediaError(f"{path} holds no video frame that can be decoded", fix="Record or encode it again.")
        self._first, self.zero_s = first, first[0]
        self._info = self._probe(first[2])
        self._converter = VideoReformatter()  # one for all: making its tables takes longer than using them

    @property
    def info(self) -> SourceInfo:
        return replace(self._info, num_source_frames=self.counts["frames"], broken_packets=self.counts["broken"])

    def frames(self, *, start_s: float = 0.0, end_s: float | None = None) -> Generator[np.ndarray, None, None]:
        """(H, W, 3) uint8 RGB pictures at 25 per second, `start_s` to `end_s` seconds after the first one.

        A picture shown twice is the same array twice: do not write into it. To be called once.
        Raises MediaError where a file breaks off, after the pictures before.
        """
        first = round(start_s * VIDEO_RATE_HZ)
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        shown: tuple[object, np.ndarray] | None = None  # frame, picture
        for frame in at_video_rate(self._timed_from(start_s), first=first, end=last):
            if shown is None or frame is not shown[0]:
                shown = frame, self._upright(frame)
            yield shown[1]

    def _timed_from(self, start_s: float) -> Timed:
        """(time_s, duration_s, frame), counted from the first picture; not much before `start_s` where that is late."""
        timed = chain([self._first], self._decoding) if start_s <= _SEEK_FROM_S else self._sought(start_s)
        end_s = 0.0
        for time_s, duration_s, frame in timed:
            end_s = time_s - self.zero_s + duration_s
            yield time_s - self.zero_s, duration_s, frame
        self._check_complete(end_s)

    def _sought(self, start_s: float) -> Timed:
        """From a key frame before `start_s` on: by the file's index, or by reading the file up to there undecoded."""
        import av

        assert self._stream.time_base is not None  # streams that are read have one
        self._decoding.close()
        from_s, first = self.zero_s + start_s - 1, None
        if can_seek(self._container, from_s):
            try:
                self._container.seek(int(from_s / self._stream.time_base), stream=self._stream)
                timed = self._decode()
                first = next(timed, None)
            except av.FFmpegError:  # files without an index may refuse
                first = None
        if first is not None and first[0] - self.zero_s <= start_s:
            yield from chain([first], timed)
            return
        with open_container(self._path) as container:
            stream = video_stream(container)
            assert stream is not None  # it is the same file
            yield from decode_timed(container, stream, self.counts, from_s)

    def _decode(self) -> Timed:
        return decode_timed(self._container, self._stream, self.counts)

    def _check_complete(self, end_s: float) -> None:
        expected_s = self._info.duration_s
        reached_s = end_s + max(0.0, self.zero_s)  # some formats count their length from the clock's zero
        if reached_s < expected_s - max(_MISSING_S, 0.02 * expected_s):
            raise MediaError(
                f"{self._path} breaks off",
                found=f"{end_s:.2f} s of pictures",
                expected=f"{expected_s:.2f} s, as its header says",
                fix="Copy it again, or name the part to read (end_s).",
            )

    def _probe(self, frame) -> SourceInfo:
        stream, audio = self._stream, sound_stream(self._container)
        duration_s = float("nan")
        if "DURATION" in stream.metadata:  # matroska's, of this stream; FFmpeg may take the file's for the stream's
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        elif set(self._container.format.name.split(",")) & HEADERS_TO_TRUST and stream.duration and stream.time_base:
            duration_s = float(stream.duration * stream.time_base)
        turned = round(frame.rotation / 90) % 4
        height, width = (frame.width, frame.height) if turned % 2 else (frame.height, frame.width)
        return SourceInfo(
            path=str(self._path),
            height=height,
            width=width,
            rate_hz=float(stream.average_rate or stream.guessed_rate or 0),
            num_source_frames=0,
            duration_s=duration_s,
            rotation=90 * turned,
            codec=stream.codec_context.name,
            audio_codec=audio.codec_context.name if audio else None,
            audio_rate_hz=audio.codec_context.sample_rate if audio else None,
        )

    def _upright(self, frame) -> np.ndarray:
        picture = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turned = self._info.rotation // 90
        if turned:
            picture = np.ascontiguousarray(np.rot90(picture, turned))
        height, width = self._info.height, self._info.width
        if picture.shape[:2] != (height, width):
            raise MediaError(
                f"{self._path} changes its picture size on the way",
                found=f"{picture.shape[1]}x{picture.shape[0]}",
                expected=f"{width}x{height}",
                fix="Encode it again at one size.",
            )
        return picture


class _NpySource(Source):
    """Gray pictures of an array file, 25 per second, read from the disk as they are asked for."""

    def __init__(self, path: Path):
        self._frames = open_npy(path)
        self.zero_s, self.counts = 0.0, {"frames": 0, "broken": 0}
        num_frames, height, width = self._frames.shape
        duration_s = num_frames / VIDEO_RATE_HZ
        self._info = SourceInfo(str(path), height, width, float(VIDEO_RATE_HZ), 0, duration_s, 0, "npy", None, None)

    def frames(self, *, start_s: float = 0.0, end_s: float | None = None) -> Generator[np.ndarray, None, None]:
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        for gray in self._frames[round(start_s * VIDEO_RATE_HZ) : last]:
            self.counts["frames"] += 1
            yield np.repeat(gray[:, :, None], 3, axis=2)
