"""What chooses the best epochs must be a number that the model's validation gives."""

from argparse import Namespace

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.training.criteria import check_criteria, measured
from tests.tiny_corpus import write_config

OTHERS = {  # ESPnet's defaults
    "early_stopping_criterion": ("valid", "loss", "min"),
    "val_scheduler_criterion": ("valid", "loss"),
    "patience": None,
    "scheduler": None,
}


def check(*criteria, **model_conf) -> None:
    check_criteria(Namespace(best_model_criterion=list(criteria), model_conf=model_conf, **OTHERS))


def check_others(model_conf=None, **changes) -> None:
    best = [("valid", "loss", "min")]
    check_criteria(Namespace(best_model_criterion=best, model_conf=model_conf or {}, **{**OTHERS, **changes}))


def test_numbers_that_are_measured_pass():
    check(("valid", "acc", "max"))
    check(("valid", "wer_ctc", "min"), ctc_weight=1.0)
    check(("valid", "acc_frame", "max"), frame_loss_weight=1.0)
    check(("train", "loss", "min"), ("valid", "acc", "max"), ctc_weight=1.0)  # one is enough: ESPnet's default has both


def test_intermediate_ctc_is_measured_where_there_is_ctc():
    assert "loss_interctc" in measured({"ctc_weight": 0.3, "interctc_weight": 0.3})
    assert "loss_interctc" not in measured({"ctc_weight": 0.0, "interctc_weight": 0.3})
    assert "loss_interctc" not in measured({"ctc_weight": 0.3})


def test_a_misspelt_number_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"number in best_model_criterion: found 'accc'.*Did you mean 'acc'"):
        check(("valid", "loss", "min"), ("valid", "accc", "max"))


def test_criteria_that_this_model_never_measures_are_refused():
    with pytest.raises(ConfigError, match="would choose no model: found acc; expected one of loss, loss_ctc"):
        check(("valid", "acc", "max"), ctc_weight=1.0)
    with pytest.raises(ConfigError, match="would choose no model: found cer"):
        check(("valid", "cer", "min"), report_cer=False)
    check(("valid", "cer_ctc", "min"), report_cer=False)
    with pytest.raises(ConfigError, match="would choose no model: found cer_ctc"):  # ESPnet then counts no errors
        check(("valid", "cer_ctc", "min"), report_cer=False, report_wer=False)


@pytest.mark.parametrize(
    "criteria",
    [["valid", "acc", "max"], [], [["valid", "acc"]], "valid", [("valid", "acc", "max"), "valid,acc,max"], None],
)
def test_best_model_criterion_is_a_list_of_lists(criteria):
    args = Namespace(best_model_criterion=criteria, model_conf={}, **OTHERS)
    with pytest.raises(ConfigError, match=r"best_model_criterion: found .*; expected a list of lists.*\[\[valid"):
        check_criteria(args)


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (("vald", "acc", "max"), "phase in best_model_criterion: found 'vald'; expected one of train, valid"),
        (("valid", "acc", "maximum"), "mode in best_model_criterion: found 'maximum'; expected one of max, min"),
    ],
)
def test_phase_and_mode_are_names_as_well(criterion, message):
    with pytest.raises(ConfigError, match=message):
        check(criterion)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"early_stopping_criterion": ["valid", "loss"]},
            r"early_stopping_criterion: found \['valid', 'loss'\]; expec",
        ),
        (
            {"early_stopping_criterion": ["valid", "los", "min"]},
            "number in early_stopping_criterion: found 'los'.*'loss'",
        ),
        ({"early_stopping_criterion": ["valid", "acc", "ma"]}, "mode in early_stopping_criterion: found 'ma'"),
        (
            {"val_scheduler_criterion": ["valid", "loss", "min"]},
            "val_scheduler_criterion: found .*mode in scheduler_conf",
        ),
        ({"val_scheduler_criterion": ["valid", "los"]}, "number in val_scheduler_criterion: found 'los'.*'loss'"),
        ({"val_scheduler_criterion": "loss"}, "val_scheduler_criterion: found 'loss'"),
    ],
)
def test_the_other_criteria_are_looked_at_as_well(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_others(**changes)


@pytest.mark.parametrize(
    ("criterion", "used"),
    [
        ({"early_stopping_criterion": ["valid", "acc", "max"]}, {"patience": 0}),
        ({"val_scheduler_criterion": ["valid", "acc"]}, {"scheduler": "reducelronplateau"}),
        ({"early_stopping_criterion": ["train", "wer_ctc", "min"]}, {"patience": 3}),  # training decodes nothing
    ],
)
def test_what_ends_with_a_number_that_is_never_measured_is_refused_where_it_is_used(criterion, used):
    of_ctc_alone = {"ctc_weight": 1.0}
    check_others(of_ctc_alone, **criterion)
    with pytest.raises(ConfigError, match=r"what this model does not measure: found .*; expected one of loss, l"):
        check_others(of_ctc_alone, **criterion, **used)


def test_what_is_called_measured_is_what_a_training_measures(trained_tiny):
    """Against the log of a training, so that the list cannot grow old."""
    assert set(measured(trained_tiny["model_conf"])) <= trained_tiny["valid"]
    assert set(measured(trained_tiny["model_conf"], "train")) == trained_tiny["train"] - {"loss_interctc"}


@pytest.fixture(scope="module")
def trained_tiny(tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("tiny")
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(folder / "t.yaml"))])
    args.token_list = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
    model = AVSRTask.build_model(args).eval()
    video = torch.randint(0, 256, (1, 8, 22, 22), dtype=torch.uint8)
    text, labels = torch.tensor([[2, 3]]), torch.full((1, 8), 2)
    streams = {"video": video, "video_lengths": torch.tensor([8]), "frame_labels": labels}
    streams |= {"speech": torch.randn(1, 8 * 640), "speech_lengths": torch.tensor([8 * 640])}
    given = {}
    for phase in ("valid", "train"):
        _, stats, _ = model.train(phase == "train")(text, torch.tensor([2]), **streams)
        given[phase] = {name for name, value in stats.items() if value is not None}
    given["valid"].add("wer_ctc")  # by tasks/training_report.py
    return {"model_conf": args.model_conf, **given}
