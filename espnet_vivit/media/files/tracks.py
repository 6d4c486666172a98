"""Which of a file's tracks are read: those that a player would take, or those that were named.

Of the pictures: moving ones before stills (covers, thumbnails), then those with the `default` flag, then the first. Of
the sound: programs before comments and descriptions for the blind, then `default`, then the first; but if that track is
silent and another is not, the other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from espnet_vivit.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    Stream = TypeVar("Stream", AudioStream, VideoStream)

SILENT = 1e-3  # a track whose samples are all below -60 dB of full scale is not the one to listen to ...
_LOUDER = 10.0  # ... if another has samples so many times as high
_LISTEN_S = 600.0  # in which a track that has anything to say says it
_STILLS = ("attached_pic", "timed_thumbnails", "still_image", "dependent")
_ASIDES = ("comment", "lyrics", "karaoke", "visual_impaired", "non_diegetic", "descriptions")
_PEEKED_BYTES = 32 << 20  # within which a track that moves has a second picture


@dataclass(frozen=True)
class Tracks:
    """The tracks to read, counted from 1 among the file's of that kind; None: the one that a player takes."""

    video: int | None = None
    audio: int | None = None

    def __post_init__(self):
        for name, number in (("video_track", self.video), ("audio_track", self.audio)):
            if number is not None and not (isinstance(number, int) and number >= 1):
                raise ConfigError(f"bad {name}", found=repr(number), expected="1 for the file's first, 2, 3, …")


AS_PLAYERS = Tracks()


def choose_pictures(path: Path, container: InputContainer, number: int | None) -> VideoStream | None:
    """The track of pictures; None if there is none that can be decoded. Raises MediaError for a number too high."""
    if number is not None:
        return _numbered(path, container.streams.video, number, "video")
    found = [s for s in container.streams.video if s.codec_context is not None and not _flags(s, _STILLS[:1])]
    if len(found) > 1:
        moving = _moving(str(path))
        found.sort(key=lambda s: (s.index not in moving, _flags(s, _STILLS), not _flags(s, ("default",)), s.index))
    return found[0] if found else None


def choose_sound(path: Path, container: InputContainer, number: int | None) -> tuple[AudioStream | None, str]:
    """(the track of sound, a remark on the choice or ""); None if there is none that can be decoded.

    Raises MediaError for a number too high.
    """
    tracks = container.streams.audio
    if number is not None:
        return _numbered(path, tracks, number, "audio"), ""
    found = [stream for stream in tracks if stream.codec_context is not None]
    found.sort(key=lambda s: (_flags(s, _ASIDES), not _flags(s, ("default",)), s.index))
    if len(found) < 2:
        return (found[0] if found else None), ""
    status = path.stat()
    peaks = _peaks(str(path), status.st_size, status.st_mtime_ns, found[0].index)
    usual = peaks.get(found[0].index, 0.0)
    audible = max(_LOUDER * usual, SILENT)
    heard = next((stream for stream in found if peaks.get(stream.index, 0.0) >= audible), None)
    if usual >= SILENT or heard is None:
        return found[0], ""
    number_of = {stream.index: number for number, stream in enumerate(tracks, 1)}
    return heard, (
        f"audio track {number_of[found[0].index]} of {len(tracks)}, which players take, is silent: "
        f"track {number_of[heard.index]} is read"
    )


def _numbered(path: Path, tracks: Sequence[Stream], number: int, kind: str) -> Stream:
    if number > len(tracks):
        listed = "; ".join(f"{at}: {_described(track)}" for at, track in enumerate(tracks, 1))
        raise MediaError(f"{path} has no {kind} track {number}", found=listed or f"no {kind} track")
    track = tracks[number - 1]
    if track.codec_context is None:
        raise MediaError(f"{kind} track {number} of {path} cannot be decoded", fix="Encode it again.")
    return track


def _described(track: AudioStream | VideoStream) -> str:
    codec = "unknown codec" if track.codec_context is None else track.codec_context.name
    marks = [track.language or "", "default" if _flags(track, ("default",)) else "", track.metadata.get("title", "")]
    return ", ".join([codec, *filter(None, marks)])


def _flags(stream: AudioStream | VideoStream, names: Sequence[str]) -> bool:
    """Whether the file marks the stream as one of these."""
    from av.stream import Disposition

    return any(stream.disposition & getattr(Disposition, name, 0) for name in names)


def packets_of(container: InputContainer, streams: Sequence[AudioStream | VideoStream]) -> Iterator[Packet]:
    """The packets of the streams, to the file's end.

    PyAV before 19 stops with an IndexError at a packet of a stream that appears in the midst of a file, or when it ends
    the streams with an empty packet for each: what belongs to that stream, which nobody asked for, is passed over.
    """
    ended = False
    while not ended:
        try:
            for packet in container.demux(list(streams)):
                ended = ended or not packet.size
                yield packet
            return
        except IndexError:
            continue


def _moving(path: str) -> set[int]:
    """The video streams, by index, that have a second picture not far behind the first."""
    import av

    seen: Counter[int] = Counter()
    read = 0
    with av.open(f"file:{path}") as container:
        wanted = {stream.index for stream in container.streams.video}
        for packet in packets_of(container, container.streams.video):
            read += packet.size
            if packet.size:
                seen[packet.stream.index] += 1
            if read > _PEEKED_BYTES or all(seen[index] > 1 for index in wanted):
                break
    return {index for index, count in seen.items() if count > 1}


@lru_cache(maxsize=256)
def _peaks(path: str, size: int, changed_ns: int, usual: int) -> dict[int, float]:
    """The highest sample of each sound stream, by index: of all up to where that of the stream `usual` is audible."""
    import av

    peaks: dict[int, float] = {}
    with av.open(f"file:{path}") as container:
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        for packet in packets_of(container, streams):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in frames:
                index = packet.stream.index
                peaks[index] = max(peaks.get(index, 0.0), float(np.abs(samples_of(frame)).max(initial=0.0)))
                late = frame.time is not None and frame.time > _LISTEN_S
                if late or peaks.get(usual, 0.0) >= SILENT:
                    return peaks
    return peaks


def samples_of(frame) -> np.ndarray:
    """(channels, N) float32 in -1..1 of a decoded frame of sound, whatever its format."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        return values.astype(np.float32) / 128 - 1
    if values.dtype.kind == "i":
        return values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    return values.astype(np.float32)
