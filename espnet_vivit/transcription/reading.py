"""A media file in, stretches of mouth pictures and sound out, as they are decoded; each frame is decoded once.

What cannot be looked at (no face, more than a moment long) is a `Gap` that says why; reading goes on behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ

STRETCH_S = 20.0  # what is held at a time
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
    from espnet_vivit.media.mouth_clip import NoFaceError, stream_mouth_clips

    begin_s = 0.0
    while True:
        first = round(begin_s * VIDEO_RATE_HZ)
        try:
            for clip in stream_mouth_clips(path, chunk_s=STRETCH_S, start_s=begin_s, **options):
                for stage, spent_s in clip.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + spent_s
                speech = _fitted(clip.speech, len(clip.frames)) if with_sound else None
                yield Stretch(first, clip, speech)
                first += len(clip.frames)
            return
        except NoFaceError as error:
            found_s = first / VIDEO_RATE_HZ
            yield Gap(found_s, max(error.end_s, found_s), str(error))
            if error.end_s <= begin_s:
                return
            begin_s = error.end_s


def read_sound_stretches(path: Path, *, seconds: dict[str, float]) -> Iterator[Stretch]:
    """The sound alone. Raises MediaError: unreadable, or without sound."""
    from espnet_vivit.media.source import read_speech

    speech = read_speech(path)
    if speech is None:
        raise MediaError(f"{path} has no sound", fix="Read it from the lips: --modality video")
    frames = -(-len(speech) // SAMPLES_PER_FRAME)
    step = round(STRETCH_S * VIDEO_RATE_HZ)
    for first in range(0, frames, step):
        part = speech[first * SAMPLES_PER_FRAME : (first + step) * SAMPLES_PER_FRAME]
        yield Stretch(first, None, _fitted(part, min(step, frames - first)))


def is_silent(speech: np.ndarray) -> bool:
    """Whether nothing was recorded at all."""
    return not len(speech) or float(np.abs(speech).max()) < _SILENT


def _fitted(speech: np.ndarray | None, frames: int) -> np.ndarray | None:
    """The samples of so many frames: silence where the track ends early, cut where it is longer."""
    if speech is None:
        return None
    wanted = frames * SAMPLES_PER_FRAME
    return np.pad(speech[:wanted], (0, max(0, wanted - len(speech)))).astype(np.float32, copy=False)
