"""The command of stage 5: what it prints and writes, and its exit codes."""

import pytest

from espnet_vivit.bin.avsr_tokens import main
from espnet_vivit.bin.command_parser import exit_status


def test_the_command_says_how_many_tokens_there_are_and_where(tmp_path, capsys):
    (tmp_path / "text").write_text("u1 bin blue\nu2 lay blue\n")
    assert exit_status(main, ["--text", str(tmp_path / "text"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"6 tokens of type word in {tmp_path}/out/tokens.txt\n"
    assert (tmp_path / "out/tokens.txt").read_text() == "<blank>\n<unk>\nblue\nbin\nlay\n<sos/eos>\n"


def test_a_misspelt_option_is_a_usage_error_with_a_suggestion(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--text", "text", "--out", "out", "--tokentype", "char"])
    assert stop.value.code == 2 and "did you mean --token_type?" in capsys.readouterr().err


def test_the_command_prints_the_error_without_a_traceback(tmp_path, capsys):
    status = exit_status(main, ["--text", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert status == 1
    assert capsys.readouterr().err.startswith("error: no transcript file")
