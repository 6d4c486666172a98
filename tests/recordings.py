"""Media files with pictures and sound, made of arrays."""

from pathlib import Path

import av
import numpy as np

RATE_HZ = 25


def write_recording(path: Path, frames: np.ndarray | None, samples: np.ndarray | None = None) -> Path:
    """Lossless .mkv: gray frames (T, H, W) uint8 at 25 per second, and/or samples (N,) at 16 kHz."""
    with av.open(str(path), "w") as container:
        video = sound = None
        if frames is not None:
            video = container.add_stream("ffv1", RATE_HZ)
            video.height, video.width, video.pix_fmt = *frames.shape[1:], "gray"
        if samples is not None:
            sound = container.add_stream("flac", 16000)
            sound.layout = "mono"
        pictures = [] if frames is None else frames
        heard = np.zeros(0) if samples is None else samples
        for begin in range(0, max(len(pictures), -(-len(heard) // 640)), RATE_HZ):  # a second of each in turn
            for picture in pictures[begin : begin + RATE_HZ]:
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
            _add(container, sound, heard[begin * 640 : (begin + RATE_HZ) * 640], begin * 640)
        for stream in (video, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


def _add(container, stream, samples: np.ndarray, first: int) -> None:
    if not len(samples):
        return
    frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 16000, first
    container.mux(stream.encode(frame))
