"""A training by ESPnet3 leaves an experiment that is decoded, packed and gone on with like one by ESPnet2."""

import logging
from pathlib import Path

import pytest
import torch

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet_vivit.decode.model_files import open_model
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import WeightsError
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.arguments import training_arguments
from espnet_vivit.tasks.espnet3.module import log
from espnet_vivit.tasks.espnet3.training import average, build_trainer, train, write_averages
from tests.tasks.espnet3.training import corpus_with_shapes, sections, training_config


def trained(folder, corpus, *, epochs):
    """What `train` leaves in `folder`/exp, with the lines that a stage's log has."""
    trainer = {**sections(folder, corpus)["trainer"], "max_epochs": epochs}
    config = training_config(folder, corpus, trainer=trainer)
    (folder / "exp").mkdir(exist_ok=True)
    lines = logging.FileHandler(folder / "exp/train.log")
    log.addHandler(lines)
    level, _ = log.level, log.setLevel(logging.INFO)
    try:
        train(config)
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
        lines.close()
    return folder / "exp"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("espnet3")
    return folder, corpus_with_shapes(folder)


@pytest.fixture(scope="module")
def experiment(corpus):
    return trained(*corpus, epochs=3)


def kept(experiment):
    """The weights of the epochs that Lightning keeps, in their order: all three."""
    paths = sorted(experiment.glob("epoch*_valid.acc.ckpt"))
    return [torch.load(path, weights_only=True)["state_dict"] for path in paths]


def test_the_loss_falls_and_every_epoch_is_in_the_history(experiment):
    history = read_training_history(experiment)
    losses = history.curve("train", "loss")
    assert list(losses) == [1, 2, 3] == list(history.curve("valid", "acc"))
    assert losses[3] < losses[1]
    assert history.seconds > 0


def test_the_experiment_is_opened_by_its_folder_alone(experiment):
    files = open_model(experiment)
    assert files.weights.name == "valid.acc.ave.pth" and files.facts.mouth_size == 24
    model, args = AVSRTask.build_model_from_file(files.config, files.weights)
    assert model.modality == args.modality == "multimodal" and args.token_list[0] == "<blank>"
    assert isinstance(Speech2Text.from_pretrained(experiment, search="ctc_greedy"), Speech2Text)


def test_the_average_is_that_of_the_best_epochs_the_last_one_among_them(experiment):
    states = kept(experiment)
    found = torch.load(experiment / "valid.acc.ave.pth", weights_only=True)
    assert len(states) == 3 and set(found) == set(states[0])
    for name, value in found.items():
        total = states[0][name] + states[1][name] + states[2][name]
        torch.testing.assert_close(value, total / 3 if value.is_floating_point() else total)


def test_averaging_is_espnet2s(tmp_path, experiment):
    """Float weights are means, counters of batches sums."""
    from espnet2.main_funcs.average_nbest_models import average_nbest_models
    from espnet2.train.reporter import Reporter

    states, reporter = kept(experiment), Reporter()
    reporter.epoch = len(states)
    for number, state in enumerate(states, 1):
        reporter.stats[number] = {"valid": {"acc": number / 10}}
        torch.save(state, tmp_path / f"{number}epoch.pth")
    average_nbest_models(
        output_dir=tmp_path, reporter=reporter, best_model_criterion=[("valid", "acc", "max")], nbest=3
    )
    expected = torch.load(tmp_path / "valid.acc.ave_3best.pth", weights_only=True)
    torch.testing.assert_close(average(states), dict(expected))


def test_espnet3_still_averages_before_the_last_epoch_is_saved(experiment):
    """Why write_averages is needed: once ESPnet3's own average is that of the kept epochs, it can go."""
    own = max(experiment.glob("valid.acc.ave_*best.pth"), key=lambda path: path.stat().st_mtime_ns)
    assert own.name == "valid.acc.ave_2best.pth"
    torch.testing.assert_close(torch.load(own, weights_only=True), average(kept(experiment)[:2]))


def test_a_training_without_validation_says_so(corpus):
    config = training_config(*corpus)
    trainer = build_trainer(config, training_arguments(config))
    with pytest.raises(WeightsError, match=r"kept no epoch by valid/acc.*check_val_every_n_epoch"):
        write_averages(trainer.trainer, corpus[0])


class Planted:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_code_in_the_checkpoint_that_a_training_goes_on_from_is_not_run(corpus, experiment, tmp_path):
    states = torch.load(experiment / "last.ckpt", weights_only=False)
    torch.save(states | {"x": Planted(tmp_path / "mark")}, tmp_path / "last.ckpt")
    with pytest.raises(WeightsError, match=r"last\.ckpt .*holds code, which is never run"):
        train(training_config(*corpus, exp_dir=str(tmp_path)))
    assert not (tmp_path / "mark").exists()


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(corpus, experiment):
    """Runs last: it changes the experiment."""
    (experiment / "train.log").rename(experiment / "before.log")
    trained(*corpus, epochs=4)
    assert list(read_training_history(experiment).curve("train", "loss")) == [4]
    assert torch.load(experiment / "last.ckpt", weights_only=True)["epoch"] == 3  # Lightning counts from 0
