"""Clips of single words: which frames, which files, and what is refused."""

import numpy as np
import pytest

from espnet_vivit.data.data_dir import Utterance, validate_data_dir, write_data_dir
from espnet_vivit.data.word_clips import cut_words, word_frames
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.media.files.video_file import read_video

TIMES = (WordTime(0.04, 0.20, "bin"), WordTime(0.80, 1.20, "blue"))


def write_sentence(folder, *, frames=40, times=TIMES):
    """A clip whose frame n has the gray value n."""
    video = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None], (frames, 4, 6))
    np.save(folder / "a.npy", video)
    text = " ".join(time.word for time in TIMES)
    utterance = Utterance("a", "s1", text, None, str(folder / "a.npy"), frames, 0, times)
    write_data_dir(folder / "data", [utterance])
    return folder / "data"


def test_the_word_stands_in_the_middle_and_the_ends_repeat():
    assert word_frames(WordTime(0.80, 1.20, "blue"), num_frames=10, total=40).tolist() == list(range(20, 30))
    assert word_frames(WordTime(0.80, 1.20, "blue"), num_frames=4, total=40).tolist() == [23, 24, 25, 26]
    assert word_frames(WordTime(0.04, 0.20, "bin"), num_frames=8, total=40).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert word_frames(WordTime(1.4, 1.6, "now"), num_frames=4, total=38).tolist() == [36, 37, 37, 37]


def test_every_word_becomes_a_clip_of_a_whole_data_directory(tmp_path):
    words = cut_words(write_sentence(tmp_path), tmp_path / "words", num_frames=10, clips=tmp_path / "clips")
    assert [(word.utt_id, word.text, word.speaker) for word in words] == [("a-00", "bin", "s1"), ("a-01", "blue", "s1")]
    assert validate_data_dir(tmp_path / "words") == words
    assert read_video(words[1].video)[:, 0, 0].tolist() == list(range(20, 30))
    assert {read_video(word.video).shape for word in words} == {(10, 4, 6)}


def test_what_cannot_be_cut_is_named(tmp_path):
    data = write_sentence(tmp_path, times=None)
    with pytest.raises(DataError, match=r"has no word_times"):
        cut_words(data, tmp_path / "words", num_frames=10, clips=tmp_path / "clips")
    with pytest.raises(ConfigError, match=r"num_frames"):
        cut_words(data, tmp_path / "words", num_frames=0, clips=tmp_path / "clips")
