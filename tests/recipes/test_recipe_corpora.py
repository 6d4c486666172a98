"""The recipes of real corpora up to the shapes of their utterances, on small trees of the same layout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_vivit.corpora.data_dir import validate_data_dir
from tests.talking_files import write_talking

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def egs(tmp_path) -> Path:
    """A private copy of the recipes, in a folder with a space."""
    folder = tmp_path / "a folder"
    shutil.copytree(ROOT / "egs", folder / "egs", ignore=shutil.ignore_patterns("data", "dump", "exp"))
    for name in ("espnet_vivit", "conf"):
        (folder / name).symlink_to(ROOT / name)
    return folder / "egs"


def run(recipe: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = [str(recipe / "run.sh"), "--nj", "2", "--stop_stage", "5", *options]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd="/", env=environment, text=True, timeout=500, check=False, **pipes)


def write_clip(stem: Path, words: list[str], *, seconds: float = 2.0, seed: int = 0) -> None:
    """A talking mouth as STEM.mp4, and STEM.txt with its words and their times, as LRS has them."""
    write_talking(stem.with_suffix(".mp4"), seconds=seconds, seed=seed)
    step = seconds / (len(words) + 1)
    lines = [f"Text:  {' '.join(words)}", "Conf:  4", "", "WORD START END ASDSCORE"]
    lines += [f"{word} {step * (n + 0.5):.2f} {step * (n + 1.2):.2f} 3.0" for n, word in enumerate(words)]
    stem.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def write_lrs3(root: Path) -> None:
    for talk in range(2):
        for n in range(2):
            write_clip(root / f"trainval/talk{talk}/{n:05d}", ["GOOD", "MORNING"], seed=n)
        write_clip(root / f"pretrain/talk{talk}/00000", [f"WORD{n}" for n in range(8)], seconds=4.0)
    write_clip(root / "test/other/00000", ["GOOD", "NIGHT"])


def write_lrs2(root: Path) -> None:
    for n, split in enumerate(("train", "val", "test")):
        write_clip(root / f"mvlrs_v1/main/{n}/00001", ["GOOD", "MORNING"], seed=n)
        (root / f"{split}.txt").write_text(f"{n}/00001\n")
    write_clip(root / "mvlrs_v1/pretrain/0/00000", [f"WORD{n}" for n in range(8)], seconds=4.0)


def write_folder(root: Path) -> None:
    for n in range(4):
        path = write_talking(root / "anna" / f"{n}.mkv", seed=n, seconds=2.0)
        path.with_suffix(".txt").write_text("guten Morgen")


@pytest.mark.parametrize(
    ("corpus", "write", "options", "sizes"),
    [
        ("folder", write_folder, "--detector centre", (2, 1, 1)),
        ("lrs2", write_lrs2, "--detector centre --max_cut_s 3", (3, 1, 1)),
        ("lrs3", write_lrs3, "--detector centre --max_cut_s 3", (4, 2, 1)),
    ],
)
def test_a_recipe_prepares_checks_and_finds_its_tokens(egs, tmp_path, corpus, write, options, sizes):
    write(tmp_path / "the corpus")
    recipe = egs / corpus / "avsr1"
    tokens = [] if corpus == "folder" else ["--token_type", "char"]  # 5000 pieces need more than a few sentences
    done = run(recipe, f"--{corpus}_root", str(tmp_path / "the corpus"), f"--local_data_opts={options}", *tokens)
    assert done.returncode == 0, done.stdout[-4000:]
    prepared = {name: validate_data_dir(recipe / "dump/raw" / name) for name in ("train", "dev", "test")}
    assert tuple(map(len, prepared.values())) == sizes
    assert (recipe / "data/report.tsv").is_file() and (recipe / "data/token_list/char/tokens.txt").is_file()


def test_a_recipe_without_its_corpus_says_which_option_it_wants(egs, tmp_path):
    done = run(egs / "lrs3/avsr1")
    assert done.returncode == 1 and "error: where is the corpus? Give run.sh --lrs3_root DIR." in done.stdout
    done = run(egs / "lrs2/avsr1", "--lrs2_root", str(tmp_path / "none"))
    assert done.returncode == 1 and f"error: --lrs2_root: '{tmp_path}/none' is not a folder." in done.stdout
    done = run(egs / "folder/avsr1", "--folder_root")
    assert done.returncode == 1 and "option --folder_root needs a value" in done.stdout
