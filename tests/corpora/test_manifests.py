"""Lists of Auto-AVSR and AV-HuBERT: what is written is read again, and known traps are seen."""

import pytest

from espnet_vivit.corpora.manifests import auto_avsr_clips, av_hubert_clips, text_of_ids
from espnet_vivit.corpora.write_manifests import write_auto_avsr, write_av_hubert
from espnet_vivit.data.data_dir import Utterance
from espnet_vivit.data.token_list import read_units
from espnet_vivit.errors import DataError

UNITS = "<unk> 1\n▁ 2\n▁GOOD 3\nMORN 4\nING 5\n▁NIGHT 6\n▁M 7\n"


@pytest.fixture
def units(tmp_path):
    (tmp_path / "units.txt").write_text(UNITS, encoding="utf-8")
    return read_units(tmp_path / "units.txt")


def utterances(root):
    for n, text in enumerate(["GOOD MORNING", "GOOD NIGHT"]):
        stem = root / f"lrs3/trainval/talk/{n:05d}"
        yield Utterance(f"talk-{n:05d}", "talk", text, f"{stem}.wav", f"{stem}.mp4", 75, 48000)


def pieces_of(text):  # as sentencepiece's encode_as_pieces does
    return {"GOOD MORNING": ["▁GOOD", "▁", "MORN", "ING"], "GOOD NIGHT": ["▁GOOD", "▁NIGHT"]}[text]


def test_auto_avsr_lists_are_read_as_they_were_written(tmp_path, units):
    write_auto_avsr(
        tmp_path / "a.csv", utterances(tmp_path), root=tmp_path, dataset="lrs3", pieces_of=pieces_of, units=units
    )
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["lrs3,trainval/talk/00000.mp4,75,3 2 4 5", "lrs3,trainval/talk/00001.mp4,75,3 6"]
    (tmp_path / "lrs3/trainval/talk").mkdir(parents=True)
    (tmp_path / "lrs3/trainval/talk/00000.wav").touch()
    one, two = auto_avsr_clips(tmp_path, {"train": tmp_path / "a.csv"}, units=units)
    assert (one.text, two.text) == ("GOOD MORNING", "GOOD NIGHT")
    assert one.video == str(tmp_path / "lrs3/trainval/talk/00000.mp4") and one.audio.endswith("00000.wav")
    assert two.audio == "" and one.utt_id == "trainval-talk-00000" and one.split == "train"


def test_token_ids_count_from_one_as_auto_avsr_does(units):
    assert text_of_ids([3, 7, 5], units) == "GOOD MING"
    with pytest.raises(DataError, match="unknown token id: found 8"):
        text_of_ids([8], units)


def test_a_row_with_bad_tokens_is_a_problem_and_a_bad_row_an_error(tmp_path, units):
    (tmp_path / "a.csv").write_text("lrs3,a/b/0.mp4,75,3 99\nlrs3,a/b/1.mp4,75,x\nlrs3,a/b/2.mp4,75,\n")
    problems = [clip.problem for clip in auto_avsr_clips(tmp_path, {"train": tmp_path / "a.csv"}, units=units)]
    assert "line 1: unknown token id" in problems[0] and "line 2" in problems[1] and "no text" in problems[2]
    (tmp_path / "a.csv").write_text("lrs3,a/b/0.mp4\n")
    with pytest.raises(DataError, match="line 1: found 2 fields; expected dataset,path,frames,token ids"):
        list(auto_avsr_clips(tmp_path, {"train": tmp_path / "a.csv"}, units=units))


def test_av_hubert_lists_are_read_as_they_were_written(tmp_path):
    write_av_hubert(tmp_path / "train.tsv", utterances(tmp_path), root=tmp_path)
    lines = (tmp_path / "train.tsv").read_text().splitlines()
    assert lines[0] == str(tmp_path)
    assert lines[1] == "talk-00000\tlrs3/trainval/talk/00000.mp4\tlrs3/trainval/talk/00000.wav\t75\t48000"
    assert (tmp_path / "train.wrd").read_text() == "GOOD MORNING\nGOOD NIGHT\n"
    one, two = av_hubert_clips({"train": tmp_path / "train.tsv"})
    assert (one.text, two.text) == ("GOOD MORNING", "GOOD NIGHT")
    assert one.video == str(tmp_path / "lrs3/trainval/talk/00000.mp4")
    assert one.audio == str(tmp_path / "lrs3/trainval/talk/00000.wav")


def test_av_hubert_lists_that_do_not_fit_together_are_refused(tmp_path):
    write_av_hubert(tmp_path / "train.tsv", utterances(tmp_path), root=tmp_path)
    (tmp_path / "train.wrd").write_text("GOOD MORNING\n")
    with pytest.raises(DataError, match="different numbers of lines"):
        list(av_hubert_clips({"train": tmp_path / "train.tsv"}))
    (tmp_path / "train.tsv").write_text("/\nid video\n")
    with pytest.raises(DataError, match="line 2: found 1 fields"):
        list(av_hubert_clips({"train": tmp_path / "train.tsv"}))


def test_what_cannot_stand_in_a_list_is_refused(tmp_path, units):
    silent = [Utterance("a", "a", "GOOD NIGHT", None, str(tmp_path / "a.mp4"), 75, 0)]
    with pytest.raises(DataError, match="a has no such stream"):
        write_av_hubert(tmp_path / "x.tsv", silent)
    assert not (tmp_path / "x.tsv").exists() and not (tmp_path / "x.wrd").exists()
    with pytest.raises(DataError, match="is not below"):
        write_auto_avsr(tmp_path / "x.csv", silent, root=tmp_path, dataset="lrs3", pieces_of=pieces_of, units=units)
