"""A media file in, stretches of mouth pictures and sound out, as they are decoded; each frame is decoded once.

A time without a face, more than a moment long, comes as its sound alone, or without sound as a `Gap` that says why;
reading goes on behind it.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.frame_clock import PauseError, SpanError
from espnet_vivit.media.files.sound_track import SpeechReader
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

STRETCH_S = 20.0  # what is held at a time
NO_FACE = "no face was found"
HEARD_ONLY = "no face was found: read from the sound alone"
EARLY_SOUND = "the pictures have not begun: read from the sound alone"
PAUSE = "no new picture comes: read from the sound alone"
LATE_SOUND = "the pictures have ended: read from the sound alone"
EARLY_SOUND_S = 0.25  # sound that comes before the first picture for longer is read; less holds no word
LATE_SOUND_S = 1.0  # sound that goes on for longer is read; in most files it ends a moment later than the pictures
_SILENT = 1e-4  # a track whose samples are all below -80 dB of full scale carries no sound


@dataclass(frozen=True)
class Gap:
    """A span of the file without anything to read, in seconds."""

    start_s: float
    end_s: float
    reason: str


def read_mouth_stretches(
    path: Path,
    *,
    with_sound: bool,
    seconds: dict[str, float],
    tracks: Tracks = AS_PLAYERS,
    remarks: dict[str, None] | None = None,
    **options: Any,
) -> Iterator[Stretch | Gap]:
    """Mouth pictures, and the sound of the same frames if there is any and `with_sound` asks for it.

    `options` are those of `stream_mouth_clips`; `seconds` is added to: what each stage took; and `remarks`: what a
    person should know about the file.
    Raises MediaError: unreadable, or without a picture.
    """
    from espnet_vivit.media.mouth_clip import NoPictureError, stream_mouth_clips  # late: they load OpenCV

    begin_s, remarks = 0.0, {} if remarks is None else remarks
    sound = _Sound(path, seconds, tracks, remarks)
    while True:
        first = round(begin_s * VIDEO_RATE_HZ)
        try:
            for clip in stream_mouth_clips(path, chunk_s=STRETCH_S, start_s=begin_s, tracks=tracks, **options):
                for stage, spent_s in clip.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + spent_s
                remarks.update(dict.fromkeys(clip.source.remarks))
                if first == 0 and with_sound and clip.start_s > EARLY_SOUND_S:
                    yield from _audible(sound.stretches(0.0, clip.start_s, note=EARLY_SOUND))
                first = round(clip.start_s * VIDEO_RATE_HZ)
                yield Stretch(first, clip, _fitted(clip.speech, len(clip.frames)) if with_sound else None)
                first += len(clip.frames)
            if with_sound:
                yield from _late(sound.stretches(seconds_of_frames(first), None, note=LATE_SOUND))
            return
        except SpanError as error:  # what lies before it has been given out
            if first == 0 and with_sound and error.start_s > EARLY_SOUND_S:  # no picture so far
                yield from _audible(sound.stretches(0.0, error.start_s, note=EARLY_SOUND))
            why, note = ("no new picture comes", PAUSE) if isinstance(error, PauseError) else (NO_FACE, HEARD_ONLY)
            heard = sound.stretches(error.start_s, error.end_s, note=note) if with_sound else iter(())
            part = next(heard, None)
            if part is None:
                yield Gap(error.start_s, error.end_s, why)
            else:
                yield part
                yield from heard
            begin_s = error.end_s
        except NoPictureError:
            if begin_s == 0:
                raise
            return  # there is nothing behind the time without a face


def _audible(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    return (part for part in stretches if part.speech is not None and not is_silent(part.speech))


def _late(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Sound after the last picture, if it goes on for long enough."""
    first = next(stretches, None)
    if first is not None and len(first) > LATE_SOUND_S * VIDEO_RATE_HZ:
        yield first
        yield from stretches


def read_sound_stretches(
    path: Path,
    *,
    seconds: dict[str, float],
    tracks: Tracks = AS_PLAYERS,
    remarks: dict[str, None] | None = None,
) -> Iterator[Stretch]:
    """The sound alone; `seconds` and `remarks` are added to. Raises MediaError: unreadable, or without sound."""
    stretches = _Sound(path, seconds, tracks, {} if remarks is None else remarks).stretches(0.0, None)
    first = next(stretches, None)
    if first is None:
        raise MediaError(f"{path} has no sound", fix="Read it from the lips: --modality video")
    yield first
    yield from stretches


@dataclass
class _Sound:
    """The sound of a file, to be read in spans."""

    path: Path
    seconds: dict[str, float]
    tracks: Tracks
    remarks: dict[str, None]

    def stretches(self, start_s: float, end_s: float | None, *, note: str = "") -> Iterator[Stretch]:
        """The sound of the span; nothing if there is none."""
        if self.path.suffix == ".npy":
            return
        first = round(start_s * VIDEO_RATE_HZ)
        last = None if end_s is None else round(end_s * VIDEO_RATE_HZ)
        longest = round(STRETCH_S * VIDEO_RATE_HZ)
        with closing(SpeechReader(self.path, start_s=start_s, tracks=self.tracks)) as reader:
            while last is None or first < last:
                wanted = longest if last is None else min(longest, last - first)
                with stopwatch(self.seconds, "audio"):
                    speech = reader.take(wanted * SAMPLES_PER_FRAME)
                self.remarks.update(reader.remarks)
                frames = -(-len(speech) // SAMPLES_PER_FRAME)
                if not frames:
                    return
                yield Stretch(first, None, _fitted(speech, frames), note)
                first += frames


def kind_of(part: Stretch | Gap) -> str:
    """ "gap", "seen" or "heard": stretches of one kind that follow each other belong together."""
    if isinstance(part, Gap):
        return "gap"
    return "heard" if part.clip is None else "seen"


def is_silent(speech: np.ndarray) -> bool:
    """Whether nothing was recorded at all."""
    return not len(speech) or float(np.abs(speech).max()) < _SILENT


def _fitted(speech: np.ndarray | None, frames: int) -> np.ndarray | None:
    """The samples of so many frames: silence where the track ends early, cut where it is longer."""
    if speech is None:
        return None
    wanted = frames * SAMPLES_PER_FRAME
    return np.pad(speech[:wanted], (0, max(0, wanted - len(speech)))).astype(np.float32, copy=False)


@contextmanager
def stopwatch(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time inside the block to `seconds[stage]`."""
    begun_s = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun_s
