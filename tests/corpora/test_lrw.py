"""LRW as distributed: its folders, its durations, and what is named when a clip has none."""

import pytest

from espnet_vivit.corpora.lrw import lrw_clips
from espnet_vivit.errors import DataError

METADATA = "Disk reference: 5964592838123402225\nChannel: BBC One HD\nClip start: 3.66 seconds\nDuration: {} seconds\n"


def write_lrw(root, durations=("0.27", "0.48")):
    """Two words of one clip in each set; the videos are empty."""
    for word, duration in zip(("ABOUT", "YOUNG"), durations, strict=True):
        for split in ("train", "val", "test"):
            folder = root / "lipread_mp4" / word / split
            folder.mkdir(parents=True)
            (folder / f"{word}_00001.mp4").touch()
            (folder / f"{word}_00001.txt").write_text(METADATA.format(duration))
    return root


def test_sets_words_and_times_are_those_of_the_folders(tmp_path):
    clips = list(lrw_clips(write_lrw(tmp_path)))
    assert [(clip.split, clip.text) for clip in clips] == [
        (split, word) for word in ("ABOUT", "YOUNG") for split in ("train", "dev", "test")
    ]
    assert len({clip.utt_id for clip in clips}) == 6, "the numbers begin anew in each set"
    (time,) = clips[0].word_times
    assert (time.start_s + time.end_s) / 2 == pytest.approx(29 / 25 / 2)
    assert time.end_s - time.start_s == pytest.approx(0.27)
    assert [clip.utt_id for clip in lrw_clips(tmp_path / "lipread_mp4")] == [clip.utt_id for clip in clips]


@pytest.mark.parametrize("duration", ["long", "0", "1.5"])
def test_a_clip_without_a_duration_is_listed_with_its_problem(tmp_path, duration):
    clips = list(lrw_clips(write_lrw(tmp_path, durations=(duration, "0.3"))))
    assert ["Duration" in clip.problem for clip in clips] == [True] * 3 + [False] * 3


def test_other_folders_are_not_lrw(tmp_path):
    with pytest.raises(DataError, match="is not LRW"):
        list(lrw_clips(tmp_path))
    (tmp_path / "lipread_mp4/ABOUT/train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no folder val"):
        list(lrw_clips(tmp_path))
