"""An open media file in; its frames with their times, on one steady clock, out."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from espnet_vivit.media.files.containers import MediaFile, tick_s
from espnet_vivit.media.files.whole_recording import formats_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    Timed = Generator[tuple[float, float, Any], None, None]  # (time_s, duration_s, PyAV's frame)

_CAN_SEEK = frozenset({"mov", "mp4", "matroska", "webm"})  # these state durations, others estimate them
_LONGEST_GROUP_S = 60.0  # where no key picture comes for so long, all is decoded


def can_seek(container: InputContainer, to_s: float) -> bool:
    """Whether the file's own clock leads to `to_s`: its format states how long it is, and it is that long.

    Other formats' clocks may begin anew in the middle of a file; joined recordings are longer than their header says.
    """
    import av

    if container.duration is None or not formats_of(container) & _CAN_SEEK:
        return False
    return to_s < container.duration / av.time_base


def decode_timed(
    media: MediaFile,
    stream: VideoStream | AudioStream,
    counts: dict[str, int],
    from_s: float | None = None,
) -> Timed:
    """(time_s, duration_s, frame) of a stream, times rising strictly; `counts` of frames and broken packets grow.

    A packet that cannot be decoded is counted and left out, as players do. A clock that begins anew goes on from where
    it was, for pictures and sound alike (joined_recordings.py). Frames much before `from_s` are left out, undecoded.
    """
    decoder = TimedDecoder(stream, counts)
    packets: Iterable[Packet] = (packet for packet in media.packets() if packet.stream.index == stream.index)
    if from_s is not None:
        packets = _from_key_frame(packets, from_s, seconds_of_tick=tick_s(stream))
    for packet in packets:
        yield from decoder.decode(packet)


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


def _from_key_frame(packets: Iterable[Packet], from_s: float, *, seconds_of_tick: float) -> Iterator[Packet]:
    """From the last key frame before `from_s` on; from the first packet whose time is not known, if that is earlier."""
    packets, held, begin_s = iter(packets), [], None
    for packet in packets:
        ticks = packet.dts if packet.pts is None else packet.pts
        time_s = None if ticks is None else ticks * seconds_of_tick
        if packet.is_keyframe and time_s is not None and time_s <= from_s:
            held, begin_s = [], time_s
        elif not held:
            begin_s = time_s
        held.append(packet)
        if time_s is None or begin_s is None or time_s >= from_s or time_s - begin_s > _LONGEST_GROUP_S:
            break
    yield from held
    yield from packets
