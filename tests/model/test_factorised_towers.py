"""A factorised ViViT inside the whole model: training, adapters, recomputation, rates by depth, and loading again."""

import pytest
import torch

from espnet_vivit.model.adapters.attach import target_names
from espnet_vivit.model.adapters.config import AdapterConfig
from espnet_vivit.model.options import weight_sources
from espnet_vivit.release.pack import packed_config
from espnet_vivit.tasks.optim.optimizer import Rates, parameter_groups
from espnet_vivit.tasks.training.recompute import checkpoint_towers
from tests import tiny
from tests.tiny import CONFIG, gray_clip

SIZES = {name: CONFIG[name] for name in ("image_size", "tubelet_size", "hidden_size", "num_attention_heads")}
SIZES |= {"intermediate_size": 32, "num_hidden_layers": 2}
CAUSAL = {"pretrained": False, "config": SIZES, "attention": "causal", "temporal_layers": 2, "left_context": 4}
SELF_ATTENTION = {"pretrained": False, "config": SIZES, "attention": "factorised_self_attention"}
SELF_ATTENTION |= {"num_frames": 8, "frame_adjust": "window", "window_overlap": 4}
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2")
ENCODER = {"pretrained": False, "config": SIZES, "attention": "factorised_encoder", "temporal_layers": 2}
DOT_PRODUCT = {**SELF_ATTENTION, "attention": "factorised_dot_product"}
BLOCKS = {"causal": 4, "factorised_encoder": 4, "factorised_self_attention": 2, "factorised_dot_product": 2}
VARIANTS = [CAUSAL, ENCODER, SELF_ATTENTION, DOT_PRODUCT]
EVERY = pytest.mark.parametrize("conf", VARIANTS, ids=lambda conf: conf["attention"])


def model_with(conf: dict, **options):
    torch.manual_seed(0)
    return tiny.tiny_e2e("video", vision_encoder_conf=conf, **options)


def batch() -> dict:
    video = torch.stack([gray_clip(24), gray_clip(24)])
    text = torch.tensor([[1, 2], [3, -1]])
    return {
        "video": video,
        "video_lengths": torch.tensor([24, 17]),
        "text": text,
        "text_lengths": torch.tensor([2, 1]),
    }


def gradients_of(model) -> dict:
    torch.manual_seed(1)
    loss, _, _ = model.train()(**batch())
    loss.sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if name.startswith("vision_encoder")}


@EVERY
def test_a_step_of_training_reaches_every_weight_of_the_tower(conf):
    for name, gradient in gradients_of(model_with(conf)).items():
        assert gradient is not None and gradient.isfinite().all() and gradient.any(), name


@EVERY
def test_recomputing_all_blocks_changes_no_gradient(conf):
    kept, recomputing = model_with(conf), model_with(conf)
    blocks = checkpoint_towers(recomputing.towers(), ["vision_encoder"])
    assert blocks == BLOCKS[conf["attention"]]
    expected = gradients_of(kept)
    runs = []
    vivit = recomputing.vision_encoder.vivit
    last = vivit.temporal.layers[1] if "temporal_layers" in conf else vivit.layers[1]
    last.mlp.fc1.register_forward_pre_hook(lambda *_: runs.append(1))
    for name, gradient in gradients_of(recomputing).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    assert len(runs) >= 2


@EVERY
def test_adapters_find_every_linear_layer_of_every_block(conf):
    vivit = model_with(conf).vision_encoder.vivit
    names = target_names("vision_encoder", vivit, AdapterConfig(type="lora"))
    blocks = {name.rsplit(".", 2)[0] for name in names}
    assert {name.rsplit(".", 1)[1] for name in names} == set(LAYERS)
    of_block = 10 if conf is SELF_ATTENTION else 6  # it has two attentions
    assert len(blocks) == BLOCKS[conf["attention"]] and len(names) == of_block * len(blocks)


@EVERY
def test_an_adapted_tower_starts_as_it_was_and_only_the_adapters_train(conf):
    pytest.importorskip("peft")
    plain, adapted = model_with(conf), model_with(conf, tower_adapters={"vision_encoder": {"type": "lora", "r": 2}})
    stream = {name: batch()[name] for name in ("video", "video_lengths")}
    with torch.no_grad():
        torch.testing.assert_close(adapted.eval().encode(**stream)[0], plain.eval().encode(**stream)[0])
    trained = {name for name, gradient in gradients_of(adapted).items() if gradient is not None}
    assert trained and all("lora_" in name or ".vivit." not in name for name in trained)


def test_the_layers_over_time_come_after_those_over_space_in_layer_decay():
    model = model_with(CAUSAL)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, Rates(layer_decay={"vision_encoder": 0.5}))
    scale = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    vivit = "vision_encoder.vivit"
    assert scale[f"{vivit}.embeddings.position_embeddings"] == 0.5**5
    assert scale[f"{vivit}.layers.0.mlp.fc1.weight"] == 0.5**4
    assert scale[f"{vivit}.temporal.layers.0.mlp.fc1.weight"] == 0.5**2
    assert scale[f"{vivit}.temporal.layernorm.weight"] == 1.0


@EVERY
def test_a_package_builds_the_tower_without_its_sources(conf):
    tower = model_with(conf).vision_encoder.vivit.config.to_diff_dict()
    trained = {"vision_encoder": "vivit", "vision_tower": tower}
    options = {name: value for name, value in conf.items() if name not in ("pretrained", "config")}
    trained["vision_encoder_conf"] = {**options, "weights": "elsewhere/checkpoint"}
    if conf is CAUSAL:
        trained["vision_encoder_conf"] = {**options, "image_weights": "elsewhere/vit", "kernel_init": "average"}
    again = packed_config(trained)["vision_encoder_conf"]
    assert not {"weights", "image_weights", "kernel_init"} & again.keys()
    model = model_with(again)
    assert model.vision_encoder.vivit.config.to_diff_dict() == tower


def test_what_an_image_does_not_give_could_not_be_loaded_again():
    assert weight_sources(vision_encoder=("vivit", {"weights": "fe/checkpoint"})) == {"vision_encoder": "fe/checkpoint"}
    assert weight_sources(vision_encoder=("vivit", {"weights": "fe/checkpoint", "temporal_pooling": "gaussian"})) == {}
    assert weight_sources(vision_encoder=("vivit", {"image_weights": "google/vit-base-patch16-224"})) == {}
