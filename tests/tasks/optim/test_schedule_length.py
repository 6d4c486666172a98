"""A schedule without total_steps is as long as the training; one of another length is warned of."""

import argparse
import json
import logging

import pytest
import torch
import yaml
from torch.utils.data import DataLoader, IterableDataset

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup
from espnet_vivit.tasks.optim.schedule_length import plan_schedule, training_steps, warn_of_length
from tests.tasks.runs import command, write_corpus
from tests.tiny_corpus import write_config


class Batches:
    """A factory of as many batches in each epoch as the list says; the last count holds for all later ones."""

    def __init__(self, *counts):
        self.counts = counts

    def build_iter(self, epoch, shuffle=None):
        return range(self.counts[min(epoch, len(self.counts)) - 1])


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))


def arguments(conf, **changes):
    plain = {"scheduler": "cosine_with_warmup", "scheduler_conf": conf, "max_epoch": 4, "accum_grad": 1}
    return argparse.Namespace(**plain | changes)


def schedule(**conf):
    return CosineWithWarmup(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2), **conf)


@pytest.mark.parametrize(
    ("counts", "accum_grad", "steps"),
    [((17,), 1, 68), ((3, 3, 17), 1, 40), ((5, 7), 2, 2 + 3 * 3), ((1, 2), 2, 3)],  # what is left over is dropped
)
def test_the_steps_of_a_training_are_summed_over_its_epochs(counts, accum_grad, steps):
    assert training_steps(Batches(*counts), max_epoch=4, accum_grad=accum_grad) == steps


@pytest.mark.parametrize(
    ("conf", "planned"),
    [
        ({}, {"total_steps": 680, "warmup_steps": 68}),
        ({"warmup_share": 0.05, "final_ratio": 0.1}, {"total_steps": 680, "warmup_steps": 34, "final_ratio": 0.1}),
        ({"warmup_steps": 7, "total_steps": None}, {"total_steps": 680, "warmup_steps": 7}),
        ({"warmup_share": 0}, {"total_steps": 680, "warmup_steps": 0}),
    ],
)
def test_a_schedule_without_a_length_takes_the_trainings(conf, planned, caplog):
    args = arguments(conf, max_epoch=40)
    with caplog.at_level(logging.INFO):
        plan_schedule(args, Batches(17))
    assert args.scheduler_conf == planned
    assert "schedule: 680 optimizer steps (max_epoch: 40, 17 batches in the last epoch" in caplog.text
    schedule(**args.scheduler_conf)  # and is what the schedule takes


@pytest.mark.parametrize(
    ("factory", "changes", "message"),
    [
        (Batches(2), {"accum_grad": 3}, "no batches for one optimizer step: found .*accum_grad: 3"),
        (Batches(100), {"scheduler_conf": {"warmup_steps": 500}}, "warmup_steps=500, total_steps=400.* warmup_share"),
        (argparse.Namespace(build_iter=lambda epoch: DataLoader(Endless())), {}, r"Say scheduler_conf: {total_steps"),
    ],
)
def test_a_length_that_cannot_be_planned_is_an_error(factory, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan_schedule(arguments({}, **{"scheduler_conf": {}, **changes}), factory)


def test_an_experiment_without_training_has_a_schedule_all_the_same():
    for conf in ({}, {"warmup_steps": 500}):
        args = arguments(conf, max_epoch=0)
        plan_schedule(args, Batches(3))
        schedule(**args.scheduler_conf)


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (20000, "total_steps is 20000, and this training of 680 optimizer steps ends long before"),
        (100, "total_steps is 100, and this training of 680 optimizer steps goes on long after its end; leave"),
        (1361, "ends long before"),
        (1360, ""),
        (680, ""),
        (454, ""),
        (453, "goes on long after"),
    ],
)
def test_a_schedule_for_another_training_is_warned_of(caplog, total, said):
    warn_of_length([schedule(total_steps=total), None], Batches(17), max_epoch=40, accum_grad=1)
    assert (said in caplog.text) if said else not caplog.records


def test_what_cannot_be_compared_is_not_warned_of(caplog):
    endless = argparse.Namespace(build_iter=lambda epoch: DataLoader(Endless()))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    warn_of_length([schedule(total_steps=9)], endless, max_epoch=40, accum_grad=1)
    warn_of_length([torch.optim.lr_scheduler.StepLR(optimizer, 3)], Batches(17), max_epoch=40, accum_grad=1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def rates(exp):
    return [json.loads(line)["train"]["optim0_lr0"] for line in (exp / "log.jsonl").read_text().splitlines()]


def test_a_training_with_a_curriculum_plans_what_it_then_does(corpus, tmp_path, caplog, monkeypatch):
    """Short clips alone in epoch 1, so fewer batches; the last step of all has the schedule's last rate."""
    lines = (corpus / "train/utt2num_frames").read_text().split()
    limit = sorted(map(int, lines[1::2]))[2]
    options = {"batch_size": 2, "max_epoch": 3, "optim": "sgd", "optim_conf": {"lr": 0.05}, "batch_type": "unsorted"}
    options |= {"curriculum": {"max_frames": limit, "epochs": 1}, "scheduler_conf": {"warmup_share": 0.25}}
    config = write_config(tmp_path / "train.yaml", **options)
    steps, step = [], CosineWithWarmup.step

    def counted(schedule, *args):
        steps.append(schedule)
        step(schedule, *args)

    monkeypatch.setattr(CosineWithWarmup, "step", counted)
    with caplog.at_level(logging.INFO):
        avsr_train.main(command(corpus, tmp_path / "exp", config))
    made = [one for one in steps if one is steps[-1]][1:]  # torch takes the first itself
    written = yaml.safe_load((tmp_path / "exp/config.yaml").read_text())["scheduler_conf"]
    assert len(made) == written["total_steps"] < 3 * 4 and "warmup_share" not in written
    assert written["warmup_steps"] == int(len(made) * 0.25)
    assert not [record for record in caplog.records if record.getMessage().startswith("schedule: total_steps")]
    assert rates(tmp_path / "exp")[-1] < 0.01
    assert sum("mini-batch sizes summary" in record.getMessage() for record in caplog.records) == 2, "built once each"


def test_a_training_tells_of_a_schedule_that_is_not_its_own(corpus, tmp_path, caplog):
    config = write_config(
        tmp_path / "train.yaml", max_epoch=1, scheduler_conf={"warmup_steps": 500, "total_steps": 20000}
    )
    avsr_train.main(command(corpus, tmp_path / "exp", config))
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING and "total_steps" in r.getMessage()]
    assert "total_steps is 20000, and this training of 2 optimizer steps ends long" in warning.getMessage()


def test_collecting_shapes_with_the_model_needs_no_length(corpus, tmp_path):
    config = write_config(tmp_path / "train.yaml", scheduler_conf={})
    options = [word for word in command(corpus, tmp_path / "stats", config) if "shape_file" not in word]
    options += ["--collect_stats", "true", "--model_conf", "extract_feats_in_collect_stats=true"]
    avsr_train.main(options)
    assert (tmp_path / "stats/train/text_shape").is_file()


def test_a_dry_run_plans_with_data_and_builds_without(corpus, tmp_path):
    config = write_config(tmp_path / "train.yaml", scheduler_conf={})
    for name, words in (("with", None), ("without", 8)):  # the first eight name no data
        avsr_train.main([*command(corpus, tmp_path / name, config)[:words], "--dry_run", "true"])
        written = yaml.safe_load((tmp_path / name / "config.yaml").read_text())["scheduler_conf"]
        assert written == ({"total_steps": 4, "warmup_steps": 0} if name == "with" else {})
