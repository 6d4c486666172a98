"""Opening and demuxing of media files: FFmpeg's ways, through PyAV, with our errors."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_vivit.errors import MediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Timed = Generator[tuple[float, float, Any], None, None]  # (time_s, duration_s, PyAV's frame)

_RESTART_S = 1.0  # times that fall by more begin anew (joined recordings); by less, a picture came twice


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The container, read-only; FFmpeg's errors inside the block become MediaError, which names the file."""
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    try:
        # "file:" keeps FFmpeg from taking a name with a colon for a network address
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            yield container
    except (av.FFmpegError, UnicodeError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)", fix="Copy or record it again.") from error
        reason = getattr(error, "strerror", None) or error
        raise MediaError(
            f"cannot decode {path} ({reason})", fix="Check that the file exists, is complete, readable and plays."
        ) from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is no cover picture, decoding in one thread; None if there is none.

    Measured on clips of a few seconds: threads cost more than they give; a corpus is prepared by a process per core.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "NONE"
            return stream
    return None


def decode_timed(container: InputContainer, stream: VideoStream | AudioStream, counts: dict[str, int]) -> Timed:
    """(time_s, duration_s, frame) of a stream, times rising strictly; `counts` of frames and broken packets grow.

    A packet that cannot be decoded is counted and left out, as players do. A clock that begins anew goes on from where
    it was; a frame without a time follows the one before.
    """
    import av

    rate = float(stream.average_rate or stream.guessed_rate or 25) if stream.type == "video" else 0
    shift_s, last_s, length_s, duration = 0.0, None, 1 / rate if rate else 0.0, None
    for packet in container.demux(stream):
        try:
            frames: list[Any] = packet.decode()
        except av.InvalidDataError:
            counts["broken"] += 1
            continue
        for frame in frames:
            counts["frames"] += 1
            if stream.type == "audio":
                length_s = frame.samples / frame.sample_rate
            elif frame.duration and frame.duration != duration:
                duration = frame.duration
                length_s = float(duration * frame.time_base)
            if frame.time is None:
                time_s = 0.0 if last_s is None else last_s[1]
            else:
                time_s = frame.time + shift_s
            if last_s is not None and time_s <= last_s[0]:
                if time_s > last_s[0] - _RESTART_S:
                    continue
                shift_s += last_s[1] - time_s
                time_s = last_s[1]
            last_s = (time_s, time_s + length_s)
            yield time_s, length_s, frame
