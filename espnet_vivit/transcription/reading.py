"""A media file in, stretches of mouth pictures and sound out, as they are decoded; each frame is decoded once.

What cannot be looked at (no face, more than a moment long) is a `Gap` that says why; reading goes on behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_vivit.errors import InputError, MediaError
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.transcription.stopwatch import stopwatch
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

STRETCH_S = 20.0  # what is held at a time
_WORTH_READING_S = 0.4  # of the time before a face is lost; it is decoded a second time
_SILENT = 1e-4  # a track whose samples are all below -80 dB of full scale carries no sound


@dataclass(frozen=True)
class Gap:
    """A span of the file without anything to read, in seconds."""

    start_s: float
    end_s: float
    reason: str


def read_mouth_stretches(
    path: Path, *, with_sound: bool, seconds: dict[str, float], **options
) -> Iterator[Stretch | Gap]:
    """Mouth pictures, and the sound of the same frames if there is any and `with_sound` asks for it.

    `options` are those of `stream_mouth_clips`; `seconds` is added to: what each stage took.
    Raises MediaError: unreadable, or without a picture.
    """
    from espnet_vivit.media.mouth_clip import NoFaceError

    begin_s, gap = 0.0, None
    while True:
        reached_s = begin_s
        try:
            for stretch in _mouths(path, with_sound, seconds, chunk_s=STRETCH_S, start_s=begin_s, **options):
                if gap is not None:
                    yield gap
                    gap = None
                yield stretch
                reached_s = seconds_of_frames(stretch.first + len(stretch))
            break
        except NoFaceError as error:
            if error.start_s - reached_s >= _WORTH_READING_S:  # was held back when the face went
                if gap is not None:
                    yield gap
                    gap = None
                yield from _mouths(path, with_sound, seconds, start_s=reached_s, end_s=error.start_s, **options)
                reached_s = error.start_s
            gap = Gap(reached_s if gap is None else gap.start_s, max(error.end_s, reached_s), "no face was found")
            if error.end_s <= begin_s:
                break
            begin_s = error.end_s
        except InputError:  # nothing behind the gap
            if gap is None:
                raise
            break
    if gap is not None:
        yield gap


def _mouths(path: Path, with_sound: bool, seconds: dict[str, float], *, start_s: float, **options) -> Iterator[Stretch]:
    from espnet_vivit.media.mouth_clip import stream_mouth_clips  # late: loads OpenCV

    first = round(start_s * VIDEO_RATE_HZ)
    for clip in stream_mouth_clips(path, start_s=start_s, **options):
        for stage, spent_s in clip.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent_s
        yield Stretch(first, clip, _fitted(clip.speech, len(clip.frames)) if with_sound else None)
        first += len(clip.frames)


def read_sound_stretches(path: Path, *, seconds: dict[str, float]) -> Iterator[Stretch]:
    """The sound alone; `seconds["audio"]` is added to. Raises MediaError: unreadable, or without sound."""
    wanted = round(STRETCH_S * AUDIO_RATE_HZ)
    first, held, count = 0, [], 0
    samples = _stream_sound(path)
    while True:
        with stopwatch(seconds, "audio"):
            part = next(samples, None)
        if part is not None:
            held.append(part)
            count += len(part)
        while count >= wanted or (part is None and count):
            speech = np.concatenate(held)
            frames = -(-min(count, wanted) // SAMPLES_PER_FRAME)
            yield Stretch(first, None, _fitted(speech[:wanted], frames))
            held, count, first = [speech[wanted:]], max(0, count - wanted), first + frames
        if part is None:
            return


def _stream_sound(path: Path) -> Iterator[np.ndarray]:
    """Mono samples at 16 kHz, a few at a time, from the file's begin on: silence where the track begins later."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path} has no sound", fix="Read it from the lips: --modality video")
            stream = container.streams.audio[0]
            late_s = (stream.start_time or 0) * stream.time_base - (container.start_time or 0) / av.time_base
            yield np.zeros(max(0, round(late_s * AUDIO_RATE_HZ)), np.float32)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
            for frame in container.decode(stream):
                yield from (found.to_ndarray()[0] for found in resampler.resample(frame))
            yield from (found.to_ndarray()[0] for found in resampler.resample(None))
    except av.FFmpegError as error:
        raise MediaError(f"cannot read the sound of {path} ({error.strerror})", fix="Does it play?") from error


def is_silent(speech: np.ndarray) -> bool:
    """Whether nothing was recorded at all."""
    return not len(speech) or float(np.abs(speech).max()) < _SILENT


def _fitted(speech: np.ndarray | None, frames: int) -> np.ndarray | None:
    """The samples of so many frames: silence where the track ends early, cut where it is longer."""
    if speech is None:
        return None
    wanted = frames * SAMPLES_PER_FRAME
    return np.pad(speech[:wanted], (0, max(0, wanted - len(speech)))).astype(np.float32, copy=False)
