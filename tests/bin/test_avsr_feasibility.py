"""The command of stages 4 and 5: its files and its exit codes."""

import pytest

from espnet_vivit.bin.avsr_feasibility import main
from espnet_vivit.bin.command_parser import exit_status

TOKENS = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "text").write_text("u1 ab ba\nu2 bb\nu3 xy a\n")
    (tmp_path / "utt2num_frames").write_text("u1 5\nu2 2\nu3 4\n")
    (tmp_path / "word_times").write_text("u1 0.000:0.080:ab 0.080:0.200:ba\n")
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    return tmp_path


def run(data, *more: str) -> int:
    files = ["--text", data / "text", "--num_frames", data / "utt2num_frames", "--token_list", data / "tokens.txt"]
    given = [*map(str, files), "--token_type", "char", "--out", str(data / "keep"), *more]
    return exit_status(main, given)


def test_kept_ids_are_written_and_the_rest_is_printed(data, capsys):
    assert run(data, "--max_excluded", "0.7", "--word_times", str(data / "word_times")) == 0
    assert (data / "keep").read_text() == "u1\n"
    printed = capsys.readouterr().out
    assert "1 of 3 utterances fit" in printed
    # u3's "xy" is <unk> <unk>: equal neighbours, though the letters differ
    assert "excluded, more labels than steps: 2 (u2, u3)" in printed
    assert "within the spoken span: 1 of 1 fit; labels per step: median 1.00" in printed


def test_refused_above_the_share_and_nothing_written(data, capsys):
    assert run(data) == 1
    assert "66.7 %" in capsys.readouterr().err
    assert not (data / "keep").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utt2num_frames", "u1 5\nu2 two\nu3 5\n", "number of frames of u2"),
        ("utt2num_frames", "u1 5\nu2 5\n", "no number of frames: 1 (u3)"),
        ("text", "", "empty transcript file"),
    ],
)
def test_bad_files_are_named(data, capsys, name, content, message):
    (data / name).write_text(content)
    assert run(data) == 1
    assert message in capsys.readouterr().err


def test_absent_token_list_is_an_error(data, capsys):
    (data / "tokens.txt").unlink()
    assert run(data) == 1
    assert "no token list" in capsys.readouterr().err
