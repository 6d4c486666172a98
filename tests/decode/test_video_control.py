"""The controls really take the lips away."""

import numpy as np
import pytest

from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.decode.video_control import controlled_video, write_shuffled_scp
from espnet_vivit.errors import ConfigError


@pytest.fixture
def video_scp(tmp_path):
    (tmp_path / "video.scp").write_text("".join(f"u{i} clip{i}.mkv\n" for i in range(9)))
    return tmp_path / "video.scp"


def test_everyone_gets_another_ones_video_and_every_video_is_used_once(video_scp, tmp_path):
    before = read_scp(video_scp)
    donors = write_shuffled_scp(video_scp, tmp_path / "out/shuffled.scp", seed=0)
    after = read_scp(tmp_path / "out/shuffled.scp")
    assert list(after) == list(before) and sorted(after.values()) == sorted(before.values())
    assert all(after[utt_id] != before[utt_id] for utt_id in before)
    assert {utt_id: before[donor] for utt_id, donor in donors.items()} == after


def test_a_seed_repeats_the_shuffle(video_scp, tmp_path):
    first, again, other = (write_shuffled_scp(video_scp, tmp_path / "out.scp", seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_one_utterance_cannot_be_shuffled(tmp_path):
    (tmp_path / "video.scp").write_text("u0 clip.mkv\n")
    with pytest.raises(ConfigError, match="needs two utterances or more"):
        write_shuffled_scp(tmp_path / "video.scp", tmp_path / "out.scp", seed=0)


def test_zero_is_black_and_none_is_untouched():
    video = np.full((5, 2, 2), 9, np.uint8)
    assert controlled_video(video, None, "zero").shape == (5, 2, 2) and not controlled_video(video, None, "zero").any()
    assert controlled_video(video, None, "none") is video


@pytest.mark.parametrize(
    ("samples", "expected"), [(3 * 640, [0, 1, 2]), (7 * 640 + 90, [0, 1, 2, 3, 4, 4, 4]), (9, [0])]
)
def test_a_strangers_video_gets_the_length_of_the_sound(samples, expected):
    video = np.arange(5, dtype=np.uint8)[:, None, None]
    assert controlled_video(video, np.zeros(samples), "shuffle").flatten().tolist() == expected
    assert controlled_video(video, None, "shuffle") is video
