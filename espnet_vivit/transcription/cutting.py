"""A recording of any length, in stretches as they are read; pieces of bounded length, cut where nothing is said, out.

A piece ends where another shot begins, where the picture freezes or moves again, or in the quietest spot of its last
two thirds. Where that is a pause, the next piece shares only the pause; where there is none, the two share
`FORCED_OVERLAP_S`, and assembly.py finds the word at which to change over. At most one piece and one stretch are held
at a time, so memory does not depend on the length of the recording.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.errors import ConfigError
from espnet_vivit.media.quality.pictures import FROZEN_CHANGE, as_gray, measure_change, runs
from espnet_vivit.transcription.activity import activity, shot_changes
from espnet_vivit.units import SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip

SHORTEST_LIMIT_S = 2.0  # pieces shorter than this hold no word with its surroundings
FORCED_OVERLAP_S = 1.2  # where speech has to be cut: a long word and some of its neighbours
QUIET = 0.3  # activity below it is a pause
FREEZE_S = 1.0  # the picture stands still: media/quality/verdict.py rejects pieces that hold that much of it
_FORCED_FRAMES = round(FORCED_OVERLAP_S * VIDEO_RATE_HZ / 2)  # on either side of the cut
_PAUSE_FRAMES = 4  # a pause lasts at least 0.16 s
_MARGIN_FRAMES = 6  # of a pause, at most 0.24 s on either side of the cut are kept
_LATE_BONUS = 0.1  # among equally quiet spots the later one is taken
_REST_FRAMES = 12  # no piece shorter than 0.48 s is left over at the end
_FREEZE_FRAMES = round(FREEZE_S * VIDEO_RATE_HZ)


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of a recording from `first` on, counted at 25 per second; either stream may be None.

    clip: pictures and what was measured on them; speech (640 T,) float32: the sound of the same frames.
    """

    first: int
    clip: "MouthClip | None"
    speech: np.ndarray | None
    note: str = ""  # what is out of order with it

    def __len__(self) -> int:
        if self.clip is not None:
            return len(self.clip.frames)
        return 0 if self.speech is None else len(self.speech) // SAMPLES_PER_FRAME

    def __getitem__(self, frames: slice) -> "Stretch":
        begin, end, _ = frames.indices(len(self))
        clip = None if self.clip is None else slice_clip(self.clip, begin, end)
        speech = None if self.speech is None else self.speech[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        return Stretch(self.first + begin, clip, speech, self.note)

    def __add__(self, other: "Stretch") -> "Stretch":
        clip = speech = None
        if self.clip is not None and other.clip is not None:
            clip = join_clips(self.clip, other.clip)
        if self.speech is not None and other.speech is not None:
            speech = np.concatenate([self.speech, other.speech])
        return Stretch(self.first, clip, speech, self.note)


@dataclass(frozen=True)
class Cut:
    """One piece: what is decoded, and the time in seconds of the file that is its own."""

    stretch: Stretch
    start_s: float
    end_s: float


def slice_clip(clip: "MouthClip", begin: int, end: int) -> "MouthClip":
    """Frames begin..end of everything that has frames; the sound is kept apart."""
    arrays = {name: getattr(clip, name)[begin:end] for name in _PER_FRAME}
    return dataclasses.replace(clip, **arrays, speech=None)


def join_clips(first: "MouthClip", second: "MouthClip") -> "MouthClip":
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _PER_FRAME}
    return dataclasses.replace(second, **arrays, speech=None)


_PER_FRAME = ("frames", "landmarks", "mouth_opening", "num_faces", "source_change")


def cut_into_pieces(stretches: Iterable[Stretch], *, longest_s: float) -> Iterator[Cut]:
    """Pieces of at most `longest_s` seconds, each frame in at least one. Raises ConfigError for a limit too short."""
    if longest_s < SHORTEST_LIMIT_S:
        raise ConfigError("pieces too short to hold words", found=f"{longest_s} s", expected=f">= {SHORTEST_LIMIT_S} s")
    yield from _Cutter(stretches, round(longest_s * VIDEO_RATE_HZ)).pieces()


@dataclass(frozen=True)
class _Seam:
    """Where one piece ends and the next begins: `at` is the first frame that is the next piece's own.

    before: frames before `at` that the next piece gets, too; after: frames from `at` on that this piece gets, too.
    """

    at: int
    before: int = 0
    after: int = 0


class _Cutter:
    """Reads ahead of the piece that is to be cut off. All indices are frames of `held`, what is read and not given out.

    longest: the most frames of a piece. shared: frames at the beginning of `held` that are the own of the piece before.
    in_freeze: whether `held` begins in the middle of a freeze.
    """

    def __init__(self, stretches: Iterable[Stretch], longest: int):
        self._source: Iterator[Stretch] = iter(stretches)
        self.longest, self.shared, self.in_freeze = longest, 0, False
        self.held: Stretch | None = None

    def pieces(self) -> Iterator[Cut]:
        while (held := self._read()) is not None:
            freezes = _freezes(held[: self.longest + _FREEZE_FRAMES].clip, self.in_freeze)
            boundary = self._boundary(held, freezes)
            if boundary is None and len(held) <= self.longest:
                yield self._cut(held, _Seam(len(held)))
                return
            moving = _activity(held, self.longest)
            seam = _seam_around(held, moving, self._quietest(held, moving, freezes) if boundary is None else boundary)
            yield self._cut(held, seam)
            first = seam.at - seam.before
            self.held, self.shared = held[first:], seam.before
            self.in_freeze = any(begin <= first < end for begin, end in freezes)

    def _read(self) -> Stretch | None:
        """What is held, with enough behind the longest piece that no crumb is left over; None: there was nothing."""
        while self.held is None or len(self.held) <= self.longest + _REST_FRAMES:
            stretch = next(self._source, None)
            if stretch is None:
                break
            self.held = stretch if self.held is None else self.held + stretch
        return self.held

    def _cut(self, held: Stretch, seam: _Seam) -> Cut:
        own, end = held.first + self.shared, held.first + seam.at  # frames of the recording
        return Cut(held[: seam.at + seam.after], seconds_of_frames(own), seconds_of_frames(end))

    def _latest(self, held: Stretch) -> int:
        """The last frame at which a piece may end."""
        return min(self.longest - _FORCED_FRAMES, len(held) - _REST_FRAMES)

    def _boundary(self, held: Stretch, freezes: list[tuple[int, int]]) -> int | None:
        """The first frame of another shot, or where a freeze begins or ends; a piece's least length from either end."""
        if held.clip is None:
            return None
        places = [*shot_changes(held.clip.frames), *(edge for freeze in freezes for edge in freeze)]
        earliest, latest = self.shared + _REST_FRAMES, self._latest(held)
        return min((at for at in places if earliest <= at <= latest), default=None)

    def _quietest(self, held: Stretch, moving: np.ndarray, freezes: list[tuple[int, int]]) -> int:
        """The quietest frame of a piece's last two thirds."""
        latest = self._latest(held)
        ahead = [edge - _REST_FRAMES for freeze in freezes for edge in freeze if edge > latest]
        latest = min([latest, *ahead])  # what is left before a boundary is a piece of its own
        earliest = max(self.longest // 3, _FORCED_FRAMES + 1)
        cost = moving[earliest : latest + 1] - np.linspace(0, _LATE_BONUS, latest + 1 - earliest)
        return earliest + int(cost.argmin())


def _activity(held: Stretch, longest: int) -> np.ndarray:
    """(longest + 1,) or fewer: how much moves and sounds in each frame, 0 to 1."""
    return activity(
        None if held.clip is None else held.clip.frames[: longest + 1],
        None if held.speech is None else held.speech[: (longest + 1) * SAMPLES_PER_FRAME],
    )


def _seam_around(held: Stretch, moving: np.ndarray, at: int) -> _Seam:
    """The seam at a frame: both pieces get the pause around it, or the forced overlap where there is none."""
    quiet = moving < QUIET
    before, after = 0, 0
    while before < _MARGIN_FRAMES and at > before and quiet[at - before - 1]:
        before += 1
    while after < _MARGIN_FRAMES and at + after < len(quiet) and quiet[at + after]:
        after += 1
    if before + after < _PAUSE_FRAMES:
        return _Seam(at, min(_FORCED_FRAMES, at - 1), min(_FORCED_FRAMES, len(held) - at))
    return _Seam(at, before, after)


def _freezes(clip: "MouthClip | None", in_freeze: bool) -> list[tuple[int, int]]:
    """(first, one past the last) of the repeated pictures of each freeze; two with next to nothing between are one.

    in_freeze: the first picture repeats one before the clip, in a freeze that is as long as it has to be.
    """
    found: list[tuple[int, int]] = []
    for first, end in [] if clip is None else runs(_repeated(clip)):
        if end - first < _FREEZE_FRAMES and not (in_freeze and first == 0):
            continue
        if found and first - found[-1][1] < _REST_FRAMES:  # a picture every few seconds: no pieces of its sound
            first, _ = found.pop()
        found.append((first, end))
    return found


def _repeated(clip: "MouthClip") -> np.ndarray:
    """(T,) bool: pictures that are the ones before again, as media/quality/pictures.py tells them."""
    change = clip.source_change
    if np.isnan(change).all():
        change = measure_change(as_gray(clip.frames))
        change = np.concatenate([change[:1], change])  # what was before the first is not known: it is like the second
    return change < FROZEN_CHANGE  # not where it is NaN
