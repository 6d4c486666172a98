"""Epoch statistics as ESPnet's own Reporter keeps and prints them."""

import re

import pytest
import torch
from espnet2.train.reporter import Reporter

from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.training_log import read_training_history

LOSSES = {1: (50.25, 1234.5), 2: (20.125, 4e-5), 3: (10.0625, float("nan"))}  # epoch -> train, valid


def trained(epochs=LOSSES) -> tuple[Reporter, list[str]]:
    """ESPnet's reporter after these epochs, and the lines that the trainer would have logged."""
    reporter, log = Reporter(), []
    for epoch, losses in epochs.items():
        reporter.set_epoch(epoch)
        log.append(f"[host] 2026-01-01 00:00:00,000 (trainer:300) INFO: {epoch}/9epoch started")
        for phase, loss in zip(("train", "valid"), losses, strict=True):
            with reporter.observe(phase) as observed:
                observed.register({"loss": torch.tensor(loss), "acc": 0.5, "cer_ctc": None}, weight=torch.tensor(2.0))
                observed.next()
        log.append(f"[host] 2026-01-01 00:00:09,000 (trainer:394) INFO: {reporter.log_message()}")
    return reporter, log


def save(folder, reporter: Reporter) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    states = {"optimizers": [optimizer.state_dict()], "schedulers": [scheduler.state_dict()], "scaler": None}
    torch.save({"model": model.state_dict(), "reporter": reporter.state_dict(), **states}, folder / "checkpoint.pth")


@pytest.mark.filterwarnings("ignore:No valid stats found")
def test_checkpoint_gives_exactly_what_the_reporter_holds(tmp_path):
    reporter, _ = trained()
    save(tmp_path, reporter)
    history = read_training_history(tmp_path)
    assert history.epochs == 3 and history.source.name == "checkpoint.pth"
    assert history.curve("train", "loss") == {epoch: losses[0] for epoch, losses in LOSSES.items()}
    assert history.curve("valid", "loss")[2] == pytest.approx(4e-5)
    assert history.curve("valid", "never reported") == {}
    times = [phase["time"].total_seconds() for epoch in reporter.stats.values() for phase in epoch.values()]
    assert history.seconds == pytest.approx(sum(times))


@pytest.mark.filterwarnings("ignore:No valid stats found")
def test_log_gives_the_same_to_three_digits(tmp_path):
    reporter, log = trained()
    (tmp_path / "train.log").write_text("\n".join(log))
    from_log = read_training_history(tmp_path)
    save(tmp_path, reporter)
    from_checkpoint = read_training_history(tmp_path)
    assert from_log.source.name == "train.log"
    for phase, names in from_checkpoint.phases.items():
        for name, values in names.items():
            assert from_log.curve(phase, name) == pytest.approx(values, rel=1e-3, abs=5e-4, nan_ok=True), name


def test_durations_of_the_log_are_added_up(tmp_path):
    line = "1epoch results: [train] loss=2.5, time=1 hour, 2 minutes and 3.5 seconds, total_count=7, "
    (tmp_path / "train.log").write_text(line + "[valid] loss=1.500e+03, time=1 day, 1 hour and 1 minute, total_count=7")
    history = read_training_history(tmp_path)
    assert history.seconds == pytest.approx(3723.5 + 90_060)
    assert history.curve("valid", "loss") == {1: 1500.0}


@pytest.mark.filterwarnings("ignore:No valid stats found")
def test_second_start_in_the_same_log_replaces_the_first(tmp_path):
    _, first = trained()
    _, second = trained({1: (7.0, 8.0)})
    (tmp_path / "train.log").write_text("\n".join(first + second))
    assert read_training_history(tmp_path).curve("train", "loss") == {1: 7.0}


@pytest.mark.filterwarnings("ignore:No valid stats found")
def test_cut_off_checkpoint_falls_back_to_the_log(tmp_path):
    reporter, log = trained()
    save(tmp_path, reporter)
    whole = (tmp_path / "checkpoint.pth").read_bytes()
    (tmp_path / "checkpoint.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"checkpoint\.pth cannot be read .*no train\.log"):
        read_training_history(tmp_path)
    (tmp_path / "train.log").write_text("\n".join(log))
    assert read_training_history(tmp_path).source.name == "train.log"


class Malicious:
    def __reduce__(self):
        return (print, ("code from the checkpoint ran",))


def test_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"reporter": {"stats": Malicious()}}, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match="cannot be read"):
        read_training_history(tmp_path)
    assert capsys.readouterr().out == ""


def test_untrained_experiment_is_an_error(tmp_path):
    with pytest.raises(DataError, match=re.escape(str(tmp_path)) + ".*Train first"):
        read_training_history(tmp_path)
