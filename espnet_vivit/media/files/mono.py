"""Channels of sound → which of them to read: their mix, or the loudest where the mix cancels what is there.

With one channel turned over (a plug soldered wrongly, a balanced microphone on two tracks, a "stereo widener"), the
mean of the two is silence or a faint rest. Measured once for a file, over the first seconds in which anything is heard.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_vivit.media.files.tracks import samples_of

if TYPE_CHECKING:
    from espnet_vivit.media.files.timed_frames import Timed

CANCELLING = "the channels of the sound cancel each other: the loudest is read alone"
_HEARD_S = 2.0
_SILENT_POWER = 1e-8  # -80 dB of full scale
_FAINT = 10 ** (-9 / 10)  # of what the loudest channel alone would give in a mean over all
_REMEMBERED = 1024  # files


class ChannelChoice:
    """`channel` is the one to be read alone, None for the mix; `settled` once enough has been heard."""

    _of_file: dict[tuple, ChannelChoice] = {}

    def __init__(self):
        self.channel: int | None = None
        self.settled = False
        self._heard_s = 0.0
        self._power: np.ndarray | None = None  # of each channel, last of their mean

    @classmethod
    def remembered(cls, path: Path, stream: int) -> ChannelChoice:
        """That of the file's stream: the one that was made before, or a new one."""
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns, stream)
        choice = cls._of_file.get(key)
        if choice is None or not choice.settled:
            while len(cls._of_file) >= _REMEMBERED:
                del cls._of_file[next(iter(cls._of_file))]
            choice = cls._of_file[key] = cls()
        return choice

    def settle(self, timed: Timed) -> Timed:
        """The (time_s, duration_s, frame) as they come; those in which something is heard wait until it is settled."""
        held: list[tuple[float, float, Any]] = []
        for item in timed:
            if self.settled:
                yield item
                continue
            if self._listen(item[2]) or held:
                held.append(item)
            else:
                yield item
            if self._heard_s >= _HEARD_S:
                self._decide()
            if self.settled:
                yield from held
                held = []
        self._decide()
        yield from held

    def _listen(self, frame: Any) -> bool:
        """Whether anything is heard in the frame; mono settles it at once."""
        if len(frame.layout.channels) < 2:
            self.settled = True
            return False
        samples = samples_of(frame)
        mean = samples.mean(axis=0)
        power = np.array([*np.einsum("cn,cn->c", samples, samples), mean @ mean]) / max(1, frame.samples)
        if power.max() < _SILENT_POWER:
            return False
        if self._power is None or len(self._power) != len(power):  # joined recordings may change it
            self._power, self._heard_s = np.zeros(len(power)), 0.0
        self._power += power * frame.samples
        self._heard_s += frame.samples / frame.sample_rate
        return True

    def _decide(self) -> None:
        if self._power is not None and not self.settled:
            *channels, mean = self._power.tolist()
            if mean < _FAINT * max(channels) / len(channels) ** 2:
                self.channel = channels.index(max(channels))
        self.settled = True


def alone(frame: Any, channel: int) -> Any:
    """A frame of one channel of another one; of a frame with fewer channels, its first."""
    import av

    samples = samples_of(frame)
    single = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples[min(channel, len(samples) - 1)][None]), format="fltp", layout="mono"
    )
    single.sample_rate = frame.sample_rate
    return single
