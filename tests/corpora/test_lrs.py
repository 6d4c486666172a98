"""LRS2 and LRS3: transcripts, pretrain cut at pauses, and that nothing of a test set is trained on."""

from itertools import pairwise

import pytest

from espnet_vivit.corpora.lrs import group_words, read_timed_text, tidy_times
from espnet_vivit.corpora.lrs2 import lrs2_clips
from espnet_vivit.corpora.lrs3 import lrs3_clips
from espnet_vivit.data.word_times import WordTime, format_word_times, parse_word_times
from espnet_vivit.errors import DataError

LRS3_TEXT = """Text:  AND THAT IS {LG} WHY
Conf:  4
Ref:   abcDEF_-123

FRAME 	X 	Y 	W 	H
000000 	0.400 	0.150 	0.221 	0.393
000001 	0.401 	0.150 	0.221 	0.393

WORD START END ASDSCORE
AND 0.21 0.36 5.1
THAT 0.36 0.50 4.9
IS 0.45 0.45 1.0
{LG} 0.5 0.8 0.1
WHY 0.90 1.20 3.3
"""


def write_text(path, words, *, first_s=0.2, word_s=0.3, gap_s=0.1):
    """A transcript of the same shape as LRS's, and an empty video beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"Text:  {' '.join(words)}", "Conf:  4", "", "WORD START END ASDSCORE"]
    for n, word in enumerate(words):
        start_s = first_s + n * (word_s + gap_s)
        lines.append(f"{word} {start_s:.2f} {start_s + word_s:.2f} 3.2")
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    path.with_suffix(".mp4").touch()


def test_a_transcript_is_read_without_boxes_and_noises(tmp_path):
    (tmp_path / "a.txt").write_text(LRS3_TEXT)
    transcript = read_timed_text(tmp_path / "a.txt")
    assert transcript.text == "AND THAT IS WHY"
    assert [time.word for time in transcript.words] == ["AND", "THAT", "IS", "WHY"]
    assert transcript.words[0] == (0.21, 0.36, "AND")
    assert parse_word_times(format_word_times(transcript.words))  # which refuses times that run backwards


@pytest.mark.parametrize(
    ("content", "message"), [("Conf: 3\n", "has no text"), ("Text: A\nWORD START END ASDSCORE\nA x 1\n", "line 3")]
)
def test_a_transcript_that_is_none_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_timed_text(tmp_path / "a.txt")


def test_cuts_hold_all_words_once_in_order_and_fit():
    words = [
        WordTime(0.5 * n + (3.0 if n >= 14 else 0.0), 0.5 * n + 0.4 + (3.0 if n >= 14 else 0.0), f"w{n}")
        for n in range(60)
    ]
    cuts = group_words(words, max_s=10.0)
    assert [time.word for cut in cuts for time in cut.words] == [word.word for word in words]
    assert all(cut.end_s - cut.start_s <= 10.0 for cut in cuts)
    assert all(one.end_s <= other.start_s for one, other in pairwise(cuts))
    assert cuts[0].words[-1].word == "w13", "the long pause behind w13 is where to cut"
    for cut in cuts:
        assert cut.start_s * 25 == pytest.approx(round(cut.start_s * 25))
        for time in cut.words:
            original = words[int(time.word[1:])]
            assert time.start_s + cut.start_s == pytest.approx(original.start_s, abs=0.021)
            assert 0 <= time.start_s < time.end_s <= cut.end_s - cut.start_s + 0.041


def test_cutting_ends_where_it_must():
    assert group_words([]) == []
    (cut,) = group_words([WordTime(0.0, 0.3, "A")])
    assert (cut.start_s, cut.end_s) == (0.0, 0.48)
    with pytest.raises(DataError, match=r"'LONG' at 2\.00 s lasts longer"):
        group_words([WordTime(2.0, 30.0, "LONG")])


def test_a_later_cut_is_at_the_longest_pause_of_its_own_second_half():
    """A pause of a second in the first half of what fits from 20 s on, one of half a second in the second half."""
    starts_s = [
        0.0,
        20.0,
        20.5,
        22.0,
        22.5,
        23.0,
        23.5,
        24.0,
        24.5,
        25.0,
        25.5,
        26.5,
        27.0,
        27.5,
        28.0,
        28.5,
        29.0,
        29.5,
    ]
    words = [WordTime(start_s, start_s + 0.5, f"w{n}") for n, start_s in enumerate(starts_s)]
    cuts = group_words(words, max_s=10.0)
    assert [cut.words[0].word for cut in cuts] == ["w0", "w1", "w11"]


def test_a_cut_with_its_margins_is_never_longer_than_allowed():
    longest_s = []
    for length_s in range(900, 1000, 5):
        try:
            (cut,) = group_words([WordTime(1.01, 1.01 + length_s / 100, "A")], max_s=10.0)
        except DataError:
            continue
        longest_s.append(cut.end_s - cut.start_s)
    assert 9.8 < max(longest_s) <= 10.0 and len(longest_s) < 20


def test_overlapping_and_empty_words_get_times_that_run_forward():
    tidy = tidy_times([WordTime(0.0, 0.5, "A"), WordTime(0.4, 0.4, "B"), WordTime(0.45, 0.9, "C")])
    assert parse_word_times(format_word_times(tidy)) == tuple(WordTime(round(s, 3), round(e, 3), w) for s, e, w in tidy)


@pytest.fixture
def lrs3(tmp_path):
    """Talks t0..t9 in trainval and pretrain, u0 in test; t9 and u0 have pretrain clips as well."""
    for talk in range(10):
        for n in range(3):
            write_text(tmp_path / f"trainval/t{talk}/{n:05d}", ["GOOD", "MORNING"])
        write_text(tmp_path / f"pretrain/t{talk}/00009", [f"W{k}" for k in range(60)])
    write_text(tmp_path / "test/u0/00001", ["GOOD", "NIGHT"])
    write_text(tmp_path / "pretrain/u0/00001", ["BAD"] * 8)
    return tmp_path


def test_lrs3_holds_out_whole_talks_and_drops_what_pretrain_has_of_them(lrs3):
    clips = list(lrs3_clips(lrs3))
    talks = {
        split: {c.speaker for c in clips if c.split == split and not c.problem} for split in ("train", "dev", "test")
    }
    assert talks["test"] == {"u0"} and len(talks["dev"]) == 1
    assert not talks["train"] & (talks["dev"] | talks["test"])
    left_out = [clip for clip in clips if clip.problem]
    assert {clip.speaker for clip in left_out} == talks["dev"] | talks["test"]
    assert all(clip.problem.startswith("left out: its talk is in") for clip in left_out)
    assert len({clip.utt_id for clip in clips}) == len(clips)


def test_lrs3_pretrain_is_cut_with_its_words(lrs3):
    clips = [c for c in lrs3_clips(lrs3, max_s=8.0) if c.utt_id.startswith("t0-p") or c.utt_id.startswith("t1-p")]
    clips = [clip for clip in clips if not clip.problem]  # one of the two talks may be held out
    assert len(clips) >= 4
    for clip in clips:
        assert clip.text.split() == [time.word for time in clip.word_times] and clip.end_s - clip.start_s <= 8.0
    assert all(clip.split == "train" for clip in clips)
    assert not [c for c in lrs3_clips(lrs3, pretrain=False) if "-p" in c.utt_id]


def test_a_clip_that_lost_its_text_or_video_is_listed(lrs3):
    (lrs3 / "trainval/t0/00000.txt").unlink()
    (lrs3 / "pretrain/t1/00009.txt").write_text("Text: NO TIMES\n")
    problems = {
        clip.utt_id: clip.problem for clip in lrs3_clips(lrs3) if clip.problem and "left out" not in clip.problem
    }
    assert "cannot read" in problems["t0-00000"]
    assert problems.get("t1-p00009", "no times of words").find("no times of words") >= 0


@pytest.fixture
def lrs2(tmp_path):
    base = tmp_path / "mvlrs_v1"
    for split, programme in (("train", "11"), ("val", "22"), ("test", "33")):
        names = [f"{programme}/{n:05d}" for n in range(2)]
        for name in names:
            write_text(base / "main" / name, ["HELLO", "WORLD"])
        ending = " NF" if split == "test" else ""
        (tmp_path / f"{split}.txt").write_text("".join(f"{name}{ending}\n" for name in names))
    for programme in ("11", "22", "44"):
        write_text(base / "pretrain" / programme / "00005", ["A", "B", "C"])
    return tmp_path


def test_lrs2_follows_its_lists(lrs2):
    clips = {clip.utt_id: clip for clip in lrs2_clips(lrs2)}
    assert {name: clip.split for name, clip in clips.items()} == {
        "11-00000": "train", "11-00001": "train", "22-00000": "dev", "22-00001": "dev", "33-00000": "test",
        "33-00001": "test", "11-p00005-000": "train", "44-p00005-000": "train", "22-p00005": "train",
    }  # fmt: skip
    assert clips["22-p00005"].problem == "left out: clips of its programme are in dev"
    assert clips["11-p00005-000"].text == "A B C" and clips["11-00000"].text == "HELLO WORLD"


def test_a_folder_that_is_not_lrs_says_what_is_missing(lrs2, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match="is not LRS2: expected a folder with mvlrs_v1/main"):
        list(lrs2_clips(empty))
    with pytest.raises(DataError, match="is not LRS3"):
        list(lrs3_clips(empty))
    (lrs2 / "val.txt").unlink()
    with pytest.raises(DataError, match=r"no list val\.txt"):
        list(lrs2_clips(lrs2))
    (lrs2 / "val.txt").write_text("no-slash\n")
    with pytest.raises(DataError, match=r"val\.txt, line 1"):
        list(lrs2_clips(lrs2))
