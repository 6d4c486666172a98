"""Long recordings made of clips, for the benchmarks."""

import math
from pathlib import Path

import av

from espnet_vivit.media.files.containers import stated_duration_s
from espnet_vivit.units import VIDEO_RATE_HZ


def concatenate(clips: list[Path], folder: Path, length_s: float | None = None) -> Path:
    """The clips one after the other, their packets copied with new times: each once, or round and round until
    `length_s`. A clip begins at a whole frame of 25 per second.
    """
    path, begun_s, number = folder / "long.mkv", 0.0, 0
    with av.open(str(clips[0])) as first, av.open(str(path), "w") as target:
        kinds = [stream.type for stream in (first.streams.video[0], *first.streams.audio[:1])]
        streams = {kind: target.add_stream_from_template(getattr(first.streams, kind)[0]) for kind in kinds}
        while number < len(clips) if length_s is None else begun_s < length_s:
            clip = clips[number % len(clips)]
            with av.open(str(clip)) as source:
                kept = [getattr(source.streams, kind)[0] for kind in kinds]
                origin_s = min(float(stream.start_time * stream.time_base) for stream in kept)
                for packet in source.demux(kept):
                    if packet.dts is None:
                        continue
                    shift = round((begun_s - origin_s) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.type]
                    target.mux(packet)
            begun_s += math.ceil(stated_duration_s(clip) * VIDEO_RATE_HZ) / VIDEO_RATE_HZ
            number += 1
    return path
