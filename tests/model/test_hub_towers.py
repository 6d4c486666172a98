"""Towers of the hub in a whole model: adapters train, less precision, recomputation and all loaders hold for each."""

import json

import pytest
import torch
import yaml

from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.model.adapters.report import count_parameters
from espnet_vivit.tasks.training.recompute import checkpoint_towers
from tests.frontend.hub import towers
from tests.tiny import tiny_e2e

VISION, AUDIO = (*towers.PICTURES, *towers.VIDEOS), ("whisper", *towers.WAVEFORMS)
QUICK = ("dinov2", "videomae", "whisper", "wavlm")  # one of each way through; the others take their time
EVERY_KIND = pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in (*VISION, *AUDIO)]
)
FRAMES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(kind): where a small random tower of it is saved."""
    root, known = tmp_path_factory.mktemp("towers"), {}

    def saved(kind):
        if kind not in known:
            torch.manual_seed(5)
            known[kind] = towers.save(towers.library_tower(kind), root / kind)
        return known[kind]

    return saved


def part_of(kind):
    return "vision_encoder" if kind in VISION else "audio_encoder"


def model_of(kind, folder, *, conf=None, **options):
    part = part_of(kind)
    parts = {"vision_encoder": None, "audio_encoder": None, part: "huggingface"}
    conf = {"model_name": folder(kind), "output_dim": 8, **(conf or {})}
    torch.manual_seed(3)
    return tiny_e2e("video" if part == "vision_encoder" else "audio", **parts, **{f"{part}_conf": conf}, **options)


def stream_of(kind):
    torch.manual_seed(4)
    batch = {"text": torch.tensor([[1, 2], [3, -1]]), "text_lengths": torch.tensor([2, 1])}
    if kind in VISION:
        video = torch.randint(0, 256, (2, FRAMES, towers.PIXELS, towers.PIXELS), dtype=torch.uint8)
        return {"video": video, "video_lengths": torch.tensor([FRAMES, FRAMES - 1]), **batch}
    speech = torch.randn(2, 640 * FRAMES)
    return {"speech": speech, "speech_lengths": torch.tensor([640 * FRAMES, 640 * (FRAMES - 1)]), **batch}


def encoded(model, kind):
    stream = {name: value for name, value in stream_of(kind).items() if not name.startswith("text")}
    with torch.no_grad():
        return model.eval().encode(**stream, utt_id=None)[0]


def step(model, kind):
    """One step of training."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()(**stream_of(kind))[0].backward()
    optimizer.step()


@pytest.mark.parametrize("adapters", ["lora", "qlora"])
@EVERY_KIND
def test_adapters_train_all_of_them_and_the_base_stays(kind, adapters, folder):
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")
    model = model_of(kind, folder, tower_adapters={part_of(kind): {"type": adapters, "r": 2}})
    tower = getattr(model, part_of(kind)).tower
    before = {name: parameter.detach().clone() for name, parameter in tower.named_parameters()}
    step(model, kind)  # at first of B alone, as they start at zero
    step(model, kind)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in before if "lora_" in name}
    assert count_parameters(tower)[0] == sum(before[name].numel() for name in trained) > 0
    unchanged = [name for name, parameter in tower.named_parameters() if torch.equal(parameter, before[name])]
    assert sorted(unchanged) == sorted(before.keys() - trained)


@EVERY_KIND
def test_a_frozen_tower_keeps_its_weights_and_what_stands_behind_it_trains(kind, folder):
    model = model_of(kind, folder, conf={"frozen": True})
    encoder = getattr(model, part_of(kind))
    before = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    step(model, kind)
    changed = {name for name, parameter in encoder.named_parameters() if not torch.equal(parameter, before[name])}
    assert {"projection.weight", "projection.bias"} <= changed
    assert not any(name.startswith("tower.") for name in changed) and not encoder.tower.training


@EVERY_KIND
def test_recomputed_layers_give_the_same_gradients(kind, folder):
    found = []
    for names in (None, [part_of(kind)]):
        model = model_of(kind, folder)
        assert checkpoint_towers(model.towers(), names) >= (0 if names is None else 2)
        torch.manual_seed(1)
        model.train()(**stream_of(kind))[0].backward()
        tower = getattr(model, part_of(kind)).tower
        found.append({name: parameter.grad for name, parameter in tower.named_parameters()})
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)


@EVERY_KIND
def test_in_bfloat16_a_model_computes_and_trains(kind, folder):
    exact, rounded = encoded(model_of(kind, folder), kind), model_of(kind, folder, amp_dtype="bfloat16")
    states = encoded(rounded, kind)
    assert states.dtype == torch.float32 and not torch.equal(states, exact)
    torch.testing.assert_close(states, exact, atol=0.5, rtol=0.1)
    step(rounded, kind)
    assert all(torch.isfinite(parameter).all() for parameter in rounded.parameters())


@EVERY_KIND
def test_a_trained_model_is_built_again_from_its_noted_sizes(kind, folder, tmp_path):
    """What config.yaml and a package hold: no checkpoint, as it would have been read from YAML."""
    model = model_of(kind, folder)
    noted = getattr(model, part_of(kind)).tower.config.to_diff_dict()
    noted = yaml.safe_load(yaml.safe_dump(noted))
    again = model_of(kind, folder, conf={"model_name": None, "pretrained": False, "config": noted})
    again.load_state_dict(model.state_dict())
    assert torch.equal(encoded(model, kind), encoded(again, kind))


@EVERY_KIND
def test_layer_counts_from_either_end_and_what_is_left_out_is_not_built(kind, folder):
    model = model_of(kind, folder, conf={"layer": 1, "output_dim": None}).eval()
    encoder = getattr(model, part_of(kind))
    again = model_of(kind, folder, conf={"layer": -2, "output_dim": None}).eval()
    assert torch.equal(encoded(model, kind), encoded(again, kind))
    assert sum(count_parameters(encoder)) < sum(count_parameters(getattr(model_of(kind, folder), part_of(kind))))
    for layer in (0, 3, -3):
        with pytest.raises(ConfigError, match="layer is not one of the tower's"):
            model_of(kind, folder, conf={"layer": layer})


def test_adapters_on_another_checkpoint_are_an_error(folder, tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    adapters = {"vision_encoder": {"type": "lora", "r": 2}}
    model = model_of("dinov2", folder, tower_adapters=adapters)
    torch.manual_seed(99)
    other = towers.save(towers.library_tower("dinov2"), tmp_path / "other")
    another = model_of("dinov2", lambda kind: other, tower_adapters=adapters)
    with pytest.raises(WeightsError, match=r"on other weights than .*other holds now.*vision_encoder_conf"):
        another.load_state_dict(model.state_dict())


@pytest.mark.parametrize(("kind", "layer"), [("wavlm", "q_proj"), ("siglip_vision_model", "head.attention.out_proj")])
def test_adapters_on_layers_that_are_not_called_are_an_error(kind, layer, folder):
    """Their weights are read by a function of torch, which would never see an adapter."""
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    conf = {"pooling": "attention"} if kind in VISION else {}
    adapters = {part_of(kind): {"type": "lora", "target_modules": [layer]}}
    with pytest.raises(ConfigError, match="name no layer of it"):
        model_of(kind, folder, conf=conf, tower_adapters=adapters)


def test_a_base_in_a_preprocessing_that_cannot_be_read_is_an_error(folder, tmp_path):
    torch.manual_seed(5)
    damaged = towers.save(towers.library_tower("vit"), tmp_path / "damaged")
    (tmp_path / "damaged" / "preprocessor_config.json").write_text(json.dumps({})[:-1])
    with pytest.raises(WeightsError, match=r"preprocessor_config.json cannot be read"):
        model_of("vit", lambda kind: damaged)
