"""Numbers that no training can have are refused before anything is built, whoever gave them."""

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny_corpus import write_config


def checked(tmp_path, *options, **changes):
    config = write_config(tmp_path / "train.yaml", **changes)
    words = ["--config", str(config), "--output_dir", "exp", "--token_list", "tokens.txt", *options]
    args = AVSRTask.get_parser().parse_args(words)
    AVSRTask.check_required_command_args(args)
    return args


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_workers": -1}, "num_workers: found -1; expected 0 or more"),
        ({"log_interval": 0}, "log_interval: found 0; expected 1 or more"),
        ({"max_epoch": -1}, "max_epoch: found -1; expected 0 or more"),
        ({"patience": -3}, "patience: found -3; expected 0 or more"),
        ({"keep_nbest_models": 0}, "keep_nbest_models: found 0; expected 1 or more"),
        ({"keep_nbest_models": [2, 0]}, r"keep_nbest_models: found \[2, 0\]; expected 1 or more"),
        ({"num_iters_per_epoch": 0}, "num_iters_per_epoch: found 0; expected 1 or more"),
        ({"valid_batch_size": 0}, "valid_batch_size: found 0"),
        ({"grad_clip": 0}, r"grad_clip: found 0; expected a norm above 0; \.inf clips nothing"),
        ({"grad_clip": -1.0}, "grad_clip: found -1.0"),
    ],
)
def test_a_number_out_of_range_is_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        checked(tmp_path, **changes)


def test_the_least_that_can_be_meant_and_null_are_taken(tmp_path):
    nothing = {"patience": None, "num_iters_per_epoch": None, "log_interval": None}
    assert checked(tmp_path, max_epoch=0, keep_nbest_models=1, grad_clip=float("inf"), **nothing).max_epoch == 0
    with pytest.raises(ConfigError, match="num_workers: found -1"):
        checked(tmp_path, "--num_workers", "-1")


def test_a_share_that_is_none_is_blamed_itself_and_not_what_follows_from_it(tmp_path):
    conf = {"ctc_weight": 1.5}
    with pytest.raises(ConfigError, match=r"^ctc_weight in model_conf: found 1.5; expected 0 to 1$"):
        checked(tmp_path, model_conf=conf, best_model_criterion=[["valid", "acc", "max"]])
    with pytest.raises(ConfigError, match="best_model_criterion would choose no model: found acc"):
        checked(tmp_path, model_conf={"ctc_weight": 1.0}, best_model_criterion=[["valid", "acc", "max"]])


def test_heads_of_the_decoder_that_do_not_fit_are_an_error_of_ours(tmp_path):
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    conf = {"attention_heads": 3, "linear_units": 32, "num_blocks": 1}
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(tmp_path / "t.yaml", decoder_conf=conf))])
    args.token_list = tokens
    with pytest.raises(ConfigError, match=r"attention_heads in decoder_conf .* do not divide .*: found 3 heads for 16"):
        AVSRTask.build_model(args)
