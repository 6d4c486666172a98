"""What is recorded beside a result, with git and coreutils as the judges."""

import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_vivit.errors import DataError
from espnet_vivit.evaluation import provenance


def data_dir(path, **files: str):
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_data_hash_ignores_order_of_lines_and_media_paths_but_no_word(tmp_path):
    first = data_dir(tmp_path / "a/test", text="u1 one\nu2 two\n", utt2num_frames="u1 5\n", **{"wav.scp": "u1 /here"})
    same = data_dir(tmp_path / "b/test", text="u2 two\nu1 one\n", utt2num_frames="u1 5\n", **{"wav.scp": "u1 /there"})
    other = data_dir(tmp_path / "c/test", text="u1 one\nu2 too\n", utt2num_frames="u1 5\n")
    assert provenance.data_hash([first]) == provenance.data_hash([same])
    assert provenance.data_hash([first]) != provenance.data_hash([other])


def test_data_hash_can_be_recomputed_with_coreutils(tmp_path):
    data = data_dir(tmp_path / "test", text="u2 two\nu1 one\n")
    script = f"{{ echo 'test/text 2'; LC_ALL=C sort {data}/text; }} | sha256sum"
    expected = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()[0]
    assert provenance.data_hash([data]) == expected


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository that holds the package's module, with one commit."""
    root = tmp_path / "checkout"
    (root / "espnet_vivit").mkdir(parents=True)
    (root / "espnet_vivit/__init__.py").touch()
    (root / "RESULTS.md").write_text("old")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(root / "espnet_vivit/evaluation/provenance.py"))
    return root


def git(root, *arguments: str) -> str:
    return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_gits_and_dirty_only_if_code_changed(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert head.startswith(provenance.commit()) and len(provenance.commit()) == 12
    (checkout / "RESULTS.md").write_text("new")
    assert head.startswith(provenance.commit())
    (checkout / "espnet_vivit/__init__.py").write_text("changed = True\n")
    assert provenance.commit() == head[:12] + "-dirty"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_repository_around_an_installed_copy_is_not_taken_for_ours(checkout, tmp_path, monkeypatch):
    around = tmp_path / "users_project"
    (around / "site-packages/espnet_vivit").mkdir(parents=True)
    git(around, "init", "-q")
    monkeypatch.setattr(provenance, "__file__", str(around / "site-packages/espnet_vivit/evaluation/provenance.py"))
    monkeypatch.chdir(around)
    assert provenance.commit().startswith("not a git checkout; espnet_vivit ")


def test_paths_of_this_machine_are_shortened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shorten = provenance.without_machine_paths
    assert shorten(f"./run.sh --a {tmp_path}/dump/raw --b=/data/lrs3/video") == "./run.sh --a dump/raw --b=…/video"
    assert (
        shorten("--lr 1/2 exp/avsr_a/b 'https://example.org/a/b'") == "--lr 1/2 exp/avsr_a/b 'https://example.org/a/b'"
    )


def test_missing_configuration_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"config\.yaml"):
        provenance.training_config(Path(tmp_path))
