"""Mutants: which lines are changed and into what; a test that notices one, and one that does not."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from tests.pages import ROOT

SOURCE = '''"""A module: 1 < 2."""
def wait_s(given: int = 3) -> bool:
    if given < 4 and not given == 0:
        raise ValueError(f"{given + 1} is wrong")
    return given * 2.5, "1"
'''


@pytest.fixture(scope="module")
def mutate():
    spec = spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
    module = module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutate"]


def test_what_is_computed_is_changed_and_neither_words_nor_annotations(mutate, tmp_path):
    found = {(mutant.line, mutant.before, mutant.after) for mutant in mutate.mutants_of(tmp_path / "m.py", SOURCE)}
    assert found == {
        (2, "3", "(4)"),
        (3, "given < 4", "(given <= 4)"),
        (3, "4", "(5)"),
        (3, "given < 4 and not given == 0", "(given < 4 or not given == 0)"),
        (3, "not given == 0", "(given == 0)"),
        (3, "given == 0", "(given != 0)"),
        (3, "0", "(1)"),
        (5, "given * 2.5", "(given / 2.5)"),
        (5, "2.5", "(5.0)"),
    }
    for mutant in mutate.mutants_of(tmp_path / "m.py", SOURCE):
        compile(mutant.source, "m.py", "exec")
        changed = [
            pair for pair in zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True) if len(set(pair)) > 1
        ]
        assert len(changed) == 1


def test_letters_of_several_bytes_move_nothing(mutate, tmp_path):
    mutant, *_ = mutate.mutants_of(tmp_path / "m.py", 'x = "größer" if a < b else "é"\n')
    assert mutant.source == 'x = "größer" if (a <= b) else "é"\n'


def test_a_modules_tests_are_those_of_its_name_or_else_those_that_import_it(mutate):
    assert mutate.tests_of(ROOT / "espnet_vivit/data/noise.py") == ["tests/data/test_noise.py"]
    assert "tests/media/test_mouth_clip.py" in mutate.tests_of(ROOT / "espnet_vivit/media/faces/tracking.py")


@pytest.mark.slow  # four forked runs of pytest
def test_a_mutant_is_noticed_by_the_test_that_looks_and_survives_the_one_that_does_not(mutate, tmp_path, monkeypatch):
    module = tmp_path / "doubled.py"
    module.write_text("def double(x):\n    return x * 2\n")
    mutant = next(m for m in mutate.mutants_of(module, module.read_text()) if m.before == "2")
    load = "import importlib, sys\nmodule = importlib.import_module('doubled')\n"
    for name, check in (("looks", "module.double(3) == 6"), ("does_not", "module.double(0) == 0")):
        (tmp_path / f"test_{name}.py").write_text(f"{load}def test_it():\n    assert {check}\n")
    (tmp_path / "test_waits.py").write_text("def test_it():\n    import time; time.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)

    def run(name, mutant, timeout_s=60.0):
        return mutate.run_tests([str(tmp_path / f"test_{name}.py")], "doubled", mutant, timeout_s=timeout_s)

    assert [run("looks", None), run("looks", mutant), run("does_not", mutant)] == ["passed", "failed", "passed"]
    assert run("waits", None, timeout_s=1.0) == "timeout"
