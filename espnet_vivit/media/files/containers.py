"""Opening of media files: the tracks that are read, where their time begins, and whether they are whole.

Through PyAV, with our errors. Every command that reads a recording opens it here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.clock_glitches import without_glitches
from espnet_vivit.media.files.joined_recordings import packets_on_one_clock
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks, choose_pictures, choose_sound, packets_of
from espnet_vivit.media.files.whole_recording import (
    formats_of,
    is_torn,
    missing_bytes,
    stated_file_s,
    stated_stream_s,
)
from espnet_vivit.units import VIDEO_RATE_HZ

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream


_OTHER_PROGRAM_S = 60.0  # a stream that begins so much earlier has another clock than what is read
_FROM_ZERO = {"flac"}  # formats of a stated length count from 0, whatever of their beginning is lost
_MISSING_S = 0.5  # a file that ends earlier than its header says is truncated
_LAST_PACKETS = 4  # one that is incomplete among them is the file's last; parsers give others of its data after it


def open_file(path: Path) -> InputContainer:
    """The container as PyAV opens it: odd bytes in its texts are replaced, and a name with a colon is no address.

    Raises MediaError for what is not a file: a pipe, which may never end, a device, a folder, a link to itself.
    """
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    check_is_file(path)
    # PyAV 19 replaces what is no UTF-8 by itself, and has no such option any more
    options: dict = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    return av.open(f"file:{path}", **options)


@contextmanager
def open_container(path: Path, tracks: Tracks = AS_PLAYERS) -> Iterator[MediaFile]:
    """The file, read-only; FFmpeg's errors inside the block become MediaError, which names the file."""
    import av

    try:
        with open_file(path) as container:
            yield MediaFile(path, container, tracks)
    except (av.FFmpegError, UnicodeError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)", fix="Copy or record it again.") from error
        reason = getattr(error, "strerror", None) or error
        raise MediaError(
            f"cannot decode {path} ({reason})", fix="Check that the file exists, is complete, readable and plays."
        ) from error


class MediaFile:
    """An open file, the track of pictures and the track of sound that are read of it, and where its time begins.

    `remarks`: what a person should know about how it is read, in words.
    """

    def __init__(self, path: Path, container: InputContainer, tracks: Tracks = AS_PLAYERS):
        self.path, self.container, self._tracks = path, container, tracks
        self.remarks: dict[str, None] = {}  # in the order in which they came
        self._reached_s: dict[int, float] = {}  # the end of what was read of each stream
        self._whole_packets = _LAST_PACKETS  # that were read since the last incomplete one

    @cached_property
    def video(self) -> VideoStream | None:
        """The pictures that are read, in one thread; None if there are none that can be decoded.

        Measured on clips of a few seconds: threads cost more than they give, and a corpus takes a process per core.
        """
        stream = choose_pictures(self.path, self.container, self._tracks.video)
        if stream is not None:
            stream.thread_type = "NONE"
        return stream

    @cached_property
    def sound(self) -> AudioStream | None:
        """The sound that is read; None if there is none that can be decoded: see `undecodable_sound`."""
        stream, remark = choose_sound(self.path, self.container, self._tracks.audio)
        if remark:
            self.remarks[remark] = None
        return stream

    @property
    def undecodable_sound(self) -> bool:
        """Whether the file has sound, but only in codecs that FFmpeg has no decoder for."""
        return bool(self.container.streams.audio) and self.sound is None

    def clock(self, first_s: float) -> tuple[float, int]:
        """(the file's time zero on its own clock in seconds, pictures at 25 per second that come before the first).

        first_s: when the first picture is shown, or without pictures the first sound heard. Zero is where the file
        begins for a player, moved by at most half a picture so that the first one lies on the grid of 25 per second.
        """
        begin_s = self._begin_s()
        lead = 0 if begin_s is None else max(0, round((first_s - begin_s) * VIDEO_RATE_HZ))
        return first_s - lead / VIDEO_RATE_HZ, lead

    def _begin_s(self) -> float | None:
        """The container's start; of a broadcast with several programs, whose clocks differ, that of what is read."""
        import av

        if formats_of(self.container) & _FROM_ZERO and self.container.duration:
            return 0.0
        begin_s = None if self.container.start_time is None else self.container.start_time / av.time_base
        own_s = [
            float(stream.start_time * stream.time_base)
            for stream in (self.video, self.sound)
            if stream is not None and stream.start_time is not None and stream.time_base is not None
        ]
        if own_s and (begin_s is None or min(own_s) - begin_s > _OTHER_PROGRAM_S):
            return min(own_s)
        return begin_s

    def packets(self) -> Iterator[Packet]:
        """Packets of the pictures and the sound that are read, on one steady clock.

        Whoever reads one of the two goes through both, so that all readers of a file have the same clock.
        """
        streams = [stream for stream in (self.video, self.sound) if stream is not None]
        ticks_s = {stream.index: tick_s(stream) for stream in streams}
        mended = without_glitches(packets_of(self.container, streams), ticks_s)
        for packet in packets_on_one_clock(mended, ticks_s):
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is not None:
                index = packet.stream.index
                end_s = (ticks + (packet.duration or 0)) * ticks_s[index]
                if end_s > self._reached_s.get(index, 0.0):
                    self._reached_s[index] = end_s
                self._whole_packets = 0 if packet.is_corrupt else self._whole_packets + 1
            yield packet

    def stated_end_s(self, stream: VideoStream | AudioStream) -> float | None:
        """When the stream ends, in seconds, as the file's header says; None where it says nothing."""
        return stated_stream_s(self.container, stream)

    def check_whole(self) -> None:
        """To be called when all packets have been read. Raises MediaError if the file is shorter than its header says.

        Where the header says nothing, a last packet that is incomplete is remarked on.
        """
        reached_s = max(self._reached_s.values(), default=0.0)
        streams = [stream for stream in (self.video, self.sound) if stream is not None]
        stated = [(self.stated_end_s(stream), self._reached_s.get(stream.index, 0.0)) for stream in streams]
        if len(streams) == len(self.container.streams):
            stated.append((stated_file_s(self.container), reached_s))
        for expected_s, end_s in stated:
            if expected_s is not None and is_short(end_s, expected_s):
                raise breaks_off(self.path, end_s, expected_s)
        missing = missing_bytes(self.path, formats_of(self.container))
        if missing is not None:
            there, expected = missing
            raise MediaError(
                f"{self.path} breaks off",
                found=f"{there} bytes, {reached_s:.2f} s",
                expected=f"{expected} bytes, as its header says",
                fix="Copy it again, or name the part to read (end_s).",
            )
        torn = self._whole_packets < _LAST_PACKETS or is_torn(self.path, formats_of(self.container))
        if torn and all(seconds is None for seconds, _ in stated):
            self.remarks["the file ends in the middle of its data: is it whole?"] = None


def tick_s(stream: VideoStream | AudioStream) -> float:
    assert stream.time_base is not None  # streams that are read have one
    return float(stream.time_base)


def is_short(end_s: float, expected_s: float) -> bool:
    """Whether a stream that ends there misses more than headers and streams usually differ by."""
    return end_s < expected_s - max(_MISSING_S, 0.02 * expected_s)


def breaks_off(path: Path, end_s: float, expected_s: float, what: str = "") -> MediaError:
    return MediaError(
        f"{path} breaks off",
        found=f"{end_s:.2f} s{what}",
        expected=f"{expected_s:.2f} s, as its header says",
        fix="Copy it again, or name the part to read (end_s).",
    )


def stated_duration_s(path: Path) -> float | None:
    """What the file's header says; None where it says nothing."""
    import av

    try:
        with open_file(path) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, MediaError):  # reading it will say what is wrong
        return None


def check_is_file(path: Path) -> None:
    """Raises MediaError for whatever is not a file: nothing is waited for, and nothing is read."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}", fix="Check the path") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise MediaError(f"{path} is a symbolic link that leads to itself", fix="Name the file itself") from None
        raise MediaError(f"cannot read {path} ({error.strerror})", fix="Check the path and its permissions") from None
    if stat.S_ISDIR(mode):
        raise MediaError(f"{path} is a folder", fix=f"Name the files: {path}/*")
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
        kind = kinds.get(stat.S_IFMT(mode), "not a file")
        raise MediaError(f"{path} is {kind}", expected="a file", fix="Record it to a file first, and name that")


def streams_of(path: Path, tracks: Tracks = AS_PLAYERS) -> set[str]:
    """Which of "video" and "audio" the file has and FFmpeg decodes; an album's cover is no video.

    Raises MediaError: unreadable.
    """
    if path.suffix == ".npy":
        return {"video"}
    with open_container(path, tracks) as media:
        found = {"video": media.video is not None, "audio": media.sound is not None}
    return {name for name, there in found.items() if there}
