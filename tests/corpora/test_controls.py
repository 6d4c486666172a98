"""Controls: what remains of a test set when its video cannot help."""

import numpy as np
import pytest

from espnet_vivit.corpora.controls import write_control_set
from espnet_vivit.corpora.data_dir import Utterance, validate_data_dir, write_data_dir
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.media.video_file import read_video


@pytest.fixture
def data(tmp_path):
    utterances = []
    for number in range(12):
        frames = 10 + number % 3
        path = tmp_path / f"{number}.npy"
        np.save(path, np.full((frames, 8, 6), 10 + number, np.uint8))
        utterances.append(Utterance(f"u{number:02}", "s1", f"text {number % 4}", None, str(path), frames, 0))
    write_data_dir(tmp_path / "test", utterances)
    return tmp_path / "test"


def test_zeroed_videos_are_black_and_as_long_as_the_real_ones(data, tmp_path):
    utterances = write_control_set(data, tmp_path / "zeroed", "zeroed")
    assert validate_data_dir(tmp_path / "zeroed") == utterances
    for real, blank in zip(validate_data_dir(data), utterances, strict=True):
        video = read_video(blank.video)
        assert video.shape == read_video(real.video).shape and not video.any()
        assert (blank.utt_id, blank.text, blank.wav) == (real.utt_id, real.text, None)


def test_nobody_keeps_their_own_video_nor_one_with_the_same_text(data, tmp_path):
    real = validate_data_dir(data)
    exchanged = validate_data_dir(tmp_path / "out") if write_control_set(data, tmp_path / "out", "shuffled") else []
    text_of = {utterance.video: utterance.text for utterance in real}
    assert sorted(u.video for u in exchanged) == sorted(u.video for u in real)
    assert all(before.video != after.video for before, after in zip(real, exchanged, strict=True))
    own_text = sum(text_of[utterance.video] == utterance.text for utterance in exchanged)
    assert own_text <= len(real) // 4  # 3 utterances of 12 share each text
    assert exchanged == write_control_set(data, tmp_path / "again", "shuffled")


def test_one_utterance_cannot_be_exchanged_and_a_misspelt_control_is_told(data, tmp_path):
    write_data_dir(tmp_path / "one", validate_data_dir(data)[:1])
    with pytest.raises(DataError, match="cannot be exchanged"):
        write_control_set(tmp_path / "one", tmp_path / "out", "shuffled")
    with pytest.raises(ConfigError, match="Did you mean 'zeroed'"):
        write_control_set(data, tmp_path / "out", "zeroes")
