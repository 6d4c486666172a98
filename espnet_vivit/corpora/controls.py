"""A data directory in; the same utterances with a video that cannot help out: blank, or somebody else's.

What a lip reader scores on these is what it knows without seeing: the grammar's chance level. A score better than that
means that the result of the real test set does not come from the lips.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from espnet_vivit.corpora.data_dir import Utterance, read_data_dir, write_data_dir
from espnet_vivit.corpora.random_state import rng_for
from espnet_vivit.errors import DataError, unknown_name
from espnet_vivit.media.video_file import probe_video, write_gray_video

CONTROLS = ("zeroed", "shuffled")  # the suffixes of decode folders that espnet_vivit.results knows


def write_control_set(
    data: str | os.PathLike, out: str | os.PathLike, control: str, *, seed: int = 0
) -> list[Utterance]:
    """Write the data directory `out`: `data` without sound, every video blank ("zeroed") or exchanged ("shuffled").

    Blank videos are black and as long as the real ones. Exchanged ones are a permutation of the set's videos that the
    seed draws; nobody keeps their own, nor one with the same text where that can be avoided. Returns the utterances.
    """
    utterances = read_data_dir(data)
    if utterances[0].video is None:
        raise DataError(f"{data} has no video to spoil")
    if control == "zeroed":
        spoiled = [_blank(utterance, Path(out) / "video") for utterance in utterances]
    elif control == "shuffled":
        spoiled = _exchange(utterances, seed=seed, where=str(data))
    else:
        raise unknown_name("control", control, CONTROLS)
    write_data_dir(out, spoiled)
    return spoiled


def _blank(utterance: Utterance, folder: Path) -> Utterance:
    """One black clip per length and size serves all utterances of it."""
    info = probe_video(utterance.video)
    path = folder / f"{info.num_frames}x{info.height}x{info.width}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_gray_video(path, np.zeros((info.num_frames, info.height, info.width), np.uint8))
    return replace(utterance, video=str(path.resolve()), wav=None, num_samples=0, word_times=None)


def _exchange(utterances: Sequence[Utterance], *, seed: int, where: str) -> list[Utterance]:
    if len(utterances) < 2:
        raise DataError(f"{where}: videos cannot be exchanged", found=f"{len(utterances)} utterance", expected="two")
    order = rng_for(seed, "exchange").permutation(len(utterances))
    shift = _best_shift([utterances[index] for index in order])
    spoiled = list(utterances)
    for place, index in enumerate(order):
        donor = utterances[order[(place + shift) % len(order)]]
        spoiled[index] = replace(
            utterances[index], video=donor.video, num_frames=donor.num_frames, wav=None, num_samples=0, word_times=None
        )
    return spoiled


def _best_shift(utterances: Sequence[Utterance]) -> int:
    """The rotation of the drawn order, 1..n-1, that gives the fewest utterances a video of their own text."""
    texts = [utterance.text for utterance in utterances]

    def same_text(shift: int) -> int:
        return sum(text == texts[(place + shift) % len(texts)] for place, text in enumerate(texts))

    return min(range(1, min(len(texts), 20)), key=same_text)
