"""GRID's original videos: the two protocols, .align files, and what contradicts a file's name."""

import itertools

import pytest

from espnet_vivit.corpora.grid_crops import GRAMMAR
from espnet_vivit.corpora.grid_videos import UNSEEN, grid_clips, read_align, speaker_of, split_speaker
from espnet_vivit.errors import ConfigError, DataError

ALIGN = """0 23750 sil
23750 29500 bin
29500 34000 blue
34000 35500 at
35500 41000 f
41000 47250 two
47250 53000 now
53000 74500 sil
"""
CODES = ["".join(letters) for letters in itertools.islice(itertools.product(*GRAMMAR), 0, 40_000, 40)]  # 1000 of them


@pytest.fixture
def root(tmp_path):
    for speaker in ("s1", "s5"):
        for code in ("bbaf2n", "lgiz9s", "prwazp", "swbv7a"):
            path = tmp_path / speaker / "video" / f"{code}.mpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "alignments/s1").mkdir(parents=True)
    (tmp_path / "alignments/s1/bbaf2n.align").write_text(ALIGN)
    return tmp_path


def test_videos_and_their_word_times(root):
    clips = {clip.utt_id: clip for clip in grid_clips(root)}
    assert len(clips) == 8 and clips["s5_prwazp"].text == "place red with a zero please"
    assert clips["s1_bbaf2n"].word_times[0] == (0.95, 1.18, "bin")
    assert clips["s5_bbaf2n"].word_times is None
    assert clips["s1_lgiz9s"].speaker == "s1"


def test_speakers_behind_links_are_found(root, tmp_path):
    """As on a disk of one's own, with a folder that links each speaker's; a link that leads back ends."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for speaker in ("s1", "s5"):
        (linked / speaker).symlink_to(root / speaker)
    (linked / "alignments").symlink_to(root / "alignments")
    (root / "s1/back").symlink_to(linked)
    clips = {clip.utt_id: clip for clip in grid_clips(linked)}
    assert len(clips) == 8 and clips["s1_bbaf2n"].word_times[0] == (0.95, 1.18, "bin")


def test_an_align_of_another_sentence_and_a_name_of_no_sentence_are_problems(root):
    (root / "alignments/s1/bbaf2n.align").write_text(ALIGN.replace("blue", "green"))
    (root / "s5/video/bbaf2x.mpg").touch()
    clips = {clip.utt_id: clip.problem for clip in grid_clips(root)}
    assert "contradicts the file's name" in clips["s1_bbaf2n"] and "no GRID file name" in clips["s5_bbaf2x"]


def test_the_overlapped_protocol_holds_out_255_sentences_of_each_speaker():
    sets = split_speaker("s3", CODES, protocol="overlapped")
    counts = [list(sets.values()).count(name) for name in ("train", "dev", "test")]
    assert counts == [720, 25, 255]
    assert sets == split_speaker("s3", CODES[::-1], protocol="overlapped")
    assert sets != split_speaker("s4", CODES, protocol="overlapped")  # each speaker's own choice


def test_the_unseen_protocol_trains_on_no_sentence_of_four_speakers(root):
    assert UNSEEN == {"s1", "s2", "s20", "s22"}
    assert set(split_speaker("s20", CODES, protocol="unseen").values()) == {"test"}
    others = list(split_speaker("s3", CODES, protocol="unseen").values())
    assert "test" not in others and others.count("dev") == 25
    clips = list(grid_clips(root, protocol="unseen"))
    assert {clip.speaker for clip in clips if clip.split == "test"} == {"s1"}
    assert {clip.speaker for clip in clips if clip.split != "test"} == {"s5"}


@pytest.mark.parametrize(
    ("path", "speaker"),
    [("s1/a.mpg", "s1"), ("x/s34/video/a.mpg", "s34"), ("s2_bbaf2n.mpg", "s2"), ("x/a.mpg", ""), ("x/s1.mpg", "")],
)
def test_the_speaker_is_the_nearest_folder(path, speaker, tmp_path):
    assert speaker_of((tmp_path / path).relative_to(tmp_path)) == speaker


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has no GRID video.*--download"):
        list(grid_clips(tmp_path))
    with pytest.raises(ConfigError, match="Did you mean 'unseen'"):
        list(grid_clips(tmp_path, protocol="unsen"))
    (tmp_path / "a.align").write_text("0 100\n")
    with pytest.raises(DataError, match="line 1"):
        read_align(tmp_path / "a.align")
