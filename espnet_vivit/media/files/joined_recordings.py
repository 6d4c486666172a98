"""Packets of joined recordings in; the same packets, their times as of one recording, out.

Recordings that are strung together as files (`cat a.mpg b.mpg`; also .ts, .vob, .mts) carry one clock after the other:
in the middle of the file, times begin anew. Where they do, all streams are moved by one and the same shift: the new
recording begins where the longer of the old one's streams ended, as FFmpeg's concat demuxer does it. Moved each by its
own length, sound and pictures would come apart by a little more at each joint.

The streams of a file begin anew at different packets. From the first that does, packets are held back until the others
have done so, too, or until they are too many: then the others have no part in the new recording, or are badly
interleaved. Nothing is decoded here. What comes out depends on the packets alone, so whoever reads a file, for its
pictures or for its sound, has the same clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet

_RESTART_S = 1.0  # decoding times that fall by more begin anew
_HELD_BYTES = 32 << 20  # half a minute of good video


class _Clock:
    """How far a stream is, in seconds: `last_s` by its own time, `end_s` moved by `shift_s`."""

    def __init__(self, tick_s: float):
        self.tick_s = tick_s
        self.last_s: float | None = None
        self.end_s = self.shift_s = 0.0

    def begin_s(self, packet: Packet) -> float:
        """Of a packet that says when it is shown, or at least when it is decoded."""
        ticks = packet.dts if packet.pts is None else packet.pts
        assert ticks is not None
        return ticks * self.tick_s

    def begins_anew(self, packet: Packet) -> bool:
        decoded_s = self._decoded_s(packet)
        return self.last_s is not None and decoded_s is not None and decoded_s < self.last_s - _RESTART_S

    def pass_by(self, packet: Packet) -> None:
        decoded_s = self._decoded_s(packet)
        if decoded_s is not None:
            self.last_s = decoded_s
            self.end_s = max(self.end_s, self.begin_s(packet) + (packet.duration or 0) * self.tick_s + self.shift_s)

    def move(self, packet: Packet) -> None:
        if self.shift_s:
            ticks = round(self.shift_s / self.tick_s)
            dts = packet.pts if self._has_old_dts(packet) else packet.dts
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if dts is None else dts + ticks

    def _decoded_s(self, packet: Packet) -> float | None:
        """When it is decoded; of a packet that does not say, when it is shown, if those can be compared."""
        if packet.dts is None:
            return self.begin_s(packet) if packet.is_keyframe and packet.pts is not None else None
        return self.begin_s(packet) if self._has_old_dts(packet) else packet.dts * self.tick_s

    def _has_old_dts(self, packet: Packet) -> bool:
        """Whether it would be shown long before it is decoded: the first one after a joint, in MPEG."""
        if packet.pts is None or packet.dts is None:
            return False
        return (packet.dts - packet.pts) * self.tick_s > _RESTART_S


def packets_on_one_clock(packets: Iterable[Packet], streams: dict[int, float]) -> Iterator[Packet]:
    """The packets of the streams; where times begin anew they are moved, the packets' own.

    streams: index of each stream in the container, and the length of its clock's tick in seconds.
    """
    ahead: deque[Packet] = deque()
    packets, clocks, shift_s = iter(packets), {index: _Clock(tick_s) for index, tick_s in streams.items()}, 0.0
    while (packet := ahead.popleft() if ahead else next(packets, None)) is not None:
        clock = clocks[packet.stream.index]
        if clock.begins_anew(packet):
            if clock.begin_s(packet) + shift_s < clock.end_s - _RESTART_S:  # else another stream has begun anew before
                shift_s = _shift(packet, ahead, packets, clocks)
            clock.shift_s = shift_s
        clock.pass_by(packet)
        clock.move(packet)
        yield packet


def _shift(first: Packet, ahead: deque[Packet], packets: Iterator[Packet], clocks: dict[int, _Clock]) -> float:
    """What moves the recording that begins with `first` behind the one before; `ahead` is filled with what was read."""
    clocks = {index: copy(clock) for index, clock in clocks.items() if clock.last_s is not None}
    begins_s = {first.stream.index: clocks[first.stream.index].begin_s(first)}
    for packet in _looking_ahead(ahead, packets):
        if len(begins_s) == len(clocks):
            break
        index = packet.stream.index
        if index in begins_s or index not in clocks:
            continue
        if clocks[index].begins_anew(packet):
            begins_s[index] = clocks[index].begin_s(packet)
        else:
            clocks[index].pass_by(packet)
    return max(clock.end_s for clock in clocks.values()) - min(begins_s.values())


def _looking_ahead(ahead: deque[Packet], packets: Iterator[Packet]) -> Iterator[Packet]:
    yield from tuple(ahead)
    held = sum(packet.size for packet in ahead)
    while held < _HELD_BYTES and (packet := next(packets, None)) is not None:
        ahead.append(packet)
        held += packet.size
        yield packet
