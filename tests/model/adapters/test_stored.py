"""Checkpoints of adapted towers: what they hold, what ESPnet's averaging makes of them, which base they accept."""

from functools import partial

import pytest
import torch
from espnet2.main_funcs.average_nbest_models import average_nbest_models
from espnet2.train.reporter import Reporter

from espnet_vivit.errors import WeightsError
from espnet_vivit.model.adapters.stored import hash_of
from tests import tiny
from tests.model.adapters.adapted import STREAM, model_on, qlora_or_skip, save_tower, step

CONFIGS = {"lora": {"type": "lora", "r": 4}, "qlora": {"type": "qlora", "r": 4}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(params=CONFIGS)
def build(request, folder):
    if request.param == "qlora":
        qlora_or_skip()
    return partial(model_on, folder, tower_adapters={"vision_encoder": CONFIGS[request.param]})


def encoded(model):
    with torch.no_grad():
        return model.eval().encode(**STREAM)[0]


def test_a_checkpoint_holds_what_was_trained_and_the_hash_of_the_base(build):
    model = build()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    buffers = {name for name, _ in model.named_buffers() if not name.startswith("vision_encoder.")}
    keys = set(model.state_dict())
    assert trained <= keys
    assert keys - trained - buffers == {"vision_encoder.vivit.adapter_base"}
    assert all(value.dtype in (torch.float32, torch.int64) for value in model.state_dict().values())


def test_a_checkpoint_loads_strictly_into_a_model_built_anew(build, tmp_path):
    trained = step(build())
    torch.save(trained.state_dict(), tmp_path / "model.pth")
    loaded = build(seed=2)
    assert not torch.equal(encoded(loaded), encoded(trained))
    loaded.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert torch.equal(encoded(loaded), encoded(trained))
    loaded.load_state_dict(loaded.state_dict())


@pytest.mark.parametrize(
    "key", ["decoder.after_norm.weight", "vision_encoder.vivit.layers.0.mlp.fc1.lora_A.default.weight"]
)
def test_only_the_base_may_be_missing(build, key):
    state = build().state_dict()
    del state[key]
    with pytest.raises(RuntimeError, match=f"Missing key.*{key}"):
        build().load_state_dict(state)
    state = build().state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*vision_encoder.vivit.other"):
        build().load_state_dict({**state, "vision_encoder.vivit.other": torch.zeros(1)})
    del state["vision_encoder.vivit.adapter_base"]
    with pytest.raises(RuntimeError, match=r"Missing key.*adapter_base"):
        build().load_state_dict(state)


def test_espnets_average_of_checkpoints_is_the_average_of_their_adapters(build, tmp_path):
    model = build()
    states = []
    for epoch in (1, 2, 3):
        states.append({name: value.clone() for name, value in step(model).state_dict().items()})
        torch.save(states[-1], tmp_path / f"{epoch}epoch.pth")
    reporter = Reporter()
    for epoch in (1, 2, 3):
        reporter.set_epoch(epoch)
        with reporter.observe("valid") as sub:
            sub.register({"acc": torch.tensor(0.5)}, 1)
            sub.next()
    average_nbest_models(
        output_dir=tmp_path, reporter=reporter, best_model_criterion=[("valid", "acc", "max")], nbest=3
    )
    averaged = build(seed=2)
    averaged.load_state_dict(torch.load(tmp_path / "valid.acc.ave_3best.pth", weights_only=True))
    found = dict(averaged.named_parameters())
    adapters = [name for name in found if "lora_" in name]
    assert adapters
    for name in adapters:
        torch.testing.assert_close(found[name].data, sum(state[name] for state in states) / 3)
    assert torch.isfinite(encoded(averaged)).all()


def test_another_base_is_an_error_that_names_it(build, tmp_path):
    state = build().state_dict()
    other = save_tower(tmp_path / "other", seed=6)
    config = {"vision_encoder": next(iter(build().tower_adapters.values()))}
    model = model_on(other, tower_adapters=config)
    with pytest.raises(WeightsError, match=r"trained on other weights than .*other holds now.*found a base with hash"):
        model.load_state_dict(state)


def test_weights_in_place_of_a_base_that_is_loaded_by_name_are_refused(build, folder):
    with pytest.raises(WeightsError, match="would not be found again for decoding"):
        build().load_state_dict(model_on(folder).state_dict(), strict=False)


def test_a_random_base_stays_in_the_checkpoint(tmp_path):
    def build(seed):
        torch.manual_seed(seed)
        conf = {**tiny.WINDOWED_VIVIT}
        return tiny.tiny_e2e("video", vision_encoder_conf=conf, tower_adapters={"vision_encoder": CONFIGS["lora"]})

    trained, loaded = step(build(0)), build(1)
    torch.save(trained.state_dict(), tmp_path / "model.pth")
    loaded.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    for name, value in trained.vision_encoder.vivit.named_parameters():
        assert torch.equal(dict(loaded.vision_encoder.vivit.named_parameters())[name], value), name
    assert torch.equal(encoded(loaded), encoded(trained))


def test_the_hash_tells_dtypes_and_shapes_of_the_same_bytes_apart():
    layers = [torch.nn.Linear(4, 2, bias=False, dtype=torch.float16), torch.nn.Linear(2, 4, bias=False).bfloat16()]
    layers += [torch.nn.Linear(4, 2, bias=False).bfloat16()]
    for layer in layers:
        torch.nn.init.zeros_(layer.weight)
    hashes = {tuple(hash_of(layer).tolist()) for layer in layers}
    assert len(hashes) == 3
