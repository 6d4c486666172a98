"""Every fault ends right, counted, or in an error of ours that names it; and the harness itself can tell the others."""

import importlib.util
from pathlib import Path

import pytest

from espnet_vivit.errors import DataError
from tests.faults import campaign
from tests.faults.campaign import COUNTED, NAMED, RIGHT, Fault, run_all
from tests.faults.damage import DAMAGES, damaged
from tests.faults.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of libraries about the odd values that are asked of them
@pytest.mark.parametrize("kind", KINDS)
def test_faults_end_right_named_or_counted(kind, tmp_path, record_property):
    outcomes = run_all(KINDS[kind], tmp_path)
    record_property("outcomes", dict(outcomes.counts))
    assert not outcomes.failures, f"{len(outcomes.failures)} faults:\n" + "\n".join(outcomes.failures[:40])
    assert outcomes.counts[RIGHT] > 0


def test_the_page_names_every_kind():
    page = (ROOT / "docs/faults.md").read_text()
    assert [kind for kind in KINDS if f"| {kind} |" not in page] == []


def named():
    raise DataError("a list is missing")


def traceback():
    raise KeyError("a")


def endless():
    while True:
        pass


def ends():
    raise SystemExit(3)


def test_a_traceback_a_hang_an_exit_and_a_silent_loss_are_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "LIMIT_S", 0.2)
    runs = {"right": lambda: RIGHT, "counted": lambda: COUNTED, "named": named, "traceback": traceback}
    runs |= {"as it is": named, "hang": endless, "exit": ends, "loss": lambda: "2 pictures are gone"}
    outcomes = run_all(lambda folder: iter([Fault(name, run) for name, run in runs.items()]), tmp_path)
    assert dict(outcomes.counts) == {RIGHT: 1, COUNTED: 1, NAMED: 1}
    assert [line.split(":")[0] for line in outcomes.failures] == ["traceback", "as it is", "hang", "exit", "loss"]


def test_damage_depends_on_the_seed_alone_and_always_damages():
    content = bytes(range(256)) * 4
    first = list(damaged(content, each=3, seed=1))
    assert first == list(damaged(content, each=3, seed=1)) != list(damaged(content, each=3, seed=2))
    assert len(first) == 3 * len(DAMAGES) and all(changed != content for _, changed in first)


@pytest.mark.parametrize("name", ["write_faults_page"])
def test_the_table_counts_each_kind_and_their_sum(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    one = campaign.Outcomes(seconds=1.0)
    one.counts.update({RIGHT: 2, NAMED: 3})
    page = writer.page({"lists": one, "disks": one})
    assert "| lists | 5 | 2 | 3 | 0 | 0 | 0 |" in page and "| all | 10 | 4 | 6 | 0 | 0 | 0 |" in page
