"""`optim: muon`: torch's own two optimizers by hand are the oracle; groups, schedulers, resuming, adapters."""

import argparse
import copy

import pytest
import torch

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.optim import muon
from espnet_vivit.tasks.optim.muon import Muon, hidden_matrices
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup
from tests.tiny import WINDOWED_VIVIT, tiny_e2e

LR, DECAY = 0.01, 0.1
CONF = {"lr": LR, "weight_decay": DECAY, "betas": [0.9, 0.98], "momentum": 0.9}
VISION = {**WINDOWED_VIVIT, "output_dim": 6}
MATRICES = {  # ends of the names of all hidden matrices of the tiny model of both streams
    "q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "vision_encoder.projection", "upsample.linear",
    "fusion.linear", "linear_q", "linear_k", "linear_v", "linear_out", "linear_pos", "w_1", "w_2",
}  # fmt: skip


def arguments(**changes):
    plain = {"optim": "muon", "optim_conf": CONF, "freeze_param": [], "sharded_ddp": False, "scheduler": None}
    plain |= {"scheduler_conf": {}, "exclude_weight_decay": False, "exclude_weight_decay_conf": {}}
    return argparse.Namespace(**{**plain, **changes})


def optimizer_of(model, **changes):
    (optimizer,) = AVSRTask.build_optimizers(arguments(**changes), model)
    return optimizer


def fresh(**options):
    torch.manual_seed(0)
    return tiny_e2e("multimodal", vision_encoder_conf=VISION, frame_loss_weight=1.0, **options)


def give_gradients(models, step):
    """The same drawn gradients to models of the same shape."""
    for index, parameters in enumerate(zip(*(model.parameters() for model in models), strict=True)):
        gradient = torch.randn(parameters[0].shape, generator=torch.Generator().manual_seed(1000 * step + index))
        for parameter in parameters:
            parameter.grad = gradient.clone() if parameter.requires_grad else None


def methods_of(optimizer, model):
    """parameter name -> its group's method, after checking that each is in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group["method"]) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(names) and {name for name, _ in found} == set(names.values())
    return dict(found)


def by_hand(model):
    """torch's Muon on the matrices whose names `MATRICES` tells, torch's AdamW on all else."""
    hidden = {name: p for name, p in model.named_parameters() if p.ndim == 2 and is_named(name)}
    others = [parameter for name, parameter in model.named_parameters() if name not in hidden]
    muon = torch.optim.Muon(hidden.values(), lr=LR, weight_decay=DECAY, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, lr=LR, weight_decay=DECAY, betas=(0.9, 0.98))


def is_named(name):
    return name.removesuffix(".weight").endswith(tuple(MATRICES))


def test_steps_are_those_of_torchs_own_two_optimizers(monkeypatch):
    monkeypatch.setattr(muon, "BFLOAT16_IS_EMULATED", False)
    model = fresh()
    oracle = copy.deepcopy(model)
    optimizer, own = optimizer_of(model), by_hand(oracle)
    for step in range(3):
        give_gradients([model, oracle], step)
        for each in (optimizer, *own):
            each.step()
    for (name, parameter), expected in zip(model.named_parameters(), oracle.parameters(), strict=True):
        assert torch.equal(parameter, expected), name


def test_where_bfloat16_is_emulated_the_same_steps_are_computed_in_float32(monkeypatch):
    """They differ by the rounding to bfloat16, and hold the exact quintic iteration."""
    monkeypatch.setattr(muon, "BFLOAT16_IS_EMULATED", True)
    wide, tall = torch.randn(24, 60), torch.randn(60, 24)
    ours, theirs = ([torch.nn.Parameter(x.clone()) for x in (wide, tall)] for _ in range(2))
    options = {"lr": LR, "weight_decay": DECAY, "momentum": 0.9, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = [muon.Float32Muon(ours, **options), torch.optim.Muon(theirs, **options)]
    for step in range(3):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(pair[0].shape, generator=torch.Generator().manual_seed(10 * step + index))
            for parameter in pair:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for start, mine, other in zip((wide, tall), ours, theirs, strict=True):
        moved = (other - start).norm()
        assert 0 < (mine - other).norm() < 0.02 * moved
    exact = muon.orthogonalized(wide.double(), (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert torch.linalg.svdvals(exact).sub(1).abs().max() < 0.4
    assert torch.allclose(muon.orthogonalized(wide, (3.4445, -4.775, 2.0315), 5, 1e-7).double(), exact, atol=1e-4)


def test_each_parameter_is_in_one_group_and_only_matrices_between_input_and_output_are_muons():
    model = fresh()
    methods = methods_of(optimizer_of(model), model)
    muons = [name for name, method in methods.items() if method == "muon"]
    assert all(is_named(name) for name in muons)
    assert all(any(name.endswith(f"{end}.weight") for name in muons) for end in MATRICES)
    left = [name for name, p in model.named_parameters() if p.ndim == 2 and methods[name] == "adamw"]
    ends = ("ctc.ctc_lo.weight", "frame_head.weight", "output_layer.weight", "embed.0.weight", "bias_u", "bias_v")
    assert {end for end in ends if any(name.endswith(end) for name in left)} == set(ends)
    assert all(name.endswith(ends) for name in left)


def test_a_layer_that_reads_pixels_is_adamws():
    model = tiny_e2e("video", vision_encoder="linear", vision_encoder_conf={"image_size": 16, "output_dim": 8})
    methods = methods_of(optimizer_of(model), model)
    assert methods["vision_encoder.projection.weight"] == "adamw"
    assert methods["fusion.weight"] == "muon"  # from the frontend's features to the encoder's


def test_adapters_are_adamws_and_what_does_not_train_is_not_muons():
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    model = fresh(tower_adapters={"encoder": {"type": "lora", "r": 2}})
    model.vision_encoder.vivit.layers[0].requires_grad_(False)
    optimizer = optimizer_of(model, freeze_param=["vision_encoder.vivit.layers.0"], freeze_until={"encoder": 1})
    methods = methods_of(optimizer, model)
    adapters = {method for name, method in methods.items() if "lora_" in name}
    frozen = {method for name, method in methods.items() if "base_layer" in name or "vivit.layers.0." in name}
    assert adapters == frozen == {"adamw"}
    assert methods["vision_encoder.vivit.layers.1.mlp.fc1.weight"] == "muon"


def test_rates_frozen_parts_and_weight_decay_hold_for_both():
    model = fresh()
    rates = {"lr_scale": {"encoder": 0.5}, "layer_decay": {"vision_encoder": 0.7}, "freeze_until": {"decoder": 1}}
    optimizer = optimizer_of(model, optim_conf={**CONF, "muon_lr_scale": 2.0}, exclude_weight_decay=True, **rates)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    assert set(found) == set(names.values())
    layer = "vision_encoder.vivit.layers.0.mlp.fc1."
    for name, rate, decay in (
        ("encoder.encoders.0.feed_forward.w_1.weight", LR * 0.5 * 2, DECAY),
        ("encoder.encoders.0.feed_forward.w_1.bias", LR * 0.5, 0.0),
        (f"{layer}weight", LR * 0.7**2 * 2, DECAY),
        (f"{layer}bias", LR * 0.7**2, 0.0),
        ("fusion.linear.weight", LR * 2, DECAY),
        ("ctc.ctc_lo.weight", LR, DECAY),
    ):
        assert (found[name]["lr"], found[name]["weight_decay"]) == (pytest.approx(rate), decay), name
    before = {name: value.clone() for name, value in model.decoder.state_dict().items()}
    for step, still in ((0, True), (1, False)):
        give_gradients([model], step)
        optimizer.step()
        assert still == all(torch.equal(value, before[name]) for name, value in model.decoder.state_dict().items())


def test_the_eps_of_a_group_is_adamws():
    matrix, bias = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))
    setattr(matrix, muon._MARK, True)
    groups = Muon([{"params": [matrix, bias], "eps": 0.5}]).param_groups
    eps = {group["method"]: group["eps"] for group in groups}
    assert eps == {"adamw": 0.5, "muon": torch.optim.Muon([matrix]).defaults["eps"]}


def test_a_schedule_scales_both_rates():
    model = fresh()
    optimizer = optimizer_of(model, optim_conf={**CONF, "muon_lr_scale": 0.25})
    scheduler = CosineWithWarmup(optimizer, warmup_steps=3, total_steps=9)
    for _ in range(8):
        rates = {group["method"]: group["lr"] for group in optimizer.param_groups}
        assert rates["muon"] == pytest.approx(0.25 * rates["adamw"]) and rates["muon"] > 0
        optimizer.step()
        scheduler.step()


def test_a_saved_state_goes_on_bit_for_bit(tmp_path):
    whole, resumed = fresh(), None
    optimizer = optimizer_of(whole)
    scheduler = CosineWithWarmup(optimizer, warmup_steps=2, total_steps=9)
    for step in range(5):
        if step == 2:
            states = {"model": whole, "optimizer": optimizer, "scheduler": scheduler}
            torch.save({name: each.state_dict() for name, each in states.items()}, tmp_path / "checkpoint.pth")
        give_gradients([whole], step)
        optimizer.step()
        scheduler.step()
    resumed = fresh()
    optimizer = optimizer_of(resumed)
    scheduler = CosineWithWarmup(optimizer, warmup_steps=2, total_steps=9)
    states = torch.load(tmp_path / "checkpoint.pth", weights_only=True)
    for name, each in (("model", resumed), ("optimizer", optimizer), ("scheduler", scheduler)):
        each.load_state_dict(states[name])
    for step in range(2, 5):
        give_gradients([resumed], step)
        optimizer.step()
        scheduler.step()
    for (name, parameter), expected in zip(resumed.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(parameter, expected), name


def test_float16s_scaler_unscales_and_skips_steps_of_both(monkeypatch):
    monkeypatch.setattr(muon, "BFLOAT16_IS_EMULATED", False)
    model = fresh()
    oracle = copy.deepcopy(model)
    optimizer, own = optimizer_of(model), by_hand(oracle)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(torch.zeros(1))  # makes its tensors
    for step, overflow in enumerate((False, True)):
        give_gradients([model, oracle], step)
        for parameter in model.parameters():
            parameter.grad.mul_(64.0)
        if overflow:
            model.ctc.ctc_lo.bias.grad[0] = torch.inf
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if not overflow:
            for each in own:
                each.step()
    assert scaler.get_scale() < 64.0
    for (name, parameter), expected in zip(model.named_parameters(), oracle.parameters(), strict=True):
        assert torch.equal(parameter, expected), name


def test_the_state_of_another_optimizer_is_refused_in_both_directions():
    model = fresh()
    muon, adamw = optimizer_of(model), optimizer_of(fresh(), optim="adamw", optim_conf={"lr": LR})
    with pytest.raises(ConfigError, match=r"does not fit optim: muon: found another optim\. Resume with the optim"):
        optimizer_of(fresh()).load_state_dict(adamw.state_dict())
    other = fresh()
    other.encoder.requires_grad_(False)
    with pytest.raises(
        ConfigError, match=r"found groups of \d+ of adamw, \d+ of muon parameters; expected \d+ of adam"
    ):
        optimizer_of(other, freeze_param=["encoder"]).load_state_dict(muon.state_dict())
    with pytest.raises(ConfigError, match=r"the training to be resumed had optim: muon\. Say optim: muon again"):
        adamw.load_state_dict(muon.state_dict())


def test_what_cannot_be_is_named(monkeypatch):
    model = fresh()
    with pytest.raises(ConfigError, match="muon_lr_scale: found 0; expected a number above 0"):
        Muon(model.parameters(), muon_lr_scale=0)
    with pytest.raises(ConfigError, match="sharded_ddp cuts the parameters before muon sees them"):
        optimizer_of(model, sharded_ddp=True)
    model.requires_grad_(False)
    assert hidden_matrices(model) == {}
    with pytest.raises(ConfigError, match=r"muon has no matrix to learn.*Say optim: adamw"):
        optimizer_of(model)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(MissingDependencyError, match=r"pip install 'torch>=2.9', or say optim: adamw"):
        Muon(model.parameters())
