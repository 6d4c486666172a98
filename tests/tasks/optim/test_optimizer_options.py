"""Options of optimizer and scheduler are tried before a model is built: a mistake is a sentence, not a TypeError."""

import argparse

import pytest
import torch
import yaml

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.espnet_compat import optim_classes, scheduler_classes
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.optim.optimizer_options import _made, check_optimizer_options


def arguments(text):
    """The training arguments that these lines of YAML make."""
    plain = {"optim": "adamw", "optim_conf": {}, "scheduler": None, "scheduler_conf": {}}
    return argparse.Namespace(**plain | {"exclude_weight_decay_conf": {}} | yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim_conf: {weigth_decay: 0.1}",
         "in optim_conf of adamw: found 'weigth_decay'.*Did you mean 'weight_decay'"),
        ("optim_conf: {params: 1}", "unknown option in optim_conf of adamw: found 'params'"),
        ("{optim: muon, optim_conf: {beta: [0.9, 0.98]}}", "optim_conf of muon: found 'beta'.*Did you mean 'betas'"),
        ("{optim: muon, optim_conf: {momentum: -1}}", "optim_conf of muon is refused .*momentum should be >= 0"),
        ("optim: adamv", "unknown optim: found 'adamv'.*Did you mean 'adam"),
        ("optim_conf: {lr: 1e-3}", r"lr in optim_conf: found the text '1e-3'; expected a number, as 0.001. YAML takes"),
        ("optim_conf: {lr: -0.1}", r"optim_conf of adamw is refused \(Invalid learning rate: -0.1\)"),
        ("optim_conf: {betas: 0.9}", "optim_conf of adamw is refused"),
        (
            "{scheduler: cosine_with_warmup, scheduler_conf: {warmup_step: 10}}",
            "option in scheduler_conf of cosine_with_warmup: found 'warmup_step'.*Did you mean 'warmup_steps'",
        ),
        (
            "{scheduler: cosine_with_warmup, scheduler_conf: {warmup_steps: 10, total_steps: 5}}",
            "scheduler_conf of cosine_with_warmup: found warmup_steps=10, total_steps=5; expected 0 <= warmup",
        ),
        ("{scheduler: warmuplr, scheduler_conf: {total_steps: 10}}", "option in scheduler_conf of warmuplr"),
        ("{scheduler: steplr}", r"scheduler_conf of steplr is refused \(.*step_size"),
        ("{scheduler: warmuplrr}", "unknown scheduler: found 'warmuplrr'.*Did you mean 'warmuplr'"),
        (
            "{optim: muon, optim_conf: {muon_lr_scale: 2.0}, scheduler: onecyclelr, "
            "scheduler_conf: {max_lr: 0.01, total_steps: 10, cycle_momentum: false}}",
            "scheduler onecyclelr sets one learning rate for muon and AdamW",
        ),
        ("exclude_weight_decay_conf: {bias_decay: true}", "found 'bias_decay'; expected one of bias_weight_decay"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_was_meant(text, message):
    with pytest.raises(ConfigError, match=message):
        check_optimizer_options(arguments(text))


@pytest.mark.parametrize("name", sorted(optim_classes))
def test_every_optimizer_passes_with_a_learning_rate(name):
    check_optimizer_options(arguments(f"{{optim: {name}, optim_conf: {{lr: 0.001}}}}"))


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("reducelronplateau", {"patience": 3}),
        ("noamlr", {"model_size": 16}),
        ("tristagelr", {"max_steps": 10}),
        ("warmupreducelronplateau", {"warmup_steps": 5}),
        ("exponentialdecaywarmup", {"max_lr": 1e-2, "min_lr": 1e-4, "total_steps": 10}),
        ("cosine_with_warmup", {}),
    ],
)
def test_options_that_a_scheduler_takes_pass(name, conf):
    assert name in scheduler_classes
    check_optimizer_options(arguments(yaml.safe_dump({"scheduler": name, "scheduler_conf": conf})))


def test_a_key_without_a_value_in_the_yaml_is_an_empty_mapping():
    args = arguments("{optim_conf: , scheduler_conf: }")
    check_optimizer_options(args)
    assert args.optim_conf == args.scheduler_conf == {}


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(MissingDependencyError, match=r"pip install 'torch>=2.9', or say optim: adamw"):
        check_optimizer_options(arguments("optim: muon"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--optim_conf", "weight_decy=0.1"], "found 'weight_decy'"),
        (["--batch_size", "0"], "batch_size: found 0; expected 1 or more"),
        (["--multiple_iterator", "true"], "multiple_iterator reads each epoch from lists cut into pieces"),
    ],
)
def test_the_command_line_says_so_before_anything_is_built(tmp_path, option, message):
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    common = ["--vision_encoder", "linear", "--token_list", str(tmp_path / "tokens.txt"), "--optim", "adamw"]
    with pytest.raises(ConfigError, match=message):
        AVSRTask.main(cmd=[*common, "--output_dir", str(tmp_path / "exp"), *option])
    assert not (tmp_path / "exp").exists()


def test_a_mapping_where_a_pair_belongs_is_named():
    with pytest.raises(ConfigError, match="optim_conf of adamw is refused"):
        _made("optim_conf", "adamw", torch.optim.AdamW, [torch.nn.Parameter(torch.zeros(1))], {"betas": {"x": 1}})
