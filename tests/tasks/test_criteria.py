"""What chooses the best epochs must be a number that the model's validation gives."""

from argparse import Namespace

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.criteria import check_criteria, measured
from tests.tiny_corpus import write_config


def check(*criteria, **model_conf) -> None:
    check_criteria(Namespace(best_model_criterion=list(criteria), model_conf=model_conf))


def test_numbers_that_are_measured_pass():
    check(("valid", "acc", "max"))
    check(("valid", "wer_ctc", "min"), ctc_weight=1.0)
    check(("valid", "acc_frame", "max"), frame_loss_weight=1.0)
    check(("train", "loss", "min"), ("valid", "acc", "max"), ctc_weight=1.0)  # one is enough: ESPnet's default has both


def test_a_misspelt_number_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"number in best_model_criterion: found 'accc'.*Did you mean 'acc'"):
        check(("valid", "loss", "min"), ("valid", "accc", "max"))


def test_criteria_that_this_model_never_measures_are_refused():
    with pytest.raises(ConfigError, match="would choose no model: found acc; expected one of loss, loss_ctc"):
        check(("valid", "acc", "max"), ctc_weight=1.0)


def test_what_is_called_measured_is_what_a_training_measures(trained_tiny):
    """Against the log of a training, so that the list cannot grow old."""
    assert set(measured(trained_tiny["model_conf"])) <= trained_tiny["valid"]


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
    _, stats, _ = model(text, torch.tensor([2]), **streams)
    given = {name for name, value in stats.items() if value is not None}
    return {"model_conf": args.model_conf, "valid": given | {"wer_ctc"}}  # tasks/training_report.py adds this one
