"""Is a file whole? What its header states, in seconds or in bytes, against what was read of it.

FFmpeg hides it for some formats: of a WAV or AVI that was cut it takes the length that is left for the one that is
stated. So those are looked up here. Formats without a stated length (.mpg, .ts, raw streams) have nothing to compare.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# formats, by FFmpeg's names, whose streams' durations come from their headers
_STREAMS_STATE = frozenset(
    "mov mp4 flac aiff au tta wv ape tak ivf mxf mpc mpc8 w64 wav caf matroska webm rm smjpeg".split()
)
_FILE_STATES = frozenset({"matroska", "webm", "flv"})  # the header has one length for all streams
_UNKNOWN_BYTES = 0x7FFF0000  # sizes from here on are written by programs that do not know them
_TS_PACKET_BYTES = (188, 192, 204)
_TAIL_BYTES, _OGG_END = 1 << 17, 4  # more than the longest page or pack; the flag of a stream's last page
_PROGRAM_END, _PACK = 0xB9, 0xBA  # start codes of MPEG's program streams; those above them state a length
_CHAIN = 3
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"


def formats_of(container: InputContainer) -> set[str]:
    return set(container.format.name.split(","))


def stated_stream_s(container: InputContainer, stream: VideoStream | AudioStream) -> float | None:
    """When the stream ends, or how long it lasts, in seconds as its header says; None where it says nothing."""
    if "DURATION" in stream.metadata:  # matroska's, of this stream; FFmpeg may take the file's for the stream's
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    formats = formats_of(container)
    if "avi" in formats:
        rate = stream.average_rate if stream.type == "video" else None
        return float(stream.frames / rate) if rate and stream.frames else None
    if "caf" in formats and stream.frames and stream.type == "audio":
        return stream.frames / stream.codec_context.sample_rate
    if "mp3" in formats and not stream.start_time:  # without a Xing header, FFmpeg estimates
        return None
    if formats & (_STREAMS_STATE | {"mp3"}) and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None


def stated_file_s(container: InputContainer) -> float | None:
    """How long the longest of all streams lasts, as the header says; None where it says nothing."""
    if container.duration and formats_of(container) & _FILE_STATES:
        return container.duration / 1_000_000
    return None


def missing_bytes(path: Path, formats: set[str]) -> tuple[int, int] | None:
    """(bytes that are there, bytes that the header states) of a file that is shorter than that; None of others."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if "wav" in formats:
            stated = _wav_bytes(file, size)
        elif "w64" in formats:
            stated = _w64_bytes(file, size)
        elif "asf" in formats:
            stated = _asf_bytes(file)
        elif formats & {"mov", "mp4"}:
            stated = _mp4_bytes(file, size)
        else:
            stated = None
    return None if stated is None or stated <= size else (size, stated)


def is_torn(path: Path, formats: set[str]) -> bool:
    """Whether a file of a format without stated length ends in the middle of a packet, or without its end mark."""
    size = path.stat().st_size
    if "mpegts" in formats:
        return all(size % length for length in _TS_PACKET_BYTES)
    if not formats & {"ogg", "mpeg"}:
        return False
    with open(path, "rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if "mpeg" in formats:
        return _ends_in_mpeg_packet(tail)
    last = tail.rpartition(b"OggS")[2]  # version, flags, ...
    return len(last) > 1 and not last[1] & _OGG_END


def _ends_in_mpeg_packet(tail: bytes) -> bool:
    """Whether the last packet of a program stream goes on behind the file's end.

    Payload may look like a packet's beginning, so a chain of packets is looked for, each beginning where one ends.
    """
    for begin in re.finditer(rb"\x00\x00\x01[\xba-\xef]", tail):
        at, count = begin.start(), 0
        while at < len(tail) and (length := _mpeg_bytes(tail[at : at + 14])) is not None:
            at, count = at + length, count + 1
        if count >= _CHAIN:
            return at > len(tail)
    return False


def _mpeg_bytes(head: bytes) -> int | None:
    """How long the packet or header is that begins so; None of anything else. What is cut short is longer than it."""
    if head[:3] != b"\0\0\1"[: len(head)]:
        return None
    if len(head) < 14 and (len(head) < 6 or head[3] == _PACK):
        return 14
    if head[3] == _PACK:  # MPEG-1's, or MPEG-2's with stuffing
        return 12 if head[4] >> 4 == 2 else 14 + (head[13] & 7)
    if head[3] == _PROGRAM_END:
        return 4
    return 6 + int.from_bytes(head[4:6], "big") if head[3] > _PACK else None


def _wav_bytes(file: BinaryIO, size: int) -> int | None:
    """Where the data chunk ends. RF64 states it in its ds64 chunk."""
    head, long_data = file.read(12), None
    if len(head) < 12 or head[8:] != b"WAVE":
        return None
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            long_data = struct.unpack("<Q", file.read(16)[8:])[0]
        if name == b"data":
            if long_data is None and length >= _UNKNOWN_BYTES:
                return None
            return at + 8 + (length if long_data is None else long_data)
        at += 8 + length + length % 2
    return None


def _w64_bytes(file: BinaryIO, size: int) -> int | None:
    at = 40
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name == _W64_DATA:
            return at + length if length < 1 << 62 else None
        at += max(24, (length + 7) // 8 * 8)
    return None


def _asf_bytes(file: BinaryIO) -> int | None:
    """The file's size in its File Properties object, unless it is marked as a broadcast."""
    head = file.read(30)
    if head[:16] != _ASF_HEADER:
        return None
    objects, at = file.read(min(struct.unpack("<Q", head[16:24])[0], 1 << 20)), 0
    while at + 24 <= len(objects):
        name, length = struct.unpack("<16sQ", objects[at : at + 24])
        if name == _ASF_FILE_PROPERTIES and at + 92 <= len(objects):
            stated, flags = struct.unpack("<Q", objects[at + 40 : at + 48])[0], objects[at + 88]
            return None if flags & 1 else stated
        at += max(24, length)
    return None


def _mp4_bytes(file: BinaryIO, size: int) -> int | None:
    """Where the last of the file's boxes ends."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            wide = file.read(8)
            length = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 0
        if length < 8 or not name.isalnum():  # 0: up to the file's end; others: something that was appended
            return None
        at += length
    return at
