"""Any media file in; RGB pictures at 25 per second and speech at 16 kHz out, as streams.

    with open_source("talk.mov") as source:
        for picture in source.pictures():       # (H, W, 3) uint8, as a player shows it

Whatever FFmpeg decodes is read (through PyAV), one picture in memory at a time. Pictures are chosen by their time
stamps, so that a file of 60 or of changing pictures a second comes out at 25 without drifting; each 40 ms gets the
picture nearest in time. Time 0 is the first picture: sound that starts later is padded, earlier sound is cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.units import AUDIO_RATE_HZ, VIDEO_RATE_HZ

LONGEST_PICTURE_S = 60.0  # a picture that stands longer than this is a broken time stamp
_SEEK_MARGIN_S = 5.0  # how far before a wanted start decoding begins: indices are not exact everywhere
_MISSING_SHARE = 0.1  # of the announced pictures: fewer decoded ones than that mean a file that was cut off


@dataclass(frozen=True)
class SourceInfo:
    """What a file holds. `height` and `width` are as shown, after rotation; `rate_hz` is what the file announces.

    `num_source_frames` counts the pictures decoded so far; `audio_rate_hz` is None without sound; `rotation` in
    degrees, counter-clockwise.
    """

    path: str
    height: int
    width: int
    rate_hz: float
    num_source_frames: int
    duration_s: float
    rotation: int
    codec: str
    audio_rate_hz: int | None


class Source:
    """An open video stream; made by `open_source`."""

    def __init__(self, path: Path, container, stream):
        self._path, self._container, self._stream = path, container, stream
        self._rate_hz = float(stream.average_rate or stream.guessed_rate or VIDEO_RATE_HZ)
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise MediaError(f"{path} holds no picture that can be decoded", fix="Check that the file plays.")
        self._first = first
        self._rotation = int(getattr(first, "rotation", 0) or 0) % 360
        self._count, self._shape = 0, (first.height, first.width)

    @property
    def info(self) -> SourceInfo:
        height, width = self._shape if self._rotation % 180 == 0 else self._shape[::-1]
        audio = next(iter(self._container.streams.audio), None)
        return SourceInfo(
            path=str(self._path),
            height=height,
            width=width,
            rate_hz=self._rate_hz,
            num_source_frames=self._count,
            duration_s=_duration_s(self._container, self._stream),
            rotation=self._rotation,
            codec=self._stream.codec_context.name,
            audio_rate_hz=audio.rate if audio is not None else None,
        )

    def pictures(self, *, start_s: float = 0.0, end_s: float | None = None) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 pictures, 25 per second from `start_s` up to `end_s` seconds. Once per source.

        Raises MediaError for a file that is broken on the way, changes its size, or has fewer pictures than it says.
        """
        wanted = round(start_s * VIDEO_RATE_HZ)  # number of the next output picture
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        previous, previous_s, shown = None, 0.0, None
        for frame, time_s in self._timed(start_s):
            if previous is not None:
                while wanted / VIDEO_RATE_HZ < (previous_s + time_s) / 2 and wanted != last:
                    shown = self._rgb(previous) if shown is None else shown
                    yield shown
                    wanted += 1
            if wanted == last:
                return
            previous, previous_s, shown = frame, time_s, None
        self._check_complete(start_s)
        if previous is None:
            return
        end = round((previous_s + 1 / self._rate_hz) * VIDEO_RATE_HZ)
        for _ in range(wanted, end if last is None else min(end, last)):
            shown = self._rgb(previous) if shown is None else shown
            yield shown

    def _timed(self, start_s: float) -> Iterator[tuple[object, float]]:
        """Decoded frames with their times from the first picture's on, never going back."""
        origin, frames = self._first.time or 0.0, chain([self._first], self._frames)
        if start_s > 2 * _SEEK_MARGIN_S:
            frames = self._from_key_frame(origin, start_s)
        time_s = -1 / self._rate_hz
        for frame in frames:
            following = time_s + 1 / self._rate_hz if frame.time is None else max(time_s, frame.time - origin)
            if following - max(time_s, 0.0) > LONGEST_PICTURE_S and self._count:
                raise MediaError(
                    f"{self._path}: its time stamps jump from {time_s:.2f} s to {following:.2f} s",
                    fix="Encode it again: ffmpeg -i IN -vf fps=25 OUT.mp4",
                )
            time_s = following
            self._count += 1
            yield frame, time_s

    def _from_key_frame(self, origin: float, start_s: float) -> Iterator[object]:
        """Frames from a key frame well before `start_s`; from the beginning where the file cannot seek that far."""
        import av

        try:
            self._container.seek(int((origin + start_s - _SEEK_MARGIN_S) / self._stream.time_base), stream=self._stream)
            frames = self._decode()
            first = next(frames, None)
            if first is not None and first.time is not None and first.time - origin <= start_s:
                return chain([first], frames)
        except av.FFmpegError:
            first = None  # a format without an index: read from the beginning
        self._container.seek(0)
        return self._decode()

    def _decode(self) -> Iterator[object]:
        yield from self._container.decode(self._stream)

    def _rgb(self, frame) -> np.ndarray:
        if (frame.height, frame.width) != self._shape:
            raise MediaError(f"{self._path} changes its picture size on the way", fix="Encode it again at one size.")
        picture = frame.to_ndarray(format="rgb24")
        turns = round(self._rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _check_complete(self, start_s: float) -> None:
        announced = self._stream.frames  # 0 where the format does not say
        if start_s == 0 and self._count < announced * (1 - _MISSING_SHARE):
            raise MediaError(
                f"{self._path} is cut off",
                found=f"{self._count} pictures",
                expected=f"{announced}, which its header announces",
                fix="Copy or record it again.",
            )


@contextmanager
def open_source(path: str | os.PathLike) -> Iterator[Source]:
    """The video of a file, ready to stream. Raises MediaError, which names the file: unreadable, no video, broken."""
    path = Path(path)
    with _opened(path) as container:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise MediaError(f"{path} has no video stream", fix="Is it an audio file? Then choose modality audio.")
        stream.thread_type = "NONE"  # measured: threads cost more than they give on clips of a few seconds
        yield Source(path, container, stream)


def read_speech(path: str | os.PathLike, *, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray | None:
    """(N,) float32 in -1..1, 16 kHz, all channels mixed to one; None if the file has no sound.

    Only `start_s` to `end_s` seconds of it are kept, time 0 being the first picture. Raises MediaError.
    """
    blocks = stream_speech(path, start_s=start_s, end_s=end_s)
    return None if blocks is None else np.concatenate([np.zeros(0, np.float32), *blocks])


def stream_speech(
    path: str | os.PathLike, *, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[np.ndarray] | None:
    """`read_speech` as blocks of samples, each a fraction of a second; None if the file has no sound."""
    with _opened(Path(path)) as container:
        if not container.streams.audio:
            return None
    first, last = round(start_s * AUDIO_RATE_HZ), None if end_s is None else round(end_s * AUDIO_RATE_HZ)
    return _between(_speech_blocks(Path(path)), first, last)


def _between(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """Samples `first` to `last` of a stream of blocks."""
    position = 0
    for block in blocks:
        if last is not None and position >= last:
            return
        kept = block[max(0, first - position) : None if last is None else last - position]
        position += len(block)
        if len(kept):
            yield kept


def _speech_blocks(path: Path) -> Iterator[np.ndarray]:
    import av

    with _opened(path) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
        started, to_drop = False, 0
        for frame in chain(container.decode(stream), [None]):
            if frame is not None and not started:
                started, ahead = True, round(_sound_lead_s(container, frame) * AUDIO_RATE_HZ)
                to_drop = max(0, ahead)
                if ahead < 0:
                    yield np.zeros(-ahead, np.float32)
            for part in resampler.resample(frame) if started else ():
                block = part.to_ndarray()[0]  # (n,)
                dropped = min(to_drop, len(block))
                to_drop -= dropped
                if len(block) > dropped:
                    yield block[dropped:]


def _sound_lead_s(container, frame) -> float:
    """Seconds by which the sound starts before the first picture; 0 where a time is unknown or there is no video."""
    video = next((s for s in container.streams.video if not _is_cover(s)), None)
    if video is None or video.start_time is None or frame.time is None:
        return 0.0
    return float(video.start_time * video.time_base) - frame.time


def _duration_s(container, stream) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration is not None else 0.0  # FFmpeg counts microseconds


def _is_cover(stream) -> bool:
    """A cover picture of a sound file is a video stream to FFmpeg, and none to us."""
    disposition = getattr(stream, "disposition", None)
    return disposition is not None and bool(disposition & type(disposition).attached_pic)


@contextmanager
def _opened(path: Path):
    """An open container; FFmpeg's and the system's errors inside the block become MediaError."""
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder", expected="a media file")
        with av.open(str(path) if "://" not in str(path) else f"file:{path}") as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(
            f"cannot decode {path} ({error.strerror or error})",
            fix="Check that the file exists, may be read, is complete and plays.",
        ) from error
