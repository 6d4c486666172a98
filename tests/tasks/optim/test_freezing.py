"""Freeze-then-unfreeze: nothing of a frozen part moves, all of it moves afterwards, resumed and distributed alike."""

import argparse
import logging

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.optim.optimizer import build_optimizer
from tests.tiny import tiny_e2e
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus

AUDIO = {"audio_encoder_conf": {"channels": 2}, "encoder_conf": {"num_blocks": 1}}
FRAMES = 8


def optimizer_of(model, **changes):
    plain = {"freeze_param": [], "sharded_ddp": False, "scheduler": None, "scheduler_conf": {}}
    args = argparse.Namespace(**{**plain, "optim_conf": {"lr": 0.01, "weight_decay": 0.1}, **changes})
    return build_optimizer(args, model, torch.optim.AdamW(model.parameters(), **args.optim_conf))


def batch():
    lengths = torch.tensor([FRAMES * 640])
    text = {"text": torch.tensor([[1, 2]]), "text_lengths": torch.tensor([2])}
    return {"speech": torch.randn(1, FRAMES * 640), "speech_lengths": lengths, **text}


def state_of(module):
    """All weights and BatchNorm statistics."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def step(model, optimizer, forward=None):
    """One step of training as ESPnet's trainer makes it."""
    (forward or model)(**batch())[0].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()


def moved(before, module):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def weights(module):
    return {name for name, _ in module.named_parameters()}


def test_a_part_stands_still_until_its_step_and_then_all_of_it_learns():
    model = tiny_e2e("audio", **AUDIO).train()
    optimizer = optimizer_of(model, freeze_until={"audio_encoder": 2})
    before, rest = state_of(model.audio_encoder), state_of(model.encoder)
    step(model, optimizer)
    assert all(parameter.grad is None for parameter in model.audio_encoder.parameters())
    assert moved(before, model.audio_encoder) == set(), "weight decay or statistics reach a frozen part"
    assert weights(model.encoder) & moved(rest, model.encoder)
    step(model, optimizer)
    assert moved(before, model.audio_encoder) == set()
    step(model, optimizer)
    assert weights(model.audio_encoder) <= moved(before, model.audio_encoder)
    assert "trunk.bn1.running_mean" in moved(before, model.audio_encoder)


def test_batch_norm_below_adapters_is_held_for_good():
    """Their base never learns, so its statistics must not either."""
    model = tiny_e2e("audio", **AUDIO, tower_adapters={"encoder": {"type": "lora", "r": 2}}).train()
    optimizer = optimizer_of(model, freeze_until={"encoder": 1})
    before = state_of(model.encoder)
    for _ in range(3):
        step(model, optimizer)
    changed = moved(before, model.encoder)
    assert changed and all("lora" in name for name in changed)


def test_the_graph_of_a_frozen_part_is_not_built_without_distributed_training():
    model = tiny_e2e("audio", **AUDIO).train()
    optimizer_of(model, freeze_until={"audio_encoder": 5})
    speech = batch()["speech"]
    features, _ = model.audio_encoder(speech, torch.tensor([speech.size(1)]))
    assert not features.requires_grad


def test_each_part_has_its_own_step():
    model = tiny_e2e("audio", **AUDIO).train()
    optimizer = optimizer_of(model, freeze_until={"audio_encoder": 1, "encoder": 2}, lr_scale={"encoder": 0.5})
    for expected in ((False, False), (True, False), (True, True)):
        found = tuple(next(part.parameters()).requires_grad for part in (model.audio_encoder, model.encoder))
        assert found == expected
        step(model, optimizer)


@pytest.mark.parametrize("steps_before", [1, 2, 3])
def test_resuming_from_a_state_goes_on_where_it_was(steps_before):
    def training(seed):
        torch.manual_seed(seed)
        model = tiny_e2e("audio", **AUDIO).train()
        return model, optimizer_of(model, freeze_until={"audio_encoder": 2})

    model, optimizer = training(1)
    for _ in range(steps_before):
        step(model, optimizer)
    resumed, fresh = training(2)
    resumed.load_state_dict(model.state_dict())
    fresh.load_state_dict(optimizer.state_dict())
    before = state_of(resumed.audio_encoder)
    for _ in range(2 - steps_before):
        step(resumed, fresh)
    assert moved(before, resumed.audio_encoder) == set()
    step(resumed, fresh)
    assert weights(resumed.audio_encoder) <= moved(before, resumed.audio_encoder)
    assert next(resumed.audio_encoder.parameters()).requires_grad
    assert "audio_encoder" not in resumed.held_towers


def test_what_freeze_param_froze_stays_frozen():
    model = tiny_e2e("audio", **AUDIO).train()
    model.audio_encoder.trunk.layer1.requires_grad_(False)
    optimizer = optimizer_of(model, freeze_until={"audio_encoder": 1}, freeze_param=["audio_encoder.trunk.layer1"])
    before = state_of(model.audio_encoder)
    for _ in range(3):
        step(model, optimizer)
    still = {name for name in weights(model.audio_encoder) if name.startswith("trunk.layer1.")}
    assert weights(model.audio_encoder) - moved(before, model.audio_encoder) == still


def test_a_part_that_never_trains_cannot_be_unfrozen():
    model = tiny_e2e("audio", **AUDIO)
    model.audio_encoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="freeze_until names audio_encoder, of which nothing would ever train"):
        optimizer_of(model, freeze_until={"audio_encoder": 1}, freeze_param=["audio_encoder"])


def test_other_groups_than_those_saved_are_refused_by_name():
    """Loaded silently, the saved rates would win over the new ones."""
    model = tiny_e2e("audio", **AUDIO)
    saved = optimizer_of(model, lr_scale={"encoder": 0.1}).state_dict()
    optimizer_of(model, lr_scale={"encoder": 0.1}).load_state_dict(saved)
    message = "other lr_scale.*: found encoder: 0.1 of the rate, .*; expected encoder: 0.2 of the rate"
    with pytest.raises(ConfigError, match=message):
        optimizer_of(model, lr_scale={"encoder": 0.2}).load_state_dict(saved)
    with pytest.raises(ConfigError, match=r"expected none of them\. Resume with what it had"):
        optimizer_of(model).load_state_dict(saved)


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone: DDP's rules hold in it as in one of many."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_under_ddp_gradients_stay_part_of_the_exchange_and_are_zero_until_the_step(one_process):
    model = tiny_e2e("audio", **AUDIO).train()
    optimizer = optimizer_of(model, freeze_until={"audio_encoder": 2})
    assert all(parameter.requires_grad for parameter in model.audio_encoder.parameters())
    forward = DistributedDataParallel(model)  # raises later if a parameter has no gradient
    before = state_of(model.audio_encoder)
    for _ in range(2):
        step(model, optimizer, forward)
        assert moved(before, model.audio_encoder) == set()
    step(model, optimizer, forward)
    assert weights(model.audio_encoder) <= moved(before, model.audio_encoder)


def test_under_ddp_a_frozen_part_has_no_share_in_the_clipped_norm(one_process):
    model = tiny_e2e("audio", **AUDIO).train()
    optimizer_of(model, freeze_until={"audio_encoder": 2})
    DistributedDataParallel(model)(**batch())[0].backward()
    assert all(
        parameter.grad is not None and not parameter.grad.any() for parameter in model.audio_encoder.parameters()
    )


def test_espnets_trainer_freezes_unfreezes_and_resumes(tmp_path, caplog):
    """Two steps an epoch, unfrozen after four: the tower is the same after epochs 1 and 2, another after 3."""
    caplog.set_level(logging.INFO)
    corpus = write_tiny_corpus(tmp_path / "corpus")
    rates = {"freeze_until": {"vision_encoder": 4}, "lr_scale": {"vision_encoder": 0.5}}
    common = ["--token_list", corpus / "tokens.txt", "--output_dir", tmp_path / "exp"]

    def train(max_epoch, **changes):
        config = write_config(tmp_path / "train.yaml", max_epoch=max_epoch, keep_nbest_models=9, **{**rates, **changes})
        options = [*map(str, ["--config", config, *common]), *data_options(corpus), *shape_options(corpus)]
        avsr_train.main([*options, "--resume", "true"])

    train(1)
    train(3)  # resumed: frozen for one more epoch
    epochs = [torch.load(tmp_path / f"exp/{epoch}epoch.pth", weights_only=True) for epoch in (1, 2, 3)]
    name = "vision_encoder.projection.weight"
    assert torch.equal(epochs[0][name], epochs[1][name]) and not torch.equal(epochs[1][name], epochs[2][name])
    assert not torch.equal(epochs[0]["ctc.ctc_lo.weight"], epochs[1]["ctc.ctc_lo.weight"])
    assert "vision_encoder learns from here on, after 4 steps" in caplog.text
    with pytest.raises(ConfigError, match="other lr_scale, layer_decay or freeze_until"):
        train(4, lr_scale={"vision_encoder": 0.1})
