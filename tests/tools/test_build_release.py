"""`make release`: refuses what is not a tagged version; builds from the tag, and the wheel installs and runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_vivit.base.installation import shipped_files
from espnet_vivit.version import __version__
from tests.pages import ROOT

FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "CITATION.cff", "espnet_vivit/__init__.py")
FILES += ("espnet_vivit/version.py", "espnet_vivit/errors.py", "espnet_vivit/py.typed", "tools/build_release.sh")
FILES += ("espnet_vivit/base/__init__.py", "espnet_vivit/base/installation.py", *map(str, shipped_files(ROOT)))


@pytest.fixture
def repository(tmp_path) -> Path:
    """A small repository with the package's command line, its version in the changelog, and a first commit."""
    root = tmp_path / "repository"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "espnet_vivit" / "bin", root / "espnet_vivit" / "bin")
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{__version__}]\n\n- Everything.\n")
    git(root, "init", "--quiet")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")


def release(root: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["tools/build_release.sh"], cwd=root, capture_output=True, text=True, timeout=170,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(root)},
    )  # fmt: skip


def test_a_commit_without_a_tag_is_refused(repository):
    done = release(repository)
    assert done.returncode == 1 and f"git tag v{__version__}" in done.stderr


def test_a_tag_of_another_version_is_refused(repository):
    git(repository, "tag", "v99.0")
    done = release(repository)
    assert done.returncode == 1 and f"expected v{__version__}" in done.stderr


def test_a_version_without_changes_is_refused(repository):
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    commit(repository)
    git(repository, "tag", f"v{__version__}")
    done = release(repository)
    assert done.returncode == 1 and f"## [{__version__}]" in done.stderr


@pytest.mark.slow
def test_a_tagged_version_is_built_from_the_tag_and_runs(repository):
    git(repository, "tag", f"v{__version__}")
    (repository / "espnet_vivit" / "half_done.py").write_text("")  # in the working tree, not in the tag
    done = release(repository)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in (repository / "dist").iterdir()) == [".gz", ".whl"]
    wheel = next((repository / "dist").glob("*.whl"))
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True).stdout
    assert "espnet_vivit/py.typed" in listing and "half_done" not in listing
