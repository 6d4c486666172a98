"""The files and the one line that scoring leaves behind."""

import json
import re

import jiwer
import pytest

from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.bin.commands.score import main
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.evaluation.score import render_alignments

REFERENCE = "s1_a bin blue at f two now\ns1_b lay red by q six soon\ns1_c set green with z one again\n"
HYPOTHESIS = "s1_c set green with one again\ns1_a bin blue at f three now\ns1_b lay red by q q six soon\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref").write_text(REFERENCE)
    (tmp_path / "hyp").write_text(HYPOTHESIS)
    return tmp_path


def run(folder, *more: str, hyp: str = "hyp") -> int:
    paths = ["--ref", str(folder / "ref"), "--hyp", str(folder / hyp), "--out", str(folder / "out")]
    return exit_status(main, [*paths, "--resamples", "200", *more])


def test_command_prints_one_line_and_writes_four_files(files, capsys):
    assert run(files) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(
        r"WER 16\.67 % \[\d+\.\d\d, \d+\.\d\d\]  N 18 Sub 1 Del 1 Ins 1  CER [\d.]+ %  3 utterances\n", printed.out
    )
    assert printed.err == ""
    assert sorted(path.name for path in (files / "out").iterdir()) == ["hyp.trn", "ref.trn", "result.txt", "wer.json"]
    report = json.loads((files / "out/wer.json").read_text())
    assert report["words"]["rate"] == pytest.approx(jiwer.wer(*transcripts_as_lists(files)))
    assert report["characters"]["rate"] == pytest.approx(jiwer.cer(*transcripts_as_lists(files)))
    assert report["per_utterance"]["s1_c"] == {"hits": 5, "substitutions": 0, "deletions": 1, "insertions": 0}
    assert report["wer_interval"]["low"] <= report["words"]["rate"] <= report["wer_interval"]["high"]


def transcripts_as_lists(files):
    references, hypotheses = read_transcripts(files / "ref"), read_transcripts(files / "hyp")
    return list(references.values()), [hypotheses[utt] for utt in references]


def test_trn_files_pair_up_by_id(files):
    run(files)
    assert (files / "out/ref.trn").read_text().splitlines()[1] == "lay red by q six soon (s1_b)"
    assert (files / "out/hyp.trn").read_text().splitlines()[1] == "lay red by q q six soon (s1_b)"


def test_alignment_shows_the_same_columns_as_jiwer():
    reference, hypothesis = "quite a bit of longer sentence", "quite bit of an even longest sentence here"
    ours = render_alignments(score({"utt": reference}, {"utt": hypothesis})).splitlines()
    theirs = jiwer.visualize_alignment(jiwer.process_words(reference, hypothesis), show_measures=False).splitlines()
    for line, prefix in ((1, "REF:"), (2, "HYP:")):
        expected = next(row for row in theirs if row.startswith(prefix))
        assert ours[line].split() == re.sub(r"\*+", "*", expected).split()
    assert ours[3].split() == theirs[-1].split()
    for mark, word in (("I", "an"), ("S", "longest"), ("I", "here")):  # each mark stands under its word
        assert ours[3][ours[2].index(f" {word}") + 1] == mark


def test_wide_characters_keep_the_columns():
    block = render_alignments(score({"u": "你好 世界 now"}, {"u": "你好 be now"})).splitlines()
    assert block[1] == "REF: 你好 世界 now" and block[2] == "HYP: 你好 be   now"
    assert block[3].index("S") == len("HYP: ") + 5  # 你好 takes four columns and a space


def test_empty_transcripts_are_read_and_written(files):
    (files / "hyp").write_text("s1_a\ns1_b \ns1_c set green with z one again\n")
    assert run(files) == 0
    assert json.loads((files / "out/wer.json").read_text())["words"]["deletions"] == 12
    assert (files / "out/hyp.trn").read_text().startswith(" (s1_a)\n")


def test_missing_hypothesis_is_an_error_unless_counted(files, capsys):
    (files / "hyp").write_text("s1_a bin blue at f two now\n")
    assert run(files) == 1
    assert "2 (s1_b, s1_c)" in capsys.readouterr().err
    assert not (files / "out").exists()
    assert run(files, "--missing", "delete") == 0
    assert "2 without hypothesis counted as deleted" in capsys.readouterr().out
    assert json.loads((files / "out/wer.json").read_text())["missing_hypotheses"] == ["s1_b", "s1_c"]


def test_collapse_is_told(tmp_path, capsys):
    (tmp_path / "ref").write_text("".join(f"u{i} word{i} and\n" for i in range(5)))
    (tmp_path / "hyp").write_text("".join(f"u{i} the\n" for i in range(5)))
    assert run(tmp_path) == 0
    assert "5 of 5 utterances got the same hypothesis, 'the'" in capsys.readouterr().err


def test_comparison_with_another_hypothesis(files, capsys):
    (files / "other").write_text(REFERENCE)
    assert run(files, "--compare", str(files / "other")) == 0
    assert "WER 16.67 % vs 0.00 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a one\nb two\na three\n", ":3: utterance id 'a' occurs twice"), (b"\n\n", "empty"), (b"a \xff\n", "UTF-8")],
)
def test_bad_files_are_named(tmp_path, content, message):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){re.escape(str(tmp_path / 'text'))}.*{message}|{message}.*text"):
        read_transcripts(tmp_path / "text")


def test_absent_file_is_an_error(files, capsys):
    assert run(files, hyp="nowhere") == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["file/score", "full"])
def test_a_folder_that_cannot_be_written_is_one_sentence(files, where, capsys):
    (files / "file").touch()
    (files / "full/result.txt").mkdir(parents=True)
    assert run(files, "--out", str(files / where)) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: cannot ") and str(files / where) in printed and printed.count("\n") == 1
