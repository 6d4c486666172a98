"""The sound of any media file as speech models take it: 16 kHz, mono, float, from the file's beginning on.

Time zero is a player's (containers.py): sound before the first picture is there, sound that begins later is preceded by
silence, holes in the track are filled with silence. Channels are mixed by FFmpeg, unless they cancel (mono.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.containers import breaks_off, is_short, open_container
from espnet_vivit.media.files.mono import CANCELLING, ChannelChoice, alone
from espnet_vivit.media.files.timed_frames import can_seek, decode_timed
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.units import AUDIO_RATE_HZ

if TYPE_CHECKING:
    from espnet_vivit.media.files.timed_frames import Timed

_HOLE_S = 0.05  # times of frames are rounded, in some formats to several milliseconds: less is no hole
_LONGEST_HOLE_S = 2 * 3600.0
_SEEK_FROM_S = 20.0
_PRIMING_FRAMES = 2  # what a track of sound alone begins late by is its encoder's delay
_SILENCE = 1 << 16  # samples of silence made at a time


def read_speech(
    path: str | os.PathLike, *, start_s: float = 0.0, end_s: float | None = None, tracks: Tracks = AS_PLAYERS
) -> np.ndarray | None:
    """(N,) float32 in -1..1, 16 kHz mono, of a file with or without pictures; None if it has no sound.

    start_s, end_s: seconds of the file, as a player shows them. Sound that FFmpeg has no decoder for is none, with a
    warning. Raises MediaError: unreadable, neither sound nor pictures, or shorter than its header says.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return None
    with open_container(path, tracks) as media:
        if media.sound is None:
            if media.undecodable_sound:
                _warn_undecodable(path)
            elif media.video is None:
                raise MediaError(f"{path} has neither sound nor pictures", fix="Is it a media file?")
            return None
    samples = None if end_s is None else round(end_s * AUDIO_RATE_HZ) - round(start_s * AUDIO_RATE_HZ)
    reader = SpeechReader(path, start_s=start_s, tracks=tracks)
    try:
        return reader.take(samples)
    finally:
        reader.close()
        for remark in reader.remarks:
            logging.warning("%s: %s", path, remark)


class SpeechReader:
    """Reads speech on, piece by piece, from `start_s` seconds of the file; one piece is held at a time.

    `remarks` grow while it reads: what a person should know about the sound.
    """

    def __init__(self, path: Path, *, start_s: float = 0.0, zero_s: float | None = None, tracks: Tracks = AS_PLAYERS):
        self.remarks: dict[str, None] = {}
        self._blocks = _speech_blocks(Path(path), start_s, zero_s, tracks, self.remarks)
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


def _zero_s(path: Path, tracks: Tracks) -> float:
    """Where the file begins for a player, on the file's own clock in seconds: see `MediaFile.clock`."""
    for kind in ("video", "sound"):
        with open_container(path, tracks) as media:
            stream = getattr(media, kind)
            timed = iter(()) if stream is None else decode_timed(media, stream, {"frames": 0, "broken": 0})
            first = next(timed, None)
            if first is not None:
                zero_s, lead = media.clock(first[0])
                return first[0] if kind == "sound" and lead <= _PRIMING_FRAMES else zero_s
    return 0.0


def _speech_blocks(
    path: Path, start_s: float, zero_s: float | None, tracks: Tracks, remarks: dict[str, None]
) -> Generator[np.ndarray, None, None]:
    """(n,) float32 pieces without holes, from `start_s` on."""
    zero_s = _zero_s(path, tracks) if zero_s is None else zero_s
    with open_container(path, tracks) as media:
        stream, container = media.sound, media.container
        remarks.update(media.remarks)
        if stream is None:
            if media.undecodable_sound:
                _warn_undecodable(path)
            return
        late = start_s > _SEEK_FROM_S
        choice = ChannelChoice.remembered(path, stream.index)
        if late and not choice.settled and stream.codec_context.channels > 1:
            _listen_from_the_start(path, tracks, choice)
        from_s = zero_s + start_s - 1 if late else None
        if from_s is not None and can_seek(container, from_s):
            assert stream.time_base is not None  # streams that are read have one
            container.seek(int(from_s / stream.time_base), stream=stream)
            from_s = None
        end = _End(media.stated_end_s(stream))
        timed = choice.settle(end.passed(decode_timed(media, stream, {"frames": 0, "broken": 0}, from_s)))
        at = round(start_s * AUDIO_RATE_HZ)  # the sample that comes next
        for first, samples in _resampled(timed, choice, zero_s):
            if choice.channel is not None:
                remarks[CANCELLING] = None
            if first > at:
                if first - at > _LONGEST_HOLE_S * AUDIO_RATE_HZ:
                    raise MediaError(
                        f"{path}: its sound pauses", found=f"{(first - at) / AUDIO_RATE_HZ / 3600:.1f} hours",
                        expected=f"at most {_LONGEST_HOLE_S / 3600:g}; the clock of the file may be broken",
                        fix="Read the parts before and behind it (start_s, end_s), or encode the file again.",
                    )  # fmt: skip
                yield from _silence(first - at)
                at = first
            samples = samples[max(0, at - first) :]
            if len(samples):
                if not np.isfinite(samples).all():
                    raise MediaError(
                        f"{path}: its sound has samples that are not numbers (NaN or infinite)",
                        found=f"the first near {at / AUDIO_RATE_HZ:.2f} s",
                        fix="Write the file again, as integers or as finite floats.",
                    )
                at += len(samples)
                yield samples
        end.check(path)
        media.check_whole()
        remarks.update(media.remarks)


class _End:
    """How far the sound could be decoded, against what the header says of it."""

    def __init__(self, stated_s: float | None):
        self._stated_s, self._reached_s = stated_s, 0.0

    def passed(self, timed: Timed) -> Timed:
        for time_s, length_s, frame in timed:
            self._reached_s = time_s + length_s
            yield time_s, length_s, frame

    def check(self, path: Path) -> None:
        if self._stated_s is not None and is_short(self._reached_s, self._stated_s):
            raise breaks_off(path, self._reached_s, self._stated_s, " of sound")


def _listen_from_the_start(path: Path, tracks: Tracks, choice: ChannelChoice) -> None:
    """So that every span of a file is read from the same channels."""
    with open_container(path, tracks) as media:
        assert media.sound is not None  # it is the same file
        for _ in choice.settle(decode_timed(media, media.sound, {"frames": 0, "broken": 0})):
            if choice.settled:
                return


def _warn_undecodable(path: Path) -> None:
    logging.warning("%s has sound, but in a codec that FFmpeg has no decoder for: it is read without sound", path)


def _resampled(timed: Timed, choice: ChannelChoice, zero_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """(index at 16 kHz of the first sample, counted from zero; (n,) float32): consecutive but for holes."""
    resampler, kind, at, expected_s = None, None, 0, 0.0
    for time_s, length_s, frame in timed:
        time_s -= zero_s
        if choice.channel is not None:
            frame = alone(frame, choice.channel)
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
