"""Clone or installation, and which files of the recipes are shipped."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_vivit.base import installation
from espnet_vivit.base.installation import PACKAGE, clone, recipes_folder, shipped_files
from espnet_vivit.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """The package's folder, as if pip had put it into tmp_path."""
    package = tmp_path / "espnet_vivit"
    package.mkdir()
    monkeypatch.setattr(installation, "PACKAGE", package)
    return package


def test_this_is_a_clone_whose_recipes_are_at_its_top():
    assert clone() == recipes_folder() == ROOT


def test_an_installed_package_is_no_clone_and_has_its_recipes_inside(installed):
    (installed / "recipes").mkdir()
    assert clone() is None and recipes_folder() == installed / "recipes"


def test_a_folder_above_with_a_makefile_of_its_own_is_no_clone(installed):
    (installed.parent / "Makefile").write_text("all:\n")
    assert clone() is None


def test_lost_recipes_are_an_error_that_says_what_to_do(installed):
    with pytest.raises(DataError, match=r"recipes .*are not there\. Install the package from its wheel"):
        recipes_folder()


def test_what_git_has_of_the_recipes_is_shipped_and_nothing_else():
    listed = subprocess.run(
        ["git", "ls-files", "conf", "egs", "egs3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone with git: what belongs to the recipes is not known")
    results = {f"egs/{recipe}/RESULTS.md" for recipe in ("grid/avsr1", "grid/words1", "mini_av/avsr1")}  # measured here
    assert {str(file) for file in shipped_files(ROOT)} == set(listed.stdout.split()) - results


def test_a_folder_without_some_of_the_recipes_is_refused(tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    with pytest.raises(DataError, match=r"found no file egs/\*/avsr1/\*\.sh"):
        shipped_files(tmp_path)


def test_hints_name_make_only_where_it_is_known_whether_this_is_a_clone():
    target = re.compile(r"\bmake (install|demo|faces|test)\b")
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not target.search(source) or "recipes" in path.relative_to(PACKAGE).parts:
            continue
        tree = ast.parse(source)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        prose = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value not in prose]
        hints = [text for text in texts if isinstance(text, str) and target.search(text)]
        assert not hints or "installation import clone" in source, f"{path}: {hints}"
