"""The recipes of real corpora up to the shapes of their utterances, on small trees of the same layout."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_vivit.corpora.grid_crops import COLUMNS, sentence_of_code
from espnet_vivit.data.data_dir import validate_data_dir
from espnet_vivit.data.mouth_view import read_mouth_view
from espnet_vivit.media.files.video_file import write_gray_video
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


CORPUS = "Anna's corpus"  # shells and xargs would take both apart


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


def test_a_handful_of_long_videos_trains_with_the_folders_own_preset(egs, tmp_path):
    """Six clips to train on: too few for seven voices, and each longer than the curriculum begins with."""
    for n in range(8):
        path = write_talking(tmp_path / "videos" / f"{n}.mkv", seed=n % 2, seconds=4.2)
        path.with_suffix(".txt").write_text(f"guten Morgen {'ab'[n % 2]}")
    options = ("--local_data_opts=--detector centre", "--asr_args", "--max_epoch 1", "--num_threads", "1")
    done = run(egs / "folder/avsr1", "--folder_root", str(tmp_path / "videos"), *options, "--stop_stage", "11")
    assert done.returncode == 0, done.stdout[-4000:]
    (exp,) = (egs / "folder/avsr1/exp").glob("avsr_train_tiny_both_char*")
    log = (exp / "train.log").read_text()
    assert "noise_talkers: 5 instead of 6 sounds at once, as there are 6 in " in log
    assert "warning: curriculum: 0 of 6 clips have at most 100 frames" in done.stdout  # the terminal says so, too
    assert "warning: schedule:" not in done.stdout
    steps = int(re.search(r"schedule: (\d+) optimizer steps \(max_epoch: 1, ", log).group(1))
    assert f"total_steps: {steps}\n" in (exp / "config.yaml").read_text() and 1 < steps < 7


def write_grid_crops(root: Path, *, train: int = 7, codes: Sequence[str] | None = None) -> None:
    """Crops of 96x96 with a manifest: one speaker's training sentences, and one clip of each other set, the last three.

    codes: the sentences, in place of `train` that differ in one word.
    """
    root.mkdir()
    rng, rows, times = np.random.default_rng(0), [], []
    codes = codes or [f"bbaf{digit}n" for digit in range(1, train + 1)] + ["lgiz9s", "prwazp", "swbv7a"]
    splits = ["train"] * (len(codes) - 3) + ["dev", "test_seen", "test_unseen"]
    for code, split in zip(codes, splits, strict=True):
        utt_id = f"{'s2' if split == 'test_unseen' else 's1'}_{code}"
        write_gray_video(root / f"{utt_id}.mkv", rng.integers(0, 256, (75, 96, 96), dtype=np.uint8))
        soundfile.write(root / f"{utt_id}.flac", 0.1 * rng.standard_normal(47648), 16000)
        text = sentence_of_code(code)
        rows.append([utt_id, utt_id[:2], split, 75, 47648, text, f"{utt_id}.mkv", f"{utt_id}.flac"])
        times += [[utt_id, 0.5 + 0.2 * n, 0.7 + 0.2 * n, word] for n, word in enumerate(text.split())]
    for name, table in (("manifest", [COLUMNS, *rows]), ("align", [("utt_id", "start_s", "end_s", "word"), *times])):
        with open(root / f"{name}.tsv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(table)


@pytest.mark.parametrize(
    ("corpus", "write", "options", "sizes"),
    [
        ("folder", write_folder, "--detector centre", (2, 1, 1)),
        ("lrs2", write_lrs2, "--detector centre --max_cut_s 3", (3, 1, 1)),
        ("lrs3", write_lrs3, "--detector centre --max_cut_s 3", (4, 2, 1)),
    ],
)
def test_a_recipe_prepares_checks_and_finds_its_tokens(egs, tmp_path, corpus, write, options, sizes):
    write(tmp_path / CORPUS)
    recipe = egs / corpus / "avsr1"
    tokens = [] if corpus == "folder" else ["--token_type", "char"]  # 5000 pieces need more than a few sentences
    done = run(recipe, f"--{corpus}_root", str(tmp_path / CORPUS), f"--local_data_opts={options}", *tokens)
    assert done.returncode == 0, done.stdout[-4000:]
    prepared = {name: validate_data_dir(recipe / "dump/raw" / name) for name in ("train", "dev", "test")}
    assert tuple(map(len, prepared.values())) == sizes
    assert read_mouth_view(recipe / "data") == 96
    assert (recipe / "data/report.tsv").is_file() and (recipe / "data/token_list/char/tokens.txt").is_file()


def test_grid_needs_nothing_but_its_folder(egs, tmp_path):
    write_grid_crops(tmp_path / CORPUS)
    recipe = egs / "grid/avsr1"
    done = run(recipe, "--grid_root", str(tmp_path / CORPUS))
    assert done.returncode == 0, done.stdout[-4000:]
    assert not list((recipe / "dump/raw").glob("*babble*")) and validate_data_dir(recipe / "dump/raw/test_seen")


def test_grid_has_its_test_set_again_under_babble(egs, tmp_path):
    write_grid_crops(tmp_path / CORPUS)
    recipe = egs / "grid/avsr1"
    done = run(recipe, "--grid_root", str(tmp_path / CORPUS), "--babble_snr_db", "0 -5")
    assert done.returncode == 0, done.stdout[-4000:]
    assert len(validate_data_dir(recipe / "dump/raw/train")) == 7
    assert read_mouth_view(recipe / "data") == 64
    (clean,) = validate_data_dir(recipe / "dump/raw/test_seen")
    sounds = {clean.wav}
    for name in ("test_seen_babble_0db", "test_seen_babble_-5db"):
        (noisy,) = validate_data_dir(recipe / "dump/raw" / name)
        assert (noisy.video, noisy.text) == (clean.video, clean.text)
        sounds.add(noisy.wav)
    assert len(sounds) == 3 and not (recipe / "dump/raw/test_unseen_babble_0db").exists()


def test_a_recipe_without_its_corpus_says_which_option_it_wants(egs, tmp_path):
    done = run(egs / "lrs3/avsr1")
    assert done.returncode == 1 and "error: where is the corpus? Give run.sh --lrs3_root DIR." in done.stdout
    done = run(egs / "lrs2/avsr1", "--lrs2_root", str(tmp_path / "none"))
    assert done.returncode == 1 and f"error: --lrs2_root: '{tmp_path}/none' is not a folder." in done.stdout
    done = run(egs / "folder/avsr1", "--folder_root")
    assert done.returncode == 1 and "option --folder_root needs a value" in done.stdout
