"""`espnet-vivit new-recipe`: what it writes runs by itself, with the recipe's own files, and overwrites nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_vivit.base import installation
from espnet_vivit.bin.cli import main
from espnet_vivit.bin.commands.new_recipe import new_recipe
from espnet_vivit.errors import ConfigError, MediaError

ROOT = Path(__file__).resolve().parents[3]
CORPORA = sorted(path.parents[1].name for path in ROOT.glob("egs/*/avsr1/run.sh"))
STUB = """#!/bin/sh
printf '%s\\0' "from $PWD: $*" >> "$RECORD"
case "$*" in *"--ask feature_rate"*) echo frame ;; esac
"""


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path):
    """`run(script, *options)`: (what was printed, what Python was started with), with a stub for Python."""
    stub, record = tmp_path / "python", tmp_path / "record"
    stub.write_text(STUB)
    stub.chmod(0o755)

    def start(script: Path, *options: str) -> tuple[str, list[str]]:
        environment = {**os.environ, "PYTHON": str(stub), "RECORD": str(record)}
        done = subprocess.run(
            [script, *options], cwd="/", env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, record.read_text().split("\0")[:-1] if record.exists() else []

    return start


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_stages_run_from_anywhere_in_the_new_folder_alone(corpus, tmp_path, run):
    videos = tmp_path / "videos"
    videos.mkdir()
    script = new_recipe(corpus, tmp_path / "a folder" / corpus)
    root = [] if corpus == "mini_av" else [f"--{corpus}_root", str(videos)]
    printed, calls = run(script, *root, "--stop_stage", "11")
    done = [int(number) for number in re.findall(r"^\[stage (\d+)\] done", printed, flags=re.M)]
    assert done == [1, 3, 4, 5, 10, 11]
    assert all(call.startswith(f"from {script.parent}: -m espnet_vivit.bin.") for call in calls)
    (trained,) = (call for call in calls if ".avsr_train " in call)
    assert (script.parent / re.search(r"--config (\S+)", trained).group(1)).is_file()


@pytest.mark.parametrize("corpus", CORPORA)
def test_no_script_and_no_configuration_looks_outside_the_new_folder(corpus, tmp_path):
    script = new_recipe(corpus, tmp_path / corpus)
    for name, text in contents(script.parent).items():
        outside = re.findall(r"(?<!\.\./)\.\./(?:\.\./|conf|TEMPLATE)\S*|\S*TEMPLATE\S*", text)
        assert outside == ([] if name != "template/path.sh" else ['../../.."']), name
    for path in script.parent.rglob("*.sh"):
        subprocess.run(["bash", "-n", path], check=True, timeout=60)


def test_the_recipes_own_files_come_before_the_presets(tmp_path):
    folder = new_recipe("mini_av", tmp_path / "x").parent
    for name in ("train_avsr_vivit.yaml", "decode_avsr.yaml", "card.yaml"):
        assert (folder / "conf" / name).read_text() == (ROOT / "egs/mini_av/avsr1/conf" / name).read_text()
    assert (folder / "conf/train_base_both.yaml").read_text() == (ROOT / "conf/train_base_both.yaml").read_text()


def test_without_python_in_the_environment_it_is_the_one_that_made_the_folder(tmp_path):
    folder = new_recipe("grid", tmp_path / "x").parent
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYTHONPATH")}
    for outer, python in (({}, sys.executable), ({"PYTHON": "/other/python"}, "/other/python")):
        done = subprocess.run(
            ["bash", "-euc", '. "$0"/path.sh; echo "$PYTHON ${PYTHONPATH-unset}"', folder],
            env={**environment, **outer}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout == f"{python} unset\n"


def test_a_folder_that_exists_is_refused_and_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/run.sh").write_text("my own\n")
    assert main(["new-recipe", "mini_av", str(tmp_path / "mine")]) == 1
    assert f"{tmp_path / 'mine'} exists" in capsys.readouterr().err
    assert contents(tmp_path / "mine") == {"run.sh": "my own\n"}
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists"):
        new_recipe("mini_av", tmp_path / "link")


def test_a_misspelt_corpus_is_corrected_and_one_without_a_recipe_of_espnet3_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown recipe: found 'mini-av'.*Did you mean 'mini_av'"):
        new_recipe("mini-av", tmp_path / "x")
    with pytest.raises(ConfigError, match=r"unknown recipe of ESPnet3: found 'lrs2'; expected one of grid, mini_av"):
        new_recipe("lrs2", tmp_path / "x", espnet3=True)
    with pytest.raises(ConfigError, match="unknown recipe: found 'TEMPLATE'"):
        new_recipe("TEMPLATE", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot make the folder"):
        new_recipe("mini_av", tmp_path / "file" / "x")


@pytest.mark.parametrize("corpus", ["mini_av", "grid"])
def test_a_recipe_of_espnet3_is_copied_as_it_is(corpus, tmp_path, capsys):
    assert main(["new-recipe", corpus, str(tmp_path / "x"), "--espnet3"]) == 0
    copied = contents(tmp_path / "x")
    assert copied == {name: (ROOT / f"egs3/{corpus}/avsr" / name).read_text() for name in copied}
    assert {"run.py", "README.md", "conf/training.yaml", "dataset/__init__.py"} <= set(copied)
    assert f"next: {sys.executable} {tmp_path / 'x' / 'run.py'} --help" in capsys.readouterr().out


def test_data_and_experiments_of_a_clone_are_not_copied(tmp_path, monkeypatch):
    root = tmp_path / "clone"
    for file in installation.shipped_files(ROOT):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text((ROOT / file).read_text())
    left = root / "egs/mini_av/avsr1/exp/avsr_x/config.yaml"
    left.parent.mkdir(parents=True)
    left.write_text("a: 1\n")
    (root / "espnet_vivit").mkdir()
    (root / "Makefile").write_text("")
    monkeypatch.setattr(installation, "PACKAGE", root / "espnet_vivit")
    folder = new_recipe("mini_av", tmp_path / "x").parent
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "run.sh",
        "path.sh",
        "cmd.sh",
        "conf",
        "local",
        "template",
    }
