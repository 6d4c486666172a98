"""How a clip of any length is cut into the windows that a ViViT can see.

Window k starts at frame `k * hop`, hop = num_frames - overlap; the last is the first that reaches the clip's end. A
tubelet step (two frames, 80 ms at 25 fps) belongs to the window whose nominal centre is nearest; of two equally near,
to the earlier. The centre is nominal, that of a full window, also where the clip ends inside: so clips that begin alike
are cut alike, and steps whose owning window lies wholly inside two clips that share its frames are equal in both. Only
in a clip's last half overlap may a step belong to another window than it would in a longer clip.
"""

from typing import NamedTuple

from espnet_vivit.errors import ConfigError
from espnet_vivit.units import TUBELET_FRAMES


class Window(NamedTuple):
    """Frames `start .. start + frames` of one clip, of whose steps `first .. last` (last excluded) it owns."""

    start: int  # in frames, even
    frames: int  # even, at most num_frames; fewer only for the last window of a clip
    first_step: int  # steps of the clip, counted from its beginning
    last_step: int


def check_overlap(num_frames: int, overlap: int) -> None:
    """Raise `ConfigError` unless windows of `num_frames` can overlap by `overlap` frames in whole tubelets."""
    if overlap < 0 or overlap >= num_frames or overlap % TUBELET_FRAMES:
        raise ConfigError(
            "window_overlap does not fit the windows",
            found=f"window_overlap={overlap} with num_frames={num_frames}",
            expected=f"an even number of frames from 0 to {num_frames - TUBELET_FRAMES}",
            fix="8 is the default for 32-frame windows",
        )


def plan_windows(frames: int, *, num_frames: int, overlap: int) -> list[Window]:
    """The windows of a clip of `frames` frames (an even number, at least 2), in order; together they own every step."""
    hop = num_frames - overlap
    count = 1 if frames <= num_frames else 1 + -(-(frames - num_frames) // hop)  # ceil
    steps = frames // TUBELET_FRAMES
    # Steps before `border(k)` are nearer to the centre of window k - 1 (or as near) than to that of window k:
    # step s covers frames 2s and 2s + 1, its centre is at 2s + 1, and the two centres' midpoint is at the start of
    # window k plus half of the overlap.
    windows = []
    for k in range(count):
        start = k * hop
        first = 0 if k == 0 else _border(start, overlap)
        last = steps if k == count - 1 else _border(start + hop, overlap)
        windows.append(Window(start, min(num_frames, frames - start), first, last))
    return windows


def _border(start: int, overlap: int) -> int:
    """The first step whose centre, frame 2s + 1, lies beyond `start + overlap / 2`."""
    return (start + overlap // 2 - 1) // TUBELET_FRAMES + 1
