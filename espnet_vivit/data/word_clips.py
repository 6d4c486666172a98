"""Clips of single words, cut from a data directory whose `word_times` say when each word is spoken.

In: clips of sentences. Out: a data directory with a clip for each word, `num_frames` frames long with the word in its
middle, as LRW has them (Chung and Zisserman, ACCV 2016). At the ends of a recording its first or last frame is
repeated. The clips show something of the neighboring words, too, where they are near: coarticulation belongs to the
task. Sound is left out.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.data.data_dir import Utterance, read_data_dir, write_data_dir
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.units import VIDEO_RATE_HZ


def word_frames(time: WordTime, *, num_frames: int, total: int) -> np.ndarray:
    """Indices (num_frames,) of the frames around a word's middle in a clip of `total` frames."""
    middle = (time.start_s + time.end_s) / 2 * VIDEO_RATE_HZ
    first = round(middle - num_frames / 2)
    return np.arange(first, first + num_frames).clip(0, total - 1)


def cut_words(
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    num_frames: int,
    clips: str | os.PathLike,
    progress: Callable[[list[Utterance]], Iterable[Utterance]] = list,
) -> list[Utterance]:
    """Write the data directory `out`, with a .npy file (num_frames, H, W) for each word in `clips`.

    progress: iterates over the utterances. Returns the words' utterances. Raises ConfigError for fewer than one frame,
    DataError for a set without video or word times.
    """
    if num_frames < 1:
        raise ConfigError("num_frames", found=num_frames, expected="1 or more frames for each word")
    utterances = read_data_dir(data)
    for name, value in (("video.scp", utterances[0].video), ("word_times", utterances[0].word_times)):
        if value is None:
            raise DataError(f"{data} has no {name}", fix="Prepare a corpus whose word times are known, such as GRID.")
    folder, words = make_folder(Path(clips)), []
    for utterance in progress(utterances):
        assert utterance.video is not None and utterance.word_times is not None  # all or none, as read_data_dir says
        video = read_video(utterance.video)
        for number, time in enumerate(utterance.word_times):
            utt_id = f"{utterance.utt_id}-{number:02d}"
            path = (folder / f"{utt_id}.npy").absolute()
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.save(file, video[word_frames(time, num_frames=num_frames, total=len(video))])
            cut = replace(utterance, utt_id=utt_id, text=time.word, wav=None, num_samples=0, word_times=None)
            words.append(replace(cut, video=str(path), num_frames=num_frames))
    write_data_dir(out, words)
    return words
