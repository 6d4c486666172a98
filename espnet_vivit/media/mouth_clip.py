"""A video file in, its mouth out: `read_mouth_clip("talk.mp4").frames` is (T, 96, 96) uint8 at 25 per second.

    file ─ source ─▶ pictures ─ detectors ─▶ landmarks ─ smoother ─▶ one warp each ─▶ mouth
                   └ sound ─────────────────────────────────────────────────────────▶ speech (N,) 16 kHz

One pass over the pictures, of which only those wait that the smoother has not settled yet: memory does not grow with
the file in `stream_mouth_clips`, whose pieces put together are what `read_mouth_clip` gives.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.media.detectors import FaceDetector
from espnet_vivit.media.finder import Found, make_finder
from espnet_vivit.media.landmarks import LANDMARKS, MAX_GAP_S, LandmarkSmoother, NoFaceError
from espnet_vivit.media.mouth_roi import MOUTH_SIZE, centre_crop, check_color, crop_mouth, in_color
from espnet_vivit.media.source import Source, SourceInfo, open_source, stream_speech
from espnet_vivit.media.speaker import find_speaker
from espnet_vivit.media.tracking import FaceTracker
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ

__all__ = ["LANDMARKS", "MouthClip", "NoFaceError", "SourceInfo", "read_mouth_clip", "stream_mouth_clips"]

STAGES = ("decode", "detect", "crop", "audio")


@dataclass(frozen=True)
class MouthClip:
    """A mouth through time.

    frames: (T, S, S) uint8 gray, or (T, S, S, 3) RGB; full range, 25 per second.
    landmarks: (T, 4, 2) float32 pixels of the source picture, as found, before smoothing; NaN where there was no face.
    mouth_opening: (T,) float32, lip opening by the distance of the eyes; NaN where the detector does not measure it.
    num_faces: (T,) int16, faces seen; -1 on pictures that the detector was not asked about.
    speech: (N,) float32 in -1..1 at 16 kHz, or None for a file without sound.
    seconds: computing time by stage, of STAGES.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    mouth_opening: np.ndarray
    num_faces: np.ndarray
    speech: np.ndarray | None
    source: SourceInfo
    detector: str
    seconds: dict[str, float] = field(default_factory=dict)


def read_mouth_clip(path: str | os.PathLike, **options) -> MouthClip:
    """The whole file, or `start_s` to `end_s` of it, as one clip; options and errors as in `stream_mouth_clips`."""
    (clip,) = stream_mouth_clips(path, chunk_s=None, **options)
    return clip


def stream_mouth_clips(
    path: str | os.PathLike,
    *,
    chunk_s: float | None = 20.0,
    detector: str | FaceDetector = "auto",
    landmarks: np.ndarray | None = None,
    size: int = MOUTH_SIZE,
    color: str = "gray",
    detect_every: int = 1,
    max_gap_s: float = MAX_GAP_S,
    face: str = "auto",
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Iterator[MouthClip]:
    """Consecutive clips of `chunk_s` seconds (the last one shorter; None: one clip of everything).

    detector: "auto", "mediapipe", "haar", "centre" (the file shows a mouth alone), or a detector of your own.
    landmarks: (T, 4, 2), found elsewhere, one row per picture at 25 per second; no detector runs then.
    size, color: pixels of the mouth picture's side; "gray" or "rgb".
    detect_every: ask the detector about every k-th picture and interpolate the points between.
    max_gap_s: how long a face may be missing; what is shorter is interpolated.
    face: which of several: "auto" (the largest and most central), "left", "right" (the outermost in the picture), or
        "speaking" (the one whose mouth moves with the sound; reads the beginning twice).

    Raises MediaError: unreadable, no video; NoFaceError: no face for longer than `max_gap_s`, with the time span.
    ConfigError: an unknown name. MissingDependencyError: the detector is not installed.
    """
    if (chunk_s is not None and chunk_s <= 0) or detect_every < 1 or size < 2:
        raise ConfigError("bad option", found=f"chunk_s={chunk_s}, detect_every={detect_every}, size={size}")
    check_color(color)
    path = Path(path)
    if face == "speaking":
        start, face = find_speaker(path, detector, start_s=start_s), "auto"
        tracker = FaceTracker(face, start=start)
    else:
        tracker = FaceTracker(face)
    with open_source(path) as source:
        shape = (source.info.height, source.info.width)
        first = round(start_s * VIDEO_RATE_HZ)
        finder = make_finder(detector, landmarks, shape=shape, tracker=tracker, every=detect_every, first=first)
        reader = _Reader(source, finder, size=size, color=color)
        smoother = LandmarkSmoother(path, max_gap_s=max_gap_s, start_s=start_s)
        sound = _Sound(path, start_s=start_s, end_s=end_s)
        limit = None if chunk_s is None else max(1, round(chunk_s * VIDEO_RATE_HZ))
        for _ in reader.mouths(smoother, start_s=start_s, end_s=end_s):
            if len(reader.mouth_pictures) == limit:
                yield reader.take(sound, frames=limit)
        if reader.mouth_pictures:
            yield reader.take(sound, frames=None)


class _Reader:
    """The mouth pictures that are ready, and what was found on the pictures, in order."""

    def __init__(self, source: Source, finder, *, size: int, color: str):
        self._source, self._finder, self._size, self._color = source, finder, size, color
        self.mouth_pictures: list[np.ndarray] = []
        self._found: deque[Found] = deque()
        self._waiting: deque[np.ndarray] = deque()  # pictures, in the colour asked for, whose points are not settled
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def mouths(self, smoother: LandmarkSmoother, *, start_s: float, end_s: float | None) -> Iterator[None]:
        """Read the file; comes back after each mouth picture that is ready."""
        pictures = self._source.pictures(start_s=start_s, end_s=end_s)
        empty = True
        while (picture := self._next(pictures)) is not None:
            empty = False
            with self._timed("detect"):
                found = self._finder(picture)
            self._waiting.append(in_color(picture, self._color))
            yield from self._settle(found, smoother)
        if empty:
            raise InputError(f"{self._source.info.path} has nothing there", found=f"start_s={start_s}, end_s={end_s}")
        yield from self._settle(self._finder.finish(), smoother)
        if self._finder.name != "centre":
            yield from self._crop(smoother.finish())

    def _next(self, pictures: Iterator[np.ndarray]) -> np.ndarray | None:
        with self._timed("decode"):
            return next(pictures, None)

    def _settle(self, found: list[Found], smoother: LandmarkSmoother) -> Iterator[None]:
        self._found.extend(found)
        for each in found:
            yield from self._crop([None] if self._finder.name == "centre" else smoother.push(each.points))

    def _crop(self, rows: Sequence[np.ndarray | None]) -> Iterator[None]:
        for points in rows:
            picture = self._waiting.popleft()
            with self._timed("crop"):
                crop = partial(centre_crop, picture) if points is None else partial(crop_mouth, picture, points)
                self.mouth_pictures.append(crop(size=self._size))
            yield

    def take(self, sound: _Sound, *, frames: int | None) -> MouthClip:
        """The clip of all pictures that are ready; `frames` None at the end of the file, where all sound goes along."""
        mouths, self.mouth_pictures = self.mouth_pictures, []
        found = [self._found.popleft() for _ in mouths]
        unseen = np.full((len(LANDMARKS), 2), np.nan, np.float32)
        with self._timed("audio"):
            speech = sound.take(None if frames is None else frames * SAMPLES_PER_FRAME)
        seconds, self._seconds = self._seconds, dict.fromkeys(STAGES, 0.0)
        return MouthClip(
            frames=np.stack(mouths),
            landmarks=np.stack([unseen if f.points is None else f.points for f in found]).astype(np.float32),
            mouth_opening=np.array([f.opening for f in found], np.float32),
            num_faces=np.array([f.num_faces for f in found], np.int16),
            speech=speech,
            source=self._source.info,
            detector=self._finder.name,
            seconds=seconds,
        )

    @contextmanager
    def _timed(self, stage: str):
        started = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - started


class _Sound:
    """The speech of a file from `start_s` to `end_s` seconds, handed out in pieces."""

    def __init__(self, path: Path, *, start_s: float, end_s: float | None):
        self._blocks = stream_speech(path, start_s=start_s, end_s=end_s)
        self._ready = np.zeros(0, np.float32)

    def take(self, samples: int | None) -> np.ndarray | None:
        """The next `samples` (fewer where the sound ends), None: all that is left; None without sound."""
        if self._blocks is None:
            return None
        parts, count = [self._ready], len(self._ready)
        while samples is None or count < samples:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            count += len(block)
        together = np.concatenate(parts)
        taken, self._ready = together[:samples], together[len(together) if samples is None else samples :]
        return taken
