"""Lightning's module has the optimizer, the epochs and the clips to join that our trainer has under ESPnet2."""

import numpy as np
import pytest
import torch

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.arguments import training_arguments
from espnet_vivit.tasks.espnet3.module import AVSRModule
from espnet_vivit.tasks.optim.muon import Muon, hidden_matrices
from tests.tasks.espnet3.training import corpus_with_shapes, sections, training_config


@pytest.fixture
def build(tmp_path):
    corpus = corpus_with_shapes(tmp_path)

    def module(augmentation=None, **changes) -> AVSRModule:
        if augmentation is not None:
            dataset = sections(tmp_path, corpus)["dataset"]
            changes["dataset"] = {**dataset, "preprocessor": {**dataset["preprocessor"], "augmentation": augmentation}}
        if "model" in changes:
            changes["model"] = {**sections(tmp_path, corpus)["model"], **changes["model"]}
        config = training_config(tmp_path, corpus, **changes)
        args = training_arguments(config)
        return AVSRModule(AVSRTask.build_model(args), config, args)

    return module


def test_muon_learns_the_hidden_matrices_and_adamw_the_rest(build):
    module = build()
    optimizer = module.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, Muon)
    learnt = {id(p) for group in optimizer.param_groups if group["method"] == "muon" for p in group["params"]}
    assert learnt == {id(p) for p in hidden_matrices(module.model).values()} and learnt
    every = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert every == {id(p) for p in module.model.parameters()}


def test_a_part_has_the_share_of_the_rate_that_lr_scale_says_and_the_schedule_goes_for_both(build):
    adamw = {"_target_": "torch.optim.AdamW", "lr": 0.001, "weight_decay": 0.01}
    module = build(optimizer=adamw, lr_scale={"encoder": 0.5})
    built = module.configure_optimizers()
    scheduler = built["lr_scheduler"]["scheduler"]
    assert built["lr_scheduler"]["interval"] == "step" and scheduler.optimizer is built["optimizer"]
    by_part = {group["name"]: group for group in built["optimizer"].param_groups}
    assert by_part["encoder"]["lr"] == pytest.approx(0.5 * by_part["all else"]["lr"]) and by_part["all else"]["lr"] > 0
    assert {id(p) for p in by_part["encoder"]["params"]} == {id(p) for p in module.model.encoder.parameters()}


def test_a_frozen_tower_is_held_and_not_learnt(build):
    module = build(model={"freeze_param": ["encoder"]})
    learnt = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert not learnt & {id(p) for p in module.model.encoder.parameters()}
    assert "encoder" in module.model.held_towers


def test_a_misspelt_part_to_freeze_is_refused(build):
    with pytest.raises(ConfigError, match="Did you mean 'encoder'"):
        build(model={"freeze_param": ["encodre"]}).configure_optimizers()


def test_what_is_scheduled_by_epoch_follows_it(build):
    module = build({"flip_prob": {1: 0.0, 3: 1.0}}, model={"modality_dropout": {"video": {1: 0.0, 3: 0.8}}})
    (preprocessor,) = module._preprocessors()
    module.config.num_device = 1
    for done, share in ((0, 0.0), (1, 0.5), (2, 1.0)):
        module.trainer_epochs_done = done
        type(module).current_epoch = property(lambda self: self.trainer_epochs_done)
        try:
            module.train_dataloader()
            module.on_train_epoch_start()
        finally:
            del type(module).current_epoch
        assert preprocessor.now.flip_prob == pytest.approx(share)
        assert module.model.modality_dropout.video == pytest.approx(0.8 * share)


def test_join_prob_finds_the_clip_that_follows(build):
    module = build({"join_prob": 1.0, "flip_prob": 0.0, "time_masks_per_s": 0.0})
    module.train_dataset.use_espnet_collator = True
    raw = module.train_dataset.datasets[0]
    np.random.seed(0)
    utt_id, joined = module.train_dataset[raw.utt_ids[0]]
    alone = raw[utt_id]
    others = {len(raw[other]["video"]) for other in raw}
    assert len(joined["video"]) - len(alone["video"]) in others and len(joined["text"]) == 4


def test_an_error_in_a_batch_names_its_clips(build):
    module = build()
    module.train_dataset.use_espnet_collator = True
    utt_ids, batch = module.collate_fn([module.train_dataset[utt_id] for utt_id in ("s0-train0", "s1-train1")])
    batch["speech"] = batch["speech"][:, :8000]  # half a second of sound for a second of video
    batch["speech_lengths"] = torch.full_like(batch["speech_lengths"], 8000)
    with pytest.raises(ValueError, match="s0-train0"):
        module.training_step((utt_ids, batch), 0)
