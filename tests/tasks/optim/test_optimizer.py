"""Groups of the optimizer: every parameter in one, at the rate asked for, under each of ESPnet's schedulers."""

import argparse

import pytest
import torch
from espnet2.optimizers.optim_groups import add_optimizer_hooks
from espnet2.tasks.abs_task import scheduler_classes

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.optim.optimizer import (
    LEVELING_SCHEDULERS,
    Rates,
    build_optimizer,
    parameter_groups,
    read_rates,
)
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup
from tests.tiny import WINDOWED_VIVIT, tiny_e2e

LR = 0.01
TOWER = "vision_encoder.vivit."


def arguments(**changes):
    plain = {
        "freeze_param": [],
        "sharded_ddp": False,
        "scheduler": None,
        "scheduler_conf": {},
        "optim_conf": {"lr": LR},
    }
    return argparse.Namespace(**{**plain, **changes})


def optimizer_of(model, **changes):
    args = arguments(**changes)
    return build_optimizer(args, model, torch.optim.AdamW(model.parameters(), **args.optim_conf))


def rates_of(optimizer, model):
    """parameter name -> its learning rate, after checking that each is in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group["lr"]) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(names) and {name for name, _ in found} == set(names.values())
    return dict(found)


@pytest.fixture
def model():
    return tiny_e2e("multimodal", vision_encoder_conf={**WINDOWED_VIVIT, "output_dim": 6})


def test_without_options_the_optimizer_is_espnets_own(model):
    default = torch.optim.AdamW(model.parameters(), lr=LR)
    assert build_optimizer(arguments(), model, default) is default


def test_a_part_learns_at_its_share_and_what_is_new_behind_a_tower_at_the_full_rate(model):
    optimizer = optimizer_of(model, lr_scale={"vision_encoder": 0.1, "encoder": 0.5})
    for name, rate in rates_of(optimizer, model).items():
        share = 0.1 if name.startswith(TOWER) else 0.5 if name.startswith("encoder.") else 1.0
        assert rate == pytest.approx(share * LR), name
    assert rates_of(optimizer, model)["vision_encoder.projection.weight"] == LR
    assert [group["name"] for group in optimizer.param_groups] == ["all else", "encoder", "vision_encoder"]


def test_layer_decay_is_beits_over_the_layers_of_a_tower(model):
    """Two layers: the last at 0.7 of the tower's rate, the first at 0.49, embeddings at 0.343, the final norm at 1."""
    rates = rates_of(optimizer_of(model, lr_scale={"vision_encoder": 0.5}, layer_decay={"vision_encoder": 0.7}), model)
    expected = {"embeddings.": 0.7**3, "layers.0.": 0.7**2, "layers.1.": 0.7, "layernorm.": 1.0}
    seen = set()
    for name, rate in rates.items():
        if name.startswith(TOWER):
            (part,) = [part for part in expected if name.startswith(TOWER + part)]
            assert rate == pytest.approx(0.5 * expected[part] * LR), name
            seen.add(part)
        else:
            assert rate == LR
    assert seen == set(expected)


@pytest.mark.parametrize(
    ("part", "options", "expected"),
    [
        ("encoder", {}, {"encoder.encoders.0.norm_ff.weight": 0.25, "encoder.after_norm.bias": 1.0}),
        ("decoder", {}, {"decoder.embed.0.weight": 0.25, "decoder.decoders.0.norm1.bias": 0.5,
                         "decoder.output_layer.bias": 1.0, "decoder.after_norm.bias": 1.0}),
        ("audio_encoder", {}, {"audio_encoder.trunk.conv1.weight": 0.5**5, "audio_encoder.trunk.bn1.bias": 0.5**5,
                               "audio_encoder.trunk.layer1.0.bn1.bias": 0.5**4,
                               "audio_encoder.trunk.layer4.1.conv1.weight": 0.5}),
        ("vision_encoder", {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 2}},
         {"vision_encoder.frontend3D.0.weight": 0.5**5, "vision_encoder.trunk.layer2.0.conv1.weight": 0.5**3}),
    ],
)  # fmt: skip
def test_layer_decay_knows_where_each_parts_layers_begin_and_end(part, options, expected):
    model = tiny_e2e("multimodal", **options)
    rates = rates_of(optimizer_of(model, layer_decay={part: 0.5}), model)
    assert {name: rates[name] / LR for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(scheduler_classes))
def test_each_scheduler_keeps_the_share_of_every_group_or_is_refused(name, model):
    conf = {
        "reducelronplateau": {"patience": 3},
        "lambdalr": {"lr_lambda": lambda step: 1 / (1 + step)},
        "steplr": {"step_size": 2},
        "multisteplr": {"milestones": [2]},
        "exponentiallr": {"gamma": 0.9},
        "cosineannealinglr": {"T_max": 10},
        "noamlr": {"model_size": 16},
        "cycliclr": {"base_lr": 1e-4, "max_lr": 1e-2, "cycle_momentum": False},
        "onecyclelr": {"max_lr": 1e-2, "total_steps": 10},
        "cosineannealingwarmrestarts": {"T_0": 5},
        "cosineannealingwarmuprestarts": {"first_cycle_steps": 10},
        "tristagelr": {"max_steps": 10, "warmup_ratio": 0.3, "hold_ratio": 0.3, "decay_ratio": 0.4},
        "exponentialdecaywarmup": {"max_lr": 1e-2, "min_lr": 1e-4, "total_steps": 10},
        "cosine_with_warmup": {"total_steps": 10000},
    }.get(name, {})
    options = {"scheduler": name, "scheduler_conf": conf, "lr_scale": {"vision_encoder": 0.1}}
    if name in LEVELING_SCHEDULERS:
        with pytest.raises(ConfigError, match=f"scheduler {name} sets one learning rate for all parts"):
            read_rates(arguments(**options))
        options["scheduler"] = None
    optimizer = optimizer_of(model, **options)
    scheduler = scheduler_classes[name](optimizer, **conf)
    shares = []
    for step in range(8):
        full, tower = (group["lr"] for group in optimizer.param_groups)
        shares.append(tower / full if full else 0.1)
        optimizer.step()
        scheduler.step(*[float(step)] if "plateau" in name else [])
    kept = all(share == pytest.approx(0.1) for share in shares)
    assert kept == (name not in LEVELING_SCHEDULERS), shares


def test_weight_decay_that_espnet_excludes_stays_excluded(model):
    add_optimizer_hooks(model)
    groups = parameter_groups(model, Rates(lr_scale={"vision_encoder": 0.1}))
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(p)]: (g["name"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert decay[TOWER + "layers.0.mlp.fc1.bias"] == ("vision_encoder", 0.0)
    assert decay[TOWER + "layers.0.mlp.fc1.weight"] == ("vision_encoder", 0.5)
    assert decay["ctc.ctc_lo.bias"] == ("all else", 0.0) and decay["ctc.ctc_lo.weight"] == ("all else", 0.5)


def test_a_step_moves_each_part_as_far_as_its_rate_says(model):
    """SGD with gradients of one: the way is the rate itself."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    args = arguments(lr_scale={"vision_encoder": 0.1}, optim_conf={"lr": LR})
    optimizer = build_optimizer(args, model, torch.optim.SGD(model.parameters(), lr=LR))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        way = 0.1 * LR if name.startswith(TOWER) else LR
        torch.testing.assert_close(before[name] - parameter, torch.full_like(parameter, way), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_scale": {"vision_encodr": 0.1}}, "unknown part in lr_scale: found 'vision_encodr'.*'vision_encoder'"),
        ({"lr_scale": {"encoder": 0}}, "lr_scale of encoder: found 0; expected a number above 0; freeze_param"),
        ({"lr_scale": {"encoder": "0.1x"}}, "lr_scale of encoder: found '0.1x'"),
        ({"lr_scale": 0.1}, "lr_scale: found 0.1; expected a mapping"),
        ({"layer_decay": {"encoder": 1.5}}, "layer_decay of encoder: found 1.5; expected a number above 0, at most 1"),
        ({"freeze_until": {"encoder": 2.5}}, "freeze_until of encoder: found 2.5; expected a whole number"),
        ({"freeze_until": {"encoder": True}}, "freeze_until of encoder: found True"),
        (
            {"freeze_until": {"encoder": 50}, "scheduler": "cosine_with_warmup", "scheduler_conf": {"total_steps": 50}},
            r"found 50 steps; expected fewer than .*total_steps=50. To keep it .* freeze_param: \[encoder\]",
        ),
    ],
)
def test_values_that_cannot_be_meant_are_named_before_a_model_is_built(options, message):
    with pytest.raises(ConfigError, match=message):
        read_rates(arguments(**options))


def test_parts_that_this_model_does_not_have_or_that_have_no_layers_are_named(model):
    with pytest.raises(ConfigError, match=r"unknown part in lr_scale \(this model has .*: found 'frame_head'"):
        optimizer_of(model, lr_scale={"frame_head": 0.1})
    linear = tiny_e2e("video", vision_encoder="linear", vision_encoder_conf={"image_size": 16, "output_dim": 8})
    with pytest.raises(ConfigError, match="vision_encoder has no layers for layer_decay: found LinearFrontend"):
        optimizer_of(linear, layer_decay={"vision_encoder": 0.9})


def test_a_name_in_freeze_param_that_espnet_would_silently_skip_is_an_error(model):
    optimizer_of(model, freeze_param=["vision_encoder", "encoder.encoders.0", "ctc.ctc_lo.bias"])
    with pytest.raises(ConfigError, match=r"name in freeze_param: found 'encoder.encodrs'.*'encoder.encoders'"):
        optimizer_of(model, freeze_param=["encoder.encodrs"])


def test_a_tower_frozen_as_a_whole_keeps_its_statistics():
    model = tiny_e2e("audio")
    model.audio_encoder.requires_grad_(False)  # what ESPnet's freeze_param does
    optimizer_of(model, freeze_param=["audio_encoder"])
    model.train()
    before = model.audio_encoder.trunk.bn1.running_mean.clone()
    lengths = torch.tensor([6400])
    model(speech=torch.randn(1, 6400), speech_lengths=lengths, text=torch.tensor([[1]]), text_lengths=torch.tensor([1]))
    assert torch.equal(model.audio_encoder.trunk.bn1.running_mean, before)
    assert model.encoder.encoders[0].conv_module.norm.training


def test_the_cosine_of_our_own_keeps_shares_too(model):
    optimizer = optimizer_of(model, lr_scale={"vision_encoder": 0.1})
    scheduler = CosineWithWarmup(optimizer, warmup_steps=3, total_steps=9)
    for _ in range(8):
        full, tower = (group["lr"] for group in optimizer.param_groups)
        assert tower == pytest.approx(0.1 * full) and full > 0
        optimizer.step()
        scheduler.step()
