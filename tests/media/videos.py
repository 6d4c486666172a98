"""Videos made for tests: PyAV writes what is asked for, whatever odd thing that is."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

BITS = 8


def numbered(index: int, height: int = 32, width: int = 48) -> np.ndarray:
    """(H, W, 3) uint8: the index as 8 stripes, black or white, which survive any codec and any size."""
    stripes = [255 * (index >> bit & 1) for bit in range(BITS)]
    row = np.repeat(stripes, -(-width // BITS))[:width].astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: np.ndarray) -> int:
    """The index of a picture made by `numbered`, gray or RGB."""
    row = picture.reshape(*picture.shape[:2], -1).mean(axis=(0, 2))
    width = len(row)
    step = -(-width // BITS)
    return sum(int(row[min(bit * step + step // 2, width - 1)] > 127) << bit for bit in range(BITS))


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    rate: Fraction | int = 25,
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict | None = None,
    speech: np.ndarray | None = None,
    speech_at_ms: int = 0,
    speech_rate_hz: int = 16_000,
    layout: str = "mono",
    sound_codec: str | None = None,
) -> Path:
    """Write RGB pictures, at `rate` or at `times_ms`, and (C, N) float32 or (N,) speech."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.codec_context.thread_count = 1
        pictures, converter = iter(pictures), VideoReformatter()
        first = next(pictures)
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], pixel_format
        if times_ms is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        audio = None
        if speech is not None:
            usual = "pcm_s16le" if Path(path).suffix == ".mkv" else "aac"
            audio = container.add_stream(sound_codec or usual, rate=speech_rate_hz)
            audio.layout = layout
        for index, picture in enumerate(chain([first], pictures)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = converter.reformat(frame, format=pixel_format, threads=1)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = index, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            _mux_speech(container, audio, np.atleast_2d(speech), speech_at_ms, layout)
    return Path(path)


def _mux_speech(container, audio, speech: np.ndarray, at_ms: int, layout: str) -> None:
    rate_hz, size = audio.codec_context.sample_rate, 1024
    for begin in range(0, speech.shape[1], size):
        block = np.ascontiguousarray(speech[:, begin : begin + size].astype(np.float32))
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = begin + at_ms * rate_hz // 1000
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def write_sound(
    path: Path, speech: np.ndarray, *, rate_hz: int, layout: str = "mono", codec: str = "pcm_s16le"
) -> Path:
    with av.open(f"file:{path}", "w") as container:
        audio = container.add_stream(codec, rate=rate_hz)
        audio.layout = layout
        _mux_speech(container, audio, np.atleast_2d(speech), 0, layout)
    return Path(path)


def write_tracks(
    path: Path,
    sounds: Sequence[np.ndarray],
    *,
    default: int | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    cover: np.ndarray | None = None,
    rate_hz: int = 16_000,
) -> Path:
    """A .mkv of several sounds, each (N,) float32, lossless; `default`: which one has that flag; a cover goes first."""
    from av.stream import Disposition

    with av.open(f"file:{path}", "w") as container:
        still = seen = None
        if cover is not None:
            still = container.add_stream("mjpeg", rate=25)
            still.height, still.width, still.pix_fmt = *cover.shape[:2], "yuvj420p"
        if pictures is not None:
            seen = container.add_stream("libx264", rate=25, options={"crf": "10"})
            seen.height, seen.width, seen.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        tracks = [container.add_stream("flac", rate=rate_hz, layout="mono") for _ in sounds]
        for index, track in enumerate(tracks):
            track.disposition = Disposition.default if index == default else Disposition(0)
        if still is not None:
            container.mux(still.encode(av.VideoFrame.from_ndarray(cover, format="rgb24").reformat(format="yuvj420p")))
            container.mux(still.encode(None))
        if seen is not None:
            for picture in pictures:
                container.mux(seen.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(seen.encode(None))
        for track, sound in zip(tracks, sounds, strict=True):
            samples = np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)
            for begin in range(0, len(samples), 4096):
                frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 4096], format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate_hz, begin
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return Path(path)


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4's track header: the point (x, y) is shown at (a x + c y, b x + d y)."""
    fixed = [value << 16 for value in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4  # version and flags follow; the matrix lies 40 bytes on in version 0
    assert data[at] == 0
    data[at + 40 : at + 76] = b"".join(value.to_bytes(4, "big", signed=True) for value in fixed)
    path.write_bytes(data)


def turn_upright_by(path: Path, degrees_clockwise: int) -> None:
    """Write a rotation into an MP4's track header, as telephones do: players turn the picture clockwise by that."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    set_display_matrix(path, cos, sin, -sin, cos)
