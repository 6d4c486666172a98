"""Killed at any moment and started again by the same command, a training ends with the weights it would have had."""

import json
import random
import signal

import pytest
import torch

from tests.tasks.runs import command, perform, write_corpus
from tests.tiny_corpus import write_config

EPOCHS = 3
BATCHES = 3  # an epoch; accum_grad: 2 leaves one over
KILLS = (
    "batch 1",  # before anything was learnt
    "write checkpoint.pth 1",
    "rename 1epoch.pth 1",  # the checkpoint is there, the epoch's weights are not
    "batch 2",  # in the second epoch
    "rename checkpoint.pth 1",  # the one before it has its second name already
    "rename log.jsonl 1",  # while the folder is made ready again
    "write 2epoch.pth 1",
    "batch 3",  # in the third epoch
    "rename valid.acc.ave_2best.pth 1",  # all epochs are over
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("killed") / "corpus")


def settings(path, **changes):
    """Everything that draws random numbers is on: dropout, modality dropout, augmentation; and what changes on the way:
    clips and dropout by epoch, a part that is frozen for two steps, groups of two optimizers under a schedule."""
    options = {"max_epoch": EPOCHS, "accum_grad": 2, "batch_frames": 90, "max_padding": 0.9}
    options |= {"modality_dropout": {"video": 0.3, "audio": {1: 0.0, 3: 0.5}}, "amp_dtype": "bfloat16"}
    options |= {"curriculum": {"max_frames": 26, "epochs": 1}, "freeze_until": {"encoder": 2}}
    options |= {"optim": "muon", "optim_conf": {"lr": 0.001, "momentum": 0.9}, "lr_scale": {"decoder": 0.5}}
    return write_config(path, **{**options, **changes})


def weights(exp):
    names = ["checkpoint.pth", "latest.pth", f"{EPOCHS}epoch.pth", "valid.acc.best.pth", "valid.acc.ave.pth"]
    return {name: torch.load(exp / name, weights_only=False) for name in names}


def history(exp):
    """log.jsonl without what depends on the clock."""
    entries = [json.loads(line) for line in (exp / "log.jsonl").read_text().splitlines()]
    clocks = ("ended", "seconds", "frames_per_s", "peak_memory_bytes")
    for entry in entries:
        for name in clocks:
            del entry[name]
        for phase in ("train", "valid"):
            entry[phase] = {name: value for name, value in entry[phase].items() if not name.endswith("_time")}
    return entries


def comparable(value):
    """With the names of groups as numbers, which PyTorch compares."""
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    return list(value.encode()) if isinstance(value, str) else value


def assert_same(killed, straight):
    found, expected = weights(killed), weights(straight)
    for name, states in expected.items():
        reported = [states.pop("reporter", None), found[name].pop("reporter", None)]  # has times in it
        pair = comparable(found[name]), comparable(states)
        torch.testing.assert_close(*pair, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")
        assert (reported[0] is None) == (reported[1] is None)
    assert history(killed) == history(straight)
    assert [entry["epoch"] for entry in history(killed)] == list(range(1, EPOCHS + 1))
    for exp in (killed, straight):
        assert not [path.name for path in exp.iterdir() if ".partial" in path.name]
    assert {path.name for path in killed.glob("*.pth*")} == {path.name for path in straight.glob("*.pth*")}


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """The folder of three experiments: straight, killed (as in KILLS) and damaged (its last checkpoint cut off)."""
    root = tmp_path_factory.mktemp("trained")
    config = settings(root / "train.yaml")
    straight, killed, damaged = ([command(corpus, root / name, config)] for name in ("straight", "killed", "damaged"))
    plan = [{"args": straight}, *({"args": killed, "kill": kill} for kill in KILLS), {"args": killed}]
    plan += [{"args": damaged, "kill": "batch 8"}, {"args": damaged, "cut": str(root / "damaged/checkpoint.pth")}]
    codes = perform([{**run, "log": str(root / f"{number}.log")} for number, run in enumerate(plan)], root)
    assert codes == [[0], *([-signal.SIGKILL] for _ in KILLS), [0], [-signal.SIGKILL], [0]]
    return root


def test_killed_at_the_worst_moments_a_training_ends_as_if_it_had_not_been(trained):
    assert_same(trained / "killed", trained / "straight")
    said = (trained / "0.log").read_text()
    for line in (
        "curriculum: 7 of 8 clips in epochs 1 to 1",
        "muon learns",
        "encoder learns from here on, after 2 steps",
    ):
        assert line in said
    assert "1epoch.pth: it is missing; writing it again from checkpoint.pth" in (trained / "4.log").read_text()


def test_a_damaged_checkpoint_costs_one_epoch_and_changes_nothing(trained):
    assert "checkpoint.pth cannot be used: it was cut off" in (trained / f"{len(KILLS) + 3}.log").read_text()
    (trained / "damaged/checkpoint.pth.damaged").rename(trained / "set_aside")
    assert_same(trained / "damaged", trained / "straight")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments(corpus, tmp_path):
    """Wherever it is: while it is built, loads data in a process of its own, trains, validates, averages or saves."""
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    config = settings(tmp_path / "train.yaml", num_workers=1, tower_adapters={"decoder": {"type": "lora", "r": 2}})
    straight, killed = ([command(corpus, tmp_path / name, config)] for name in ("straight", "killed"))
    draw = random.Random(11)
    kills = [{"args": killed, "kill_at": draw.uniform(0.1, 0.9)} for _ in range(6)]
    codes = perform([{"args": straight}, *kills, {"args": killed}], tmp_path, timeout_s=800)
    assert codes[0] == codes[-1] == [0] and codes[1:-1].count([-signal.SIGKILL]) >= 2
    assert_same(tmp_path / "killed", tmp_path / "straight")
