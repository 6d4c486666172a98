"""Opening of media files, and their frames with times: FFmpeg's ways, through PyAV, with our errors."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.joined_recordings import packets_on_one_clock

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    Timed = Generator[tuple[float, float, Any], None, None]  # (time_s, duration_s, PyAV's frame)

HEADERS_TO_TRUST = frozenset({"mov", "mp4", "matroska", "webm"})  # these state durations, others estimate them
_LONGEST_GROUP_S = 60.0  # where no key picture comes for so long, all is decoded


def open_file(path: Path) -> InputContainer:
    """The container as PyAV opens it: odd bytes in its texts are replaced, and a name with a colon is no address."""
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    # PyAV 19 replaces what is no UTF-8 by itself, and has no such option any more
    options: dict = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    return av.open(f"file:{path}", **options)


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The container, read-only; FFmpeg's errors inside the block become MediaError, which names the file."""
    import av

    try:
        with open_file(path) as container:
            yield container
    except (av.FFmpegError, UnicodeError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)", fix="Copy or record it again.") from error
        reason = getattr(error, "strerror", None) or error
        raise MediaError(
            f"cannot decode {path} ({reason})", fix="Check that the file exists, is complete, readable and plays."
        ) from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that can be decoded and is no cover picture, in one thread; None if there is none.

    Measured on clips of a few seconds: threads cost more than they give; a corpus is prepared by a process per core.
    """
    stream = _pictures(container)
    if stream is not None:
        stream.thread_type = "NONE"
    return stream


def _pictures(container: InputContainer) -> VideoStream | None:
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that can be decoded; None if there is none: see `undecodable_sound`."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def undecodable_sound(container: InputContainer) -> bool:
    """Whether the file has sound, but only in codecs that FFmpeg has no decoder for."""
    return bool(container.streams.audio) and sound_stream(container) is None


def can_seek(container: InputContainer, to_s: float) -> bool:
    """Whether the file's own clock leads to `to_s`: its format states how long it is, and it is that long.

    Other formats' clocks may begin anew in the middle of a file; joined recordings are longer than their header says.
    """
    import av

    if container.duration is None or not set(container.format.name.split(",")) & HEADERS_TO_TRUST:
        return False
    return to_s < container.duration / av.time_base


def steady_packets(container: InputContainer) -> Iterator[Packet]:
    """Packets of the pictures and the sound that are read (`video_stream`, `sound_stream`), on one steady clock.

    Whoever reads one of the two goes through both, so that all readers of a file have the same clock.
    """
    streams = [stream for stream in (_pictures(container), sound_stream(container)) if stream is not None]
    return packets_on_one_clock(container.demux(streams), {stream.index: _tick_s(stream) for stream in streams})


def decode_timed(
    container: InputContainer,
    stream: VideoStream | AudioStream,
    counts: dict[str, int],
    from_s: float | None = None,
) -> Timed:
    """(time_s, duration_s, frame) of a stream, times rising strictly; `counts` of frames and broken packets grow.

    A packet that cannot be decoded is counted and left out, as players do. A clock that begins anew goes on from where
    it was, for pictures and sound alike (joined_recordings.py). Frames much before `from_s` are left out, undecoded.
    """
    decoder = TimedDecoder(stream, counts)
    packets: Iterable[Packet] = (packet for packet in steady_packets(container) if packet.stream.index == stream.index)
    if from_s is not None:
        packets = _from_key_frame(packets, from_s, tick_s=_tick_s(stream))
    for packet in packets:
        yield from decoder.decode(packet)


def _tick_s(stream: VideoStream | AudioStream) -> float:
    assert stream.time_base is not None  # streams that are read have one
    return float(stream.time_base)


class TimedDecoder:
    """Packets of a stream in, frames with times out; a frame without a time follows the one before."""

    def __init__(self, stream: VideoStream | AudioStream, counts: dict[str, int]):
        rate = float(stream.average_rate or stream.guessed_rate or 25) if stream.type == "video" else 0
        self._is_sound, self._counts = stream.type == "audio", counts
        self._length_s, self._duration = 1 / rate if rate else 0.0, None
        self._last_s: float | None = None
        self._next_s = 0.0

    def decode(self, packet: Packet) -> Timed:
        """(time_s, duration_s, frame) of what the packet completes; a broken one is counted."""
        import av

        try:
            frames: list[Any] = packet.decode()
        except av.InvalidDataError:
            self._counts["broken"] += 1
            return
        for frame in frames:
            self._counts["frames"] += 1
            if self._is_sound:
                self._length_s = frame.samples / frame.sample_rate
            elif frame.duration and frame.duration != self._duration:
                self._duration = frame.duration
                self._length_s = float(frame.duration * frame.time_base)
            time_s = self._next_s if frame.time is None else frame.time
            if self._last_s is None or time_s > self._last_s:  # others came twice
                self._last_s, self._next_s = time_s, time_s + self._length_s
                yield time_s, self._length_s, frame


def _from_key_frame(packets: Iterable[Packet], from_s: float, *, tick_s: float) -> Iterator[Packet]:
    """From the last key frame before `from_s` on; from the first packet whose time is not known, if that is earlier."""
    packets, held, begin_s = iter(packets), [], None
    for packet in packets:
        ticks = packet.dts if packet.pts is None else packet.pts
        time_s = None if ticks is None else ticks * tick_s
        if packet.is_keyframe and time_s is not None and time_s <= from_s:
            held, begin_s = [], time_s
        elif not held:
            begin_s = time_s
        held.append(packet)
        if time_s is None or begin_s is None or time_s >= from_s or time_s - begin_s > _LONGEST_GROUP_S:
            break
    yield from held
    yield from packets


def stated_duration_s(path: Path) -> float | None:
    """What the file's header says; None where it says nothing."""
    import av

    try:
        with open_file(path) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError:  # reading it will say what is wrong
        return None


def check_is_file(path: Path) -> None:
    """Raises MediaError."""
    if path.is_dir():
        raise MediaError(f"{path} is a folder", fix=f"Name the files: {path}/*")
    if not path.is_file():
        raise MediaError(f"there is no file {path}", fix="Check the path")


def streams_of(path: Path) -> set[str]:
    """Which of "video" and "audio" the file has and FFmpeg decodes; an album's cover is no video.

    Raises MediaError: unreadable.
    """
    from espnet_vivit.media.files.containers import open_container, sound_stream, video_stream

    if path.suffix == ".npy":
        return {"video"}
    with open_container(path) as container:
        found = {"video": video_stream(container) is not None, "audio": sound_stream(container) is not None}
    return {name for name, there in found.items() if there}
