"""The table of docs/towers.md is what benchmarks/towers.py counts."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def towers():
    spec = importlib.util.spec_from_file_location("towers_benchmark", ROOT / "benchmarks/towers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_a_row_of_each_tower(towers):
    page = (ROOT / "docs/towers.md").read_text(encoding="utf-8")
    assert [case.name for case in towers.CASES if f"| {case.name} |" not in page] == []


@pytest.mark.parametrize("name", ["facebook/dinov2-small", "openai/whisper-tiny.en"])
def test_the_numbers_of_the_page_are_counted(towers, name):
    (case,) = (case for case in towers.CASES if case.name == name)
    found, page = towers.row(case), (ROOT / "docs/towers.md").read_text(encoding="utf-8")
    (stated,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
    assert stated.split(" | ")[:6] == found.split(" | ")[:6]  # what is kept depends on torch's version
    assert [float(number.strip(" |")) for number in found.split(" | ")[6:]] == pytest.approx(
        [float(number.strip(" |")) for number in stated.split(" | ")[6:]], rel=0.2, abs=1
    )
