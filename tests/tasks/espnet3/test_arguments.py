"""A training.yaml is checked as a YAML for avsr_train is, and the recipes of both kinds train the same model."""

import argparse
from pathlib import Path

import pytest

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet3.utils.config_utils import load_and_merge_config
from omegaconf import OmegaConf

from espnet_vivit.base.config_file import read_config
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.model import parts
from espnet_vivit.tasks.espnet3.arguments import RATES, _options, training_arguments
from espnet_vivit.tasks.espnet3.names import TEMPLATE
from tests.tasks.espnet3.training import corpus_with_shapes, sections, training_config
from tests.tiny_corpus import write_tiny_corpus

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def corpus(tmp_path):
    return corpus_with_shapes(tmp_path)


def arguments(tmp_path, corpus, **changes) -> argparse.Namespace:
    return training_arguments(training_config(tmp_path, corpus, **changes))


def changed(tmp_path, corpus, section, **changes) -> dict:
    return {section: {**sections(tmp_path, corpus)[section], **changes}}


def test_the_arguments_say_what_the_sections_say(tmp_path, corpus):
    args = arguments(tmp_path, corpus, **changed(tmp_path, corpus, "trainer", precision="bf16-mixed"))
    assert (args.seed, args.max_epoch, args.grad_clip, args.amp_dtype) == (3, 2, 1.0, "bfloat16")
    assert args.best_model_criterion == [["valid", "acc", "max"]] and args.keep_nbest_models == 3
    assert args.preprocessor_conf == {"flip_prob": 0.25}
    assert args.optim.endswith("Muon") and args.optim_conf == {"lr": 0.001, "weight_decay": 0.01}
    assert args.scheduler_conf == {"warmup_steps": 1, "total_steps": 10}
    assert args.training_facts["mouth_size"] == 24 and args.training_facts["longest_clip_s"] > 0.8
    assert {name for _, name, _ in args.train_data_path_and_name_and_type} == {"speech", "video", "text", "word_times"}


def test_null_takes_an_option_of_the_configuration_that_another_builds_on_away(tmp_path, corpus):
    args = arguments(tmp_path, corpus, **changed(tmp_path, corpus, "model", audio_encoder_conf=None))
    assert args.audio_encoder_conf == {} and args.vision_encoder_conf["image_size"] == 22


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"vison_encoder": "vivit"}, "Did you mean 'vision_encoder'"),
        ("model", {"vision_encoder": "vivti"}, "Did you mean 'vivit'"),
        ("model", {"amp_dtype": "bfloat16"}, "amp_dtype in model.*precision: bf16-mixed"),
        ("model", {"lr_scale": {"encoder": 0.5}}, "lr_scale in model.*beside optimizer"),
        ("model", {"curriculum": {"max_frames": 50, "epochs": 1}}, "curriculum in model.*egs/"),
        ("model", {"batch_bins": 300}, "unknown option in model.*batch_bins"),
        ("trainer", {"precision": "64-true"}, "unknown trainer.precision.*64-true"),
        ("scheduler", {"_target_": None}, "no scheduler"),
    ],
)
def test_what_espnet3_would_ignore_or_fail_on_is_refused(tmp_path, corpus, section, changes, message):
    with pytest.raises(ConfigError, match=message):
        arguments(tmp_path, corpus, **changed(tmp_path, corpus, section, **changes))


def test_data_that_do_not_fit_the_model_are_refused_before_it_is_built(tmp_path, corpus):
    (corpus / "tokens.txt").write_text("<blank>\n<unk>\nother\n<sos/eos>\n")
    with pytest.raises(ConfigError, match=r"word tokens in .* would be learnt as <unk>"):
        arguments(tmp_path, corpus)


def test_a_training_without_lengths_names_the_stage(tmp_path):
    with pytest.raises(DataError, match="stage collect_stats"):
        arguments(tmp_path, write_tiny_corpus(tmp_path / "corpus"))


def test_several_data_directories_of_a_set_are_refused(tmp_path, corpus):
    entries = sections(tmp_path, corpus)["dataset"]["train"] * 2
    with pytest.raises(ConfigError, match=r"dataset\.train.*found 2 entries"):
        arguments(tmp_path, corpus, **changed(tmp_path, corpus, "dataset", train=entries))


@pytest.mark.parametrize("corpus_name", ["mini_av", "grid"])
def test_the_recipe_has_the_model_the_augmentation_and_the_budget_of_its_namesake_in_egs(corpus_name):
    """The word error rates of both can be compared: what differs is who runs the training."""
    theirs = read_config(ROOT / f"egs/{corpus_name}/avsr1/conf/train_avsr_vivit.yaml")
    path = ROOT / f"egs3/{corpus_name}/avsr/conf/training.yaml"
    config = load_and_merge_config(path, config_name="training.yaml", default_package=TEMPLATE)
    plain = OmegaConf.to_container(config, resolve=True)
    ours = _options(plain)
    batches = plain["dataloader"]["train"]["iter_factory"]["batches"]
    ours |= {"batch_type": batches["type"], "batch_bins": batches["batch_bins"]}
    ours["optim_conf"] = {name: value for name, value in plain["optimizer"].items() if not name.startswith("_")}
    ours["scheduler_conf"] = {name: value for name, value in plain["scheduler"].items() if not name.startswith("_")}
    theirs["preprocessor_conf"]["noise_scp"] = ours["preprocessor_conf"]["noise_scp"]  # "train" is that path
    not_compared = {"optim", "scheduler", "num_workers", "num_att_plot", "use_matplotlib", "log_interval"}
    assert {name: ours[name] for name in theirs.keys() - not_compared} == {
        name: value for name, value in theirs.items() if name not in not_compared
    }


@pytest.mark.parametrize("corpus_name", ["mini_av", "grid"])
def test_the_vision_encoder_is_one_line_of_the_recipes_yaml(corpus_name):
    lines = (ROOT / f"egs3/{corpus_name}/avsr/conf/training.yaml").read_text().splitlines()
    assert [line.strip() for line in lines if "vision_encoder:" in line] == ["vision_encoder: vivit"]
    assert "vivit" in parts.VISION_ENCODERS and set(RATES) == {"lr_scale", "layer_decay", "freeze_until"}
