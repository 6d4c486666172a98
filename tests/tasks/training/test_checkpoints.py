"""What a killed training, a full disk or a lost byte leave behind, and what is made of it."""

import os
import re

import pytest
import torch

from espnet_vivit.errors import DataError
from espnet_vivit.tasks.training.atomic_save import atomic_saves, previous_of
from espnet_vivit.tasks.training.checkpoints import best_epoch, damage_of, find_checkpoint, prepare_resume

CRITERIA = [("valid", "acc", "max"), ("valid", "loss", "min")]


def save_epoch(folder, epoch):
    """What ESPnet's trainer saves after an epoch; accuracy is best in epoch 1, the loss falls."""
    stats = {n: {"valid": {"acc": 1 / n, "loss": 1 / n}} for n in range(1, epoch + 1)}
    states = {"model": {"weight": torch.full((1000,), float(epoch))}, "reporter": {"epoch": epoch, "stats": stats}}
    with atomic_saves(keep_previous={"checkpoint.pth"}):
        torch.save(states, folder / "checkpoint.pth")
        torch.save(states["model"], folder / f"{epoch}epoch.pth")


@pytest.fixture
def experiment(tmp_path):
    for epoch in (1, 2, 3):
        save_epoch(tmp_path, epoch)
    return tmp_path


def epoch_in(path):
    return torch.load(path, weights_only=True)["reporter"]["epoch"]


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    position = data.index(torch.full((50,), 3.0).numpy().tobytes())
    data[position + 2] ^= 1
    path.write_bytes(bytes(data))


def test_the_checkpoint_before_the_last_one_is_kept(experiment):
    assert epoch_in(experiment / "checkpoint.pth") == 3 and epoch_in(previous_of(experiment / "checkpoint.pth")) == 2
    assert not list(experiment.glob(".*"))


def test_a_whole_checkpoint_is_found_as_it_is(experiment):
    assert find_checkpoint(experiment).path == experiment / "checkpoint.pth"
    assert prepare_resume(experiment, CRITERIA)["epoch"] == 3
    assert find_checkpoint(experiment / "none").path is None and prepare_resume(experiment / "none", CRITERIA) is None


def test_a_byte_that_has_changed_is_noticed_although_torch_loads_it(experiment):
    path = experiment / "checkpoint.pth"
    assert damage_of(path) is None
    flip_a_bit(path)
    weight = torch.load(path, weights_only=True)["model"]["weight"]  # why torch.load is no check
    assert not torch.equal(weight, torch.full((1000,), 3.0))
    assert "have changed" in damage_of(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(experiment, damage, caplog):
    path = experiment / "checkpoint.pth"
    if damage == "flip":
        flip_a_bit(path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -200])
    assert find_checkpoint(experiment).path == previous_of(path)
    assert prepare_resume(experiment, CRITERIA)["epoch"] == 2
    assert epoch_in(path) == 2
    assert f"{path} cannot be used" in caplog.text and (experiment / "checkpoint.pth.damaged").is_file()
    assert not previous_of(path).exists()


def test_with_each_checkpoint_damaged_there_is_one_sentence(experiment):
    for path in (experiment / "checkpoint.pth", previous_of(experiment / "checkpoint.pth")):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"checkpoint\.pth: .*checkpoint\.pth\.previous: .*Remove checkpoint\.pth and "):
        prepare_resume(experiment, CRITERIA)


def test_a_kill_between_two_renames_leaves_the_previous_one(experiment):
    (experiment / "checkpoint.pth").unlink()
    assert prepare_resume(experiment, CRITERIA)["epoch"] == 2


@pytest.mark.parametrize("state", ["missing", "cut"])
def test_an_epoch_whose_weights_are_only_in_the_checkpoint_is_written_again_with_its_links(experiment, state):
    weights = experiment / "3epoch.pth"
    whole = weights.read_bytes()
    weights.unlink()
    if state == "cut":
        weights.write_bytes(whole[:100])
    (experiment / ".3epoch.pth.partial").write_bytes(b"unfinished")
    (experiment / "latest.pth").symlink_to("2epoch.pth")
    prepare_resume(experiment, CRITERIA)
    assert torch.equal(torch.load(weights, weights_only=True)["weight"], torch.full((1000,), 3.0))
    links = {path.name: os.readlink(path) for path in experiment.iterdir() if path.is_symlink()}
    assert links == {
        "latest.pth": "3epoch.pth",
        "valid.acc.best.pth": "1epoch.pth",
        "valid.loss.best.pth": "3epoch.pth",
    }
    assert not list(experiment.glob(".*"))


def test_the_best_epoch_is_espnets():
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    for epoch, value in enumerate((0.5, 0.7, 0.7, 0.2), start=1):
        reporter.set_epoch(epoch)
        with reporter.observe("valid") as observed:
            observed.register({"acc": value})
            observed.next()
    for mode in ("min", "max"):
        assert best_epoch(reporter.stats, "valid", "acc", mode) == reporter.get_best_epoch("valid", "acc", mode)
    assert best_epoch(reporter.stats, "valid", "wer", "min") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states: [1, 2], "it is no checkpoint of a training: a list"),
        (lambda states: {"model": states["model"]}, "it lacks reporter"),
        (lambda states: states | {"reporter": {"epoch": -1, "stats": {}}}, r"no finished epoch \(epoch: -1\)"),
        (lambda states: states | {"reporter": {"epoch": 0, "stats": {}}}, "no finished epoch"),
        (lambda states: states | {"reporter": {"epoch": "3", "stats": {}}}, "no finished epoch"),
        (lambda states: states | {"reporter": {"epoch": 3, "stats": {}}}, "lacks the results of its 3 epochs"),
        (lambda states: states | {"reporter": None}, "no finished epoch"),
        (lambda states: states | {"model": {"weight": torch.tensor([float("nan")])}}, "NaN or infinite"),
        (lambda states: states | {"model": {}}, "no state dict"),
    ],
)
def test_a_whole_file_that_is_no_checkpoint_gives_way_to_the_one_before(experiment, change, message, caplog):
    path = experiment / "checkpoint.pth"
    torch.save(change(torch.load(path, weights_only=True)), path)
    assert prepare_resume(experiment, CRITERIA)["epoch"] == 2
    assert re.search(message, caplog.text) and (experiment / "checkpoint.pth.damaged").is_file()


def test_a_checkpoint_of_another_model_gives_way_and_two_of_them_are_an_error(experiment, caplog):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1000))

    for path in (experiment / "checkpoint.pth", previous_of(experiment / "checkpoint.pth")):
        states = torch.load(path, weights_only=True)
        torch.save(states | {"optimizers": [], "schedulers": []}, path)
    model = Model()
    assert prepare_resume(experiment, CRITERIA, model)["epoch"] == 3
    states = torch.load(experiment / "checkpoint.pth", weights_only=True)
    torch.save(states | {"model": {"weight": torch.zeros(7)}}, experiment / "checkpoint.pth")
    assert prepare_resume(experiment, CRITERIA, model)["epoch"] == 2
    assert "it is of another model" in caplog.text and torch.equal(model.weight, torch.full((1000,), 2.0))
    torch.save(states | {"model": {"other": torch.zeros(7)}}, experiment / "checkpoint.pth")
    with pytest.raises(DataError, match=r"no checkpoint to continue from.*of another model"):
        prepare_resume(experiment, CRITERIA, model)
