"""The command `espnet-vivit`: its exit codes, what it prints, and that asking for help costs nothing."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jiwer
import pytest

from espnet_vivit import __version__
from espnet_vivit.bin import cli
from espnet_vivit.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def test_help_shows_every_command_and_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in printed
        assert f"\n  espnet-vivit {name}" in printed, f"no example of {name}"


def test_help_lists_the_commands_in_the_order_of_the_work_and_nothing_twice(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in cli.COMMANDS]
    examples = [line.split()[1] for line in lines if line.startswith("  espnet-vivit ")]
    assert listed == examples == list(cli.COMMANDS)
    assert listed[:4] == ["doctor", "face-model", "prepare", "inspect"] and listed[-1] == "merge-adapters"
    assert "positional arguments:" not in lines and lines[0].startswith("usage: espnet-vivit [-h] [--version] COMMAND")


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"espnet-vivit {__version__}\n"


def test_no_command_is_a_usage_error_with_the_help(capsys):
    assert cli.main([]) == 2
    assert "examples:" in capsys.readouterr().err


def test_a_misspelt_command_is_corrected(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["scor"])
    assert stop.value.code == 2
    assert "Did you mean 'score'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_gets_its_own_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from espnet_vivit.bin import cli; cli.build_parser().format_help(); "
        "print(*[name for name in ('torch', 'transformers', 'espnet2', 'jiwer', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_score_prints_the_rate_that_jiwer_gives(tmp_path, capsys):
    reference, hypothesis = "bin blue at f two now", "bin blue at s two now"
    (tmp_path / "ref").write_text(f"clip-1 {reference}\n")
    (tmp_path / "hyp").write_text(f"clip-1 {hypothesis}\n")
    status = cli.main(
        ["score", "--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp"), "--out", str(tmp_path / "score")]
    )
    assert status == 0
    assert f"{100 * jiwer.wer(reference, hypothesis):.2f}" in capsys.readouterr().out


def test_an_error_of_ours_is_one_sentence_and_status_1(tmp_path, capsys):
    absent = tmp_path / "absent"
    assert cli.main(["score", "--ref", str(absent), "--hyp", str(absent), "--out", str(tmp_path / "score")]) == 1
    printed = capsys.readouterr().err
    assert str(absent) in printed and "Traceback" not in printed


def test_an_error_that_a_command_lets_through_is_caught_here(monkeypatch, capsys):
    def fails(argv):
        raise DataError("no clips", fix="Prepare some.")

    monkeypatch.setattr(import_module("espnet_vivit.bin.commands.doctor"), "main", fails)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: no clips. Prepare some.\n"


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    def stopped(argv):
        print("something")
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("espnet_vivit.bin.commands.doctor"), "main", stopped)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr() == ("something\n", "stopped\n")


TALKING = """
import sys, types
from espnet_vivit.bin import cli
sys.modules["espnet_vivit.bin.commands.talk"] = talking = types.ModuleType("talking")
talking.main = lambda argv: print("x" * int(argv[0])) or 0
cli.COMMANDS["talk"] = "talks"
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),  # argparse swallows the error of its own print where that is not buffered
    [(["--help"], ""), (["talk", "1"], ""), (["talk", "100000"], ""), (["talk", "1"], "1")],
)
def test_a_pipe_that_is_closed_ends_it_in_silence(arguments, unbuffered):
    command, environment = [sys.executable, "-c", TALKING, *arguments], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as running:
        running.stdout.close()  # long before it prints
        assert (running.stderr.read(), running.wait(timeout=60)) == ("", 141)


def test_a_broken_pipe_of_our_own_is_not_hidden(monkeypatch):
    def broken(argv):
        raise BrokenPipeError

    monkeypatch.setattr(import_module("espnet_vivit.bin.commands.doctor"), "main", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["doctor"])
