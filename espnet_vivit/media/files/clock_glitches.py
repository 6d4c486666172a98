"""Packets of a file in; the same packets, single broken timestamps mended, out.

A flipped bit in one packet's time would shift all that follows by hours. A packet that is far ahead of its stream's
last one waits for the next of its stream: if that one is back where the clock was, the time between them was wrong, and
it follows the packet before. If not, the recording pauses, or another one begins. Nothing is decoded here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet

_AHEAD_S = 60.0
_BEHIND_S = 1.0  # pictures are not stored in the order in which they are shown
_HELD_BYTES = 32 << 20


def without_glitches(packets: Iterable[Packet], streams: dict[int, float]) -> Iterator[Packet]:
    """The packets in their order.

    streams: index of each stream in the container, and the length of its clock's tick in seconds.
    """
    last_s: dict[int, float] = {}  # of each stream
    held: deque[Packet] = deque()  # a packet that is far ahead, and what came after it
    held_bytes = 0
    for packet in packets:
        index, time_s = packet.stream.index, _time_s(packet, streams)
        if held:
            first, first_s = held[0], _time_s(held[0], streams)
            assert first_s is not None  # it is ahead
            held.append(packet)
            held_bytes += packet.size
            if index == first.stream.index and time_s is not None:
                before_s = last_s[index]
                if before_s - _BEHIND_S < time_s < before_s + _AHEAD_S:
                    _follow(first, before_s, streams[index])
            elif held_bytes < _HELD_BYTES:
                continue
            yield from _released(held, last_s, streams)
            held_bytes = 0
            continue
        if time_s is not None and index in last_s and time_s > last_s[index] + _AHEAD_S:
            held.append(packet)
            held_bytes = packet.size
            continue
        if time_s is not None:
            last_s[index] = time_s
        yield packet
    yield from _released(held, last_s, streams)


def _released(held: deque[Packet], last_s: dict[int, float], streams: dict[int, float]) -> Iterator[Packet]:
    while held:
        packet = held.popleft()
        time_s = _time_s(packet, streams)
        if time_s is not None:
            last_s[packet.stream.index] = time_s
        yield packet


def _time_s(packet: Packet, streams: dict[int, float]) -> float | None:
    """When it is decoded, or if it does not say that, shown."""
    ticks = packet.pts if packet.dts is None else packet.dts
    return None if ticks is None else ticks * streams[packet.stream.index]


def _follow(packet: Packet, before_s: float, tick_s: float) -> None:
    """Give the packet a time right behind `before_s`."""
    ticks = round(before_s / tick_s) + max(1, packet.duration or 0)
    packet.dts = packet.pts = ticks
