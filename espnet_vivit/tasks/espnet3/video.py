"""The kind `video` of ESPnet3's contracts: a gray mouth clip (T, H, W) uint8 at 25 frames per second.

Importing this module registers it; `contract: {imports: [espnet_vivit.tasks.espnet3.video]}` in an inference.yaml does
so in every process that decodes. ESPnet3 itself has `audio`, `text`, `segments` and `number`.
"""

from typing import Any

import numpy as np

from espnet_vivit.tasks.espnet3.names import Field, Kind, register_kind

NAME = "video"


class VideoKind(Kind):
    """A clip is checked, and two pieces of one are joined in time."""

    def check(self, value: Any, field: Field, model: Any, *, output: bool) -> np.ndarray:
        """The clip as it is. Raises TypeError, as ESPnet3's other kinds do, for anything else."""
        clip = np.asarray(value)
        if clip.ndim != 3 or clip.dtype != np.uint8 or 0 in clip.shape:
            found = f"{clip.dtype} {clip.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(f"{field.name!r} {'returned' if output else 'given'} as {found}, must be uint8 (T, H, W)")
        return clip

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Both pieces, one after the other."""
        return np.concatenate([first, second])


register_kind(NAME, VideoKind(), replace=True)  # a second import of this file is no other kind
