"""A training by ESPnet3 leaves an experiment that is decoded, packed and gone on with like one by ESPnet2."""

import logging

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


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


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
    kept = sorted(experiment.glob("epoch*_valid.acc.ckpt"))
    assert len(kept) == 2
    found = torch.load(experiment / "valid.acc.ave.pth", weights_only=True)
    first, second = map(weights, kept)
    assert set(found) == set(first)
    for name, value in found.items():
        mean = (first[name] + second[name]) / 2 if value.is_floating_point() else first[name] + second[name]
        torch.testing.assert_close(value, mean)


def test_averaging_is_espnet2s(tmp_path, experiment):
    """Its reporter is asked for the two epochs; float weights are means, counters of batches sums."""
    from espnet2.main_funcs.average_nbest_models import average_nbest_models

    class Reporter:
        def has(self, phase, name):
            return True

        def sort_epochs_and_values(self, phase, name, mode):
            return [(1, 0.9), (2, 0.8)]

        def get_epoch(self):
            return 2

    states = [weights(path) for path in sorted(experiment.glob("epoch*_valid.acc.ckpt"))]
    for number, state in enumerate(states, 1):
        torch.save(state, tmp_path / f"{number}epoch.pth")
    criterion = [("valid", "acc", "max")]
    average_nbest_models(output_dir=tmp_path, reporter=Reporter(), best_model_criterion=criterion, nbest=2)
    expected = torch.load(tmp_path / "valid.acc.ave_2best.pth", weights_only=True)
    torch.testing.assert_close(average(states), dict(expected))


def test_espnet3_still_averages_before_the_last_epoch_is_saved(experiment):
    """Why write_averages is needed: once ESPnet3's own average is that of the kept epochs, it can go."""
    own = max(experiment.glob("valid.acc.ave_*best.pth"), key=lambda path: path.stat().st_mtime_ns)
    expected = average([weights(path) for path in sorted(experiment.glob("epoch*_valid.acc.ckpt"))])
    last = weights((experiment / "last.ckpt").resolve())
    assert any(
        torch.equal(last["ctc.ctc_lo.weight"], weights(path)["ctc.ctc_lo.weight"])
        for path in experiment.glob("epoch*.ckpt")
    )
    assert not torch.equal(torch.load(own, weights_only=True)["ctc.ctc_lo.weight"], expected["ctc.ctc_lo.weight"])


def test_a_training_without_validation_says_so(corpus):
    config = training_config(*corpus)
    trainer = build_trainer(config, training_arguments(config))
    with pytest.raises(WeightsError, match=r"kept no epoch by valid/acc.*check_val_every_n_epoch"):
        write_averages(trainer.trainer, corpus[0])


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(corpus, experiment):
    """Runs last: it changes the experiment."""
    (experiment / "train.log").rename(experiment / "before.log")
    trained(*corpus, epochs=4)
    assert list(read_training_history(experiment).curve("train", "loss")) == [4]
    assert torch.load(experiment / "last.ckpt", weights_only=True)["epoch"] == 3  # Lightning counts from 0
