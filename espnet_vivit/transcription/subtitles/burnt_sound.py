"""The sound of a video whose pictures are encoded again: copied where the kind of file takes it, else encoded, too."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.media.files.timed_frames import TimedDecoder

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

_COPIED = {".mp4": {"aac", "mp3", "ac3", "alac", "opus"}}  # codecs that players expect in it; .mkv holds any
_USUAL_RATE_HZ = 48_000  # of sound at a rate that AAC has not; also where nothing says the rate before it is decoded


def copied_or_encoded(target: OutputContainer, heard: AudioStream) -> CopiedSound | EncodedSound:
    """What takes the packets of `heard`, in their order, into `target`; to be ended after the last one."""
    name = heard.codec_context.name
    copied = heard.codec_context.rate and name in _COPIED.get(Path(target.name).suffix, {name})
    return CopiedSound(target, heard) if copied else EncodedSound(target, heard)


class CopiedSound:
    """Packets as they are; those whose times do not rise, which no file takes, are left out."""

    def __init__(self, target: OutputContainer, heard: AudioStream):
        self._target, self._stream = target, target.add_stream_from_template(heard)
        self._last: int | None = None

    def add(self, packet: Packet) -> None:
        if packet.dts is None or (self._last is not None and packet.dts <= self._last):
            return
        self._last = packet.dts
        packet.stream = self._stream
        self._target.mux(packet)

    def end(self) -> None:
        """Nothing is held back."""


class EncodedSound:
    """Packets decoded, and encoded again as AAC; the sound may change its rate and channels on the way."""

    def __init__(self, target: OutputContainer, heard: AudioStream):
        from av import Codec

        rate_hz, known = heard.codec_context.rate, Codec("aac", "w").audio_rates or ()
        self._target = target
        self._stream = target.add_stream("aac", rate_hz if rate_hz in known else _USUAL_RATE_HZ)
        self._decoder = TimedDecoder(heard, {"frames": 0, "broken": 0})
        self._kind: tuple | None = None
        self._resampler = self._new_resampler()

    def add(self, packet: Packet) -> None:
        for time_s, _, frame in self._decoder.decode(packet):
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._kind:
                if self._kind is not None:
                    self._encode(self._resampler.resample(None))
                self._kind, self._resampler = kind, self._new_resampler()
            frame.pts, frame.time_base = round(time_s * frame.sample_rate), Fraction(1, frame.sample_rate)
            self._encode(self._resampler.resample(frame))

    def end(self) -> None:
        if self._kind is not None:
            self._encode(self._resampler.resample(None))
        self._target.mux(self._stream.encode(None))

    def _new_resampler(self):
        import av

        codec = self._stream.codec_context
        return av.AudioResampler(format=codec.format, layout=codec.layout, rate=codec.sample_rate)

    def _encode(self, frames) -> None:
        for frame in frames:
            self._target.mux(self._stream.encode(frame))
