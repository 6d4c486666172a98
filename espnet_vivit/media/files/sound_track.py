"""The sound of any media file as speech models take it: 16 kHz, mono, float, from the first picture on.

Time zero is the first picture's (of files without pictures, the first sample's): sound before it is cut off, sound
that begins later is preceded by silence, holes in the track are filled with silence. Channels are mixed by FFmpeg.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.containers import (
    can_seek,
    decode_timed,
    open_container,
    sound_stream,
    undecodable_sound,
    video_stream,
)
from espnet_vivit.units import AUDIO_RATE_HZ

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_HOLE_S = 0.05  # times of frames are rounded, in some formats to several milliseconds: less is no hole
_SEEK_FROM_S = 20.0
_SILENCE = 1 << 16  # samples of silence made at a time


def read_speech(path: str | os.PathLike, *, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray | None:
    """(N,) float32 in -1..1, 16 kHz mono, of a file with or without pictures; None if it has no sound.

    Sound that FFmpeg has no decoder for is none, with a warning.
    Raises MediaError: unreadable, or neither sound nor pictures.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return None
    with open_container(path) as container:
        if sound_stream(container) is None:
            if undecodable_sound(container):
                _warn_undecodable(path)
            elif video_stream(container) is None:
                raise MediaError(f"{path} has neither sound nor pictures", fix="Is it a media file?")
            return None
    samples = None if end_s is None else round(end_s * AUDIO_RATE_HZ) - round(start_s * AUDIO_RATE_HZ)
    reader = SpeechReader(path, start_s=start_s)
    try:
        return reader.take(samples)
    finally:
        reader.close()


class SpeechReader:
    """Reads speech on, piece by piece, from `start_s` seconds after the first picture; one piece is held at a time."""

    def __init__(self, path: Path, *, start_s: float = 0.0, zero_s: float | None = None):
        self._blocks = _speech_blocks(Path(path), start_s, zero_s)
        self._rest = np.zeros(0, np.float32)

    def take(self, samples: int | None = None) -> np.ndarray:
        """The next (samples,) float32, or all; fewer where the sound ends."""
        parts, held = [self._rest], len(self._rest)
        while samples is None or held < samples:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            held += len(block)
        speech = np.concatenate(parts)
        if samples is None:
            self._rest = speech[:0]
            return speech
        self._rest = speech[samples:].copy()
        return speech[:samples]

    def close(self) -> None:
        self._blocks.close()


def _zero_s(path: Path) -> float:
    """When the first picture is shown, or without pictures, the first sound heard, on the file's own clock."""
    for chosen in (video_stream, sound_stream):
        with open_container(path) as container:
            stream = chosen(container)
            timed = iter(()) if stream is None else decode_timed(container, stream, {"frames": 0, "broken": 0})
            first = next(timed, None)
        if first is not None:
            return first[0]
    return 0.0


def _speech_blocks(path: Path, start_s: float, zero_s: float | None) -> Generator[np.ndarray, None, None]:
    """(n,) float32 pieces without holes, from `start_s` on."""
    zero_s = _zero_s(path) if zero_s is None else zero_s
    with open_container(path) as container:
        stream = sound_stream(container)
        if stream is None:
            if undecodable_sound(container):
                _warn_undecodable(path)
            return
        from_s = zero_s + start_s - 1 if start_s > _SEEK_FROM_S else None
        if from_s is not None and can_seek(container, from_s):
            assert stream.time_base is not None  # streams that are read have one
            container.seek(int(from_s / stream.time_base), stream=stream)
            from_s = None
        at = round(start_s * AUDIO_RATE_HZ)  # the sample that comes next
        for first, samples in _resampled(container, stream, zero_s, from_s):
            if first > at:
                yield from _silence(first - at)
                at = first
            samples = samples[max(0, at - first) :]
            if len(samples):
                at += len(samples)
                yield samples


def _warn_undecodable(path: Path) -> None:
    logging.warning("%s has sound, but in a codec that FFmpeg has no decoder for: it is read without sound", path)


def _resampled(
    container: InputContainer, stream: AudioStream, zero_s: float, from_s: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(index at 16 kHz of the first sample, counted from zero; (n,) float32): consecutive but for holes."""
    resampler, kind, at, expected_s = None, None, 0, 0.0
    for time_s, length_s, frame in decode_timed(container, stream, {"frames": 0, "broken": 0}, from_s):
        time_s -= zero_s
        kind_before, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)  # of joined recordings
        if resampler is None or kind != kind_before or abs(time_s - expected_s) > _HOLE_S:
            for samples in _resample(resampler, None):
                yield at, samples
                at += len(samples)
            resampler, at, expected_s = _new_resampler(), round(time_s * AUDIO_RATE_HZ), time_s
        expected_s += length_s
        frame.pts = None  # the resampler would fill or cut by these, in its own way
        for samples in _resample(resampler, frame):
            yield at, samples
            at += len(samples)
    for samples in _resample(resampler, None):
        yield at, samples
        at += len(samples)


def _new_resampler():
    import av

    return av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)


def _resample(resampler, frame) -> Iterator[np.ndarray]:
    if resampler is not None:
        for out in resampler.resample(frame):
            yield out.to_ndarray().reshape(-1).astype(np.float32, copy=False)


def _silence(samples: int) -> Iterator[np.ndarray]:
    for begin in range(0, samples, _SILENCE):
        yield np.zeros(min(_SILENCE, samples - begin), np.float32)
