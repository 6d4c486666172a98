"""Each feature step gets the token that is spoken at its centre."""

import numpy as np
import pytest

from espnet_vivit.data.data_dir import WordTime
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.loading.frame_labels import check_within, check_words, feature_steps, frame_labels


def letters(word):
    return [ord(letter) - ord("a") + 1 for letter in word]


def by_loop(times, encode, frames, step_frames):
    """The definition, step by step and token by token."""
    labels = []
    for step in range(max(1, frames // step_frames)):
        centre = (step + 0.5) * step_frames / 25
        label = 0
        for start, end, word in times:
            ids = encode(word)
            for k, token in enumerate(ids):
                if start + (end - start) * k / len(ids) <= centre < start + (end - start) * (k + 1) / len(ids):
                    label = token
        labels.append(label)
    return labels


@pytest.mark.parametrize(("feature_rate", "step_frames"), [("frame", 1), ("tubelet", 2)])
def test_labels_follow_the_definition(feature_rate, step_frames):
    rng = np.random.default_rng(0)
    for frames in (1, 2, 3, 30, 75):
        borders = np.sort(rng.uniform(0, frames / 25, 6))
        times = [WordTime(*borders[2 * k : 2 * k + 2], word) for k, word in enumerate(["bin", "a", "please"])]
        found = frame_labels(times, encode=letters, frames=frames, feature_rate=feature_rate)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, by_loop(times, letters, frames, step_frames))


def test_a_word_beyond_the_clip_is_cut_and_silence_is_blank():
    found = frame_labels([WordTime(0.08, 9.0, "a")], encode=letters, frames=5, feature_rate="frame")
    np.testing.assert_array_equal(found, [0, 0, 1, 1, 1])


@pytest.mark.parametrize("frames", [1, 2, 3, 29, 30])
def test_steps_follow_the_length_law(frames):
    assert feature_steps(frames, "frame") == frames
    assert feature_steps(frames, "tubelet") == max(1, frames // 2)
    with pytest.raises(ConfigError, match="Did you mean 'frame'"):
        feature_steps(frames, "frames")


def test_times_of_other_words_are_an_error_that_names_the_utterance():
    check_words("u1", [WordTime(0, 1, "bin"), WordTime(1, 2, "blue")], "bin  blue")
    with pytest.raises(DataError, match=r"'u1' do not spell its text: found 'bin'; expected 'bin blue'"):
        check_words("u1", [WordTime(0, 1, "bin")], "bin blue")


def test_words_beyond_the_end_of_their_clip_are_named():
    times = [WordTime(0.0, 0.4, "bin"), WordTime(0.4, 1.0, "now")]
    check_within("a", times, 0.97)  # a frame
    check_within("a", [], 0.1)
    with pytest.raises(DataError, match=r"word_times of utterance 'a' go beyond its end: found 'now' until 1\.000 s"):
        check_within("a", times, 0.9)
