"""Where a sentence ends while somebody speaks: a still mouth and silence, and a model that says nothing.

In: mouth pictures and samples as they arrive. Out: whether the last `PAUSE_S` before a frame were a pause. Levels are
relative to the last `REMEMBERED_S` (activity.py), so that neither the gain nor the noise of the microphone matters.
"""

import numpy as np

from espnet_vivit.transcription.activity import activity_of, mouth_motion, sound_level_db
from espnet_vivit.transcription.cutting import QUIET
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ

PAUSE_S = 0.4  # still and silent for so long, while the model says nothing: the end of a sentence
SILENT_MODEL_S = 1.0  # where neither mouth nor sound tells, the model says nothing for so long
REMEMBERED_S = 10.0
_PAUSE_FRAMES = round(PAUSE_S * VIDEO_RATE_HZ)
_REMEMBERED = round(REMEMBERED_S * VIDEO_RATE_HZ)
_AHEAD = 4 * VIDEO_RATE_HZ  # frames by which what is asked about may lie behind what has arrived


class Stillness:
    """`push` pictures and samples, then ask `is_pause(frame)`; frames are counted from the first one pushed."""

    def __init__(self):
        self._motion, self._level = _Levels(), _Levels()
        self._last: np.ndarray | None = None  # the picture before
        self._waiting = np.zeros(0, np.float32)  # fewer samples than a frame's

    def push(self, frames: np.ndarray | None, samples: np.ndarray | None) -> None:
        """frames (n, S, S) uint8, samples (m,) float32; each counts its own frames."""
        if frames is not None and len(frames):
            with_last = frames if self._last is None else np.concatenate([self._last, frames])
            self._motion.add(mouth_motion(with_last)[len(with_last) - len(frames) :])
            self._last = frames[-1:].copy()
        if samples is not None:
            held = np.concatenate([self._waiting, samples])
            whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            if whole:
                self._level.add(sound_level_db(held[:whole]))
            self._waiting = held[whole:]

    def is_pause(self, frame: int) -> bool:
        """Whether the `PAUSE_S` before this frame were still and silent. False where that cannot be told yet."""
        parts = [part.until(frame) if part.count else None for part in (self._motion, self._level)]
        if all(part is None for part in parts) or any(part is not None and len(part) < _PAUSE_FRAMES for part in parts):
            return False
        shortest = min(len(part) for part in parts if part is not None)
        moving = activity_of(*(None if part is None else part[-shortest:] for part in parts))
        return bool((moving[-_PAUSE_FRAMES:] < QUIET).all())


class _Levels:
    """One number for each frame, of which the last ones are kept."""

    def __init__(self):
        self.count, self.kept = 0, np.zeros(0, np.float32)

    def add(self, levels: np.ndarray) -> None:
        self.count += len(levels)
        self.kept = np.concatenate([self.kept, levels.astype(np.float32)])[-_REMEMBERED - _AHEAD :]

    def until(self, frame: int) -> np.ndarray:
        """Of the frames before `frame`, up to `REMEMBERED_S` of them."""
        known = max(0, len(self.kept) - max(0, self.count - frame))
        return self.kept[max(0, known - _REMEMBERED) : known]
