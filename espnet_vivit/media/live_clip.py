"""PICTURES AND SOUND AS THEY COME → MOUTHS AND SOUND IN STEP: what a camera and a microphone give, 25 times a second.

Pictures of any rate are put on 25 per second by their times, mouths are found, smoothed and cut out as for files
(mouth_clip.py), and each gets the 640 samples of its time. Smoothing looks LOOK_AHEAD_S ahead, and longer only while a
face is missing: up to MAX_GAP_S, then the time until a face is there again is a gap. Every 40 ms from the first picture
on is given out once, as a mouth or within a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from espnet_vivit.media.faces.face_stream import FaceStream
from espnet_vivit.media.faces.landmarks import SMOOTHED_FRAMES, LandmarkStream
from espnet_vivit.media.faces.mouth_roi import center_points, crop_center, crop_mouth
from espnet_vivit.media.files.frame_clock import FrameClock, tick_of
from espnet_vivit.units import AUDIO_RATE_HZ, MOUTH_SIZE, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

MAX_GAP_S = 1.0  # a face may be missing that long, and is bridged
LOOK_AHEAD_S = seconds_of_frames(SMOOTHED_FRAMES // 2)
DRIFT_S = 0.02  # sound that is off its time by more is cut, or silence put in
LATE_S = 1.0  # sound that is later than its picture by more is silence
NO_FACE = "no face"


@dataclass(frozen=True)
class LiveClip:
    """Mouths (n, S, S) uint8 and the samples (640 n,) float32 of the same time; no sound was asked for: None."""

    frames: np.ndarray
    speech: np.ndarray | None


@dataclass(frozen=True)
class LiveGap:
    """A time of which there is nothing to read, and why."""

    frames: int
    reason: str

    @property
    def seconds(self) -> float:
        return seconds_of_frames(self.frames)


class LiveMouths:
    """`picture(time_s, picture)`, `sound(time_s, samples)`, `finish()`: each yields what is complete.

    faces: of face_stream.py, closed by whom it belongs to. with_sound: whether sound is to be expected.
    """

    def __init__(self, faces: FaceStream, *, size: int = MOUTH_SIZE, with_sound: bool):
        self._faces, self._size = faces, size
        self._clock: FrameClock[np.ndarray] | None = None
        self._smoother: LandmarkStream[np.ndarray] | None = None
        self._index = 0  # of the next picture at 25 per second
        self._gap = 0  # pictures since a face was given up; 0: one is followed
        self._ready: list[np.ndarray | LiveGap] = []  # in the order of time
        self._sound = _SoundOnClock() if with_sound else None

    def picture(self, time_s: float, picture: np.ndarray) -> Iterator[LiveClip | LiveGap]:
        """A picture (H, W, 3) uint8 RGB that is shown from `time_s` on. Times rise."""
        if self._clock is None:
            first = tick_of(time_s)
            self._clock = FrameClock(first=first)
            if self._sound is not None:
                self._sound.begin(first)
        for shown in self._clock.push(time_s, 1 / VIDEO_RATE_HZ, picture):
            self._look(shown)
        yield from self._complete(ended=False)

    def sound(self, time_s: float, samples: np.ndarray) -> Iterator[LiveClip | LiveGap]:
        """Samples (n,) float32 at 16 kHz of which the first is heard at `time_s`, on the clock of the pictures."""
        assert self._sound is not None, "LiveMouths without sound was given some"
        self._sound.push(time_s, samples)
        yield from self._complete(ended=False)

    def finish(self) -> Iterator[LiveClip | LiveGap]:
        """The rest."""
        if self._clock is not None:
            for shown in self._clock.finish():
                self._look(shown)
        if self._smoother is not None:
            self._ready += [self._crop(*done) for done in self._smoother.finish()]
        self._give_up(0)
        yield from self._complete(ended=True)

    def _look(self, picture: np.ndarray) -> None:
        sighting = self._faces.look(picture, self._index)
        self._index += 1
        if self._faces.sees_mouths_only:
            self._ready.append(crop_center(picture, size=self._size))
            return
        found = bool(np.isfinite(sighting.points).all())
        if self._smoother is None:
            if not found:
                self._gap += 1
                return
            self._give_up(0)
            fallback = center_points(*picture.shape[:2])
            self._smoother = LandmarkStream(max_gap_s=MAX_GAP_S, fallback=fallback)
        self._ready += [self._crop(*d) for d in self._smoother.push(picture, sighting.points, track=sighting.track)]
        if self._smoother.refused:
            self._ready += [self._crop(*done) for done in self._smoother.finish()]
            self._gap, self._smoother = self._smoother.gap, None

    def _give_up(self, gap: int) -> None:
        """The time without a face is over."""
        if self._gap:
            self._ready.append(LiveGap(self._gap, NO_FACE))
        self._gap = gap

    def _crop(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        return crop_mouth(picture, points, size=self._size)

    def _complete(self, *, ended: bool) -> Iterator[LiveClip | LiveGap]:
        """What is ready and whose sound has come, mouths that follow each other together."""
        mouths: list[np.ndarray] = []
        while self._ready:
            item = self._ready[0]
            if isinstance(item, LiveGap):
                if mouths:
                    yield self._clip(mouths)
                    mouths = []
                if self._sound is not None:
                    self._sound.take(item.frames)
                yield item
            elif self._sound is None or ended or self._sound.has(len(mouths) + 1, now=self._index):
                mouths.append(item)
            else:
                break
            self._ready.pop(0)
        if mouths:
            yield self._clip(mouths)

    def _clip(self, mouths: list[np.ndarray]) -> LiveClip:
        return LiveClip(np.stack(mouths), None if self._sound is None else self._sound.take(len(mouths)))


class _SoundOnClock:
    """Samples by their times; `take(n)` gives those of the next n frames from the first picture on."""

    def __init__(self):
        self._begin: int | None = None  # sample of the first picture
        self._next = 0  # sample that would follow what is held, counted from time 0
        self._held = np.zeros(0, np.float32)
        self._taken = 0  # frames

    def begin(self, tick: int) -> None:
        self._begin = tick * SAMPLES_PER_FRAME
        early = self._next - len(self._held)  # of the first sample that is held
        if not len(self._held):
            self._next = self._begin
        elif early < self._begin:
            self._held = self._held[self._begin - early :]
        else:
            self._held = np.concatenate([np.zeros(early - self._begin, np.float32), self._held])
        self._next = self._begin + len(self._held)

    def push(self, time_s: float, samples: np.ndarray) -> None:
        first = round(time_s * AUDIO_RATE_HZ)
        if self._begin is None and not len(self._held):
            self._next = first
        off = first - self._next
        if abs(off) > DRIFT_S * AUDIO_RATE_HZ:
            samples = np.concatenate([np.zeros(off, np.float32), samples]) if off > 0 else samples[-off:]
        self._held = np.concatenate([self._held, samples.astype(np.float32)])
        self._next += len(samples)
        if self._begin is None:  # no picture yet
            self._held = self._held[-round(LATE_S * AUDIO_RATE_HZ) :]

    def has(self, frames: int, *, now: int) -> bool:
        """Whether the next frames can be taken: their sound is there, or it is too late. now: frames seen so far."""
        late = now - self._taken - frames > LATE_S * AUDIO_RATE_HZ / SAMPLES_PER_FRAME
        return late or len(self._held) >= frames * SAMPLES_PER_FRAME

    def take(self, frames: int) -> np.ndarray:
        wanted = frames * SAMPLES_PER_FRAME
        taken, self._held = self._held[:wanted], self._held[wanted:].copy()
        self._taken += frames
        missing = wanted - len(taken)
        self._next += missing  # what comes for it later is cut as sound that is off its time
        return np.pad(taken, (0, missing))
