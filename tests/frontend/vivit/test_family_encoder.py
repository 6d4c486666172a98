"""Factorised ViViTs around clips of any length: windows, whole clips, contradictions, and what trains around them."""

import copy
from pathlib import Path

import pytest
import torch
import yaml

from espnet_vivit import vivit_encoder
from espnet_vivit.bin.avsr_cost import count_gmacs
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.vivit.blocks import DropPath, depth_rates
from espnet_vivit.frontend.vivit.family_encoder import FamilyEncoder
from espnet_vivit.frontend.vivit.family_weights import resize_family, save_tower
from espnet_vivit.frontend.vivit.frame_adjust import Tower, window_steps
from espnet_vivit.frontend.vivit.gaussian_pooling import GaussianPooling
from tests.tiny import CONFIG, WINDOW, gray_clip, randomize, raw_clip

SIZES = {name: CONFIG[name] for name in ("image_size", "tubelet_size", "hidden_size", "num_attention_heads")}
SIZES |= {"intermediate_size": 32, "num_hidden_layers": 2}
WINDOWS = {"frame_adjust": "window", "num_frames": WINDOW, "window_overlap": 4, "temporal_positions": "learned"}
EVERY = pytest.mark.parametrize(
    "attention", ["factorised_encoder", "factorised_self_attention", "factorised_dot_product", "causal"]
)


def family(attention: str, **options) -> FamilyEncoder:
    config = {**SIZES, **options.pop("config", {})}
    encoder = vivit_encoder(pretrained=False, config=config, attention=attention, **options)
    assert isinstance(encoder, FamilyEncoder)
    return randomize(encoder).eval()


def whole(attention: str, **options) -> FamilyEncoder:
    return family(attention, temporal_positions="rope", **options)


# from frames to steps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [5, 8, 23, 75])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_shared_spatial_stage_gives_the_bits_of_windows_computed_apart(frames, pooling):
    encoder = family("factorised_encoder", **WINDOWS, temporal_pooling=pooling)
    clip = raw_clip(frames)[None, None]
    count = max(1, frames // 2)
    tower = Tower(encoder._encode, lambda steps: steps[:, None], WINDOW, None)
    with torch.no_grad():
        apart = window_steps(clip, [frames], [count], tower, overlap=4)[:, :, 0]
        assert torch.equal(encoder(clip[:, 0]), apart)


@EVERY
def test_a_clip_of_5000_frames_goes_through_whole(attention):
    """How many steps of the spatial stage are computed at a time does not change the answer."""
    encoder = whole(attention, left_context=4) if attention == "causal" else whole(attention)
    clip = raw_clip(5000)[None]
    with torch.no_grad():
        features = encoder(clip)
        assert features.shape == (1, 2500, 16) and features.isfinite().all()
        encoder.max_windows = 1
        torch.testing.assert_close(encoder(clip), features, atol=1e-5, rtol=0)


@EVERY
def test_the_order_of_the_steps_matters(attention):
    """The seeds' Model 3 knew no time: reversing a clip's steps only reversed its features."""
    encoder = whole(attention)
    clip = gray_clip(12)
    reverse = clip.unflatten(0, (6, 2)).flip(0).flatten(0, 1)
    with torch.no_grad():
        forwards, backwards = encoder(clip[None])[0], encoder(reverse[None])[0].flip(0)
    assert (forwards - backwards).abs().max() > 1e-2


@EVERY
def test_padding_is_kept_out_of_attention_in_time(attention, monkeypatch):
    """Zeros would be keys like others: with a mask that lets them in, the padded clip changes."""
    encoder = whole(attention)
    clip = gray_clip(6)
    batch = torch.zeros(2, 12, 16, 16)
    batch[0, :6], batch[1] = clip, gray_clip(12)
    with torch.no_grad():
        alone = encoder(clip[None])[0]
        padded, _ = encoder(batch, torch.tensor([6, 12]))
        torch.testing.assert_close(padded[0, :3], alone, atol=1e-5, rtol=1e-5)
        if attention != "causal":  # which never looks at what comes behind
            layout = "espnet_vivit.frontend.vivit.step_layout.StepLayout.key_mask"
            monkeypatch.setattr(layout, lambda self, tracks=1: None)
            leaked, _ = encoder(batch, torch.tensor([6, 12]))
            assert (leaked[0, :3] - alone).abs().max() > 1e-3


def test_places_of_their_own_differ_from_pooled_steps():
    steps, places = whole("causal"), whole("causal", temporal_tokens="places")
    places.load_state_dict(steps.state_dict())
    clip = gray_clip(8)[None]
    with torch.no_grad():
        assert (steps(clip) - places(clip)).abs().max() > 1e-2


def test_tubelets_of_one_frame_need_no_upsampling():
    encoder = whole("causal", config={"tubelet_size": [1, 8, 8]}, feature_rate="frame")
    assert encoder.upsample is None
    with torch.no_grad():
        assert encoder(gray_clip(7)[None]).shape == (1, 7, 16)
    with pytest.raises(ConfigError, match="feature_rate: frame"):
        whole("causal", config={"tubelet_size": [1, 8, 8]})


def test_overlapping_tubelets_look_at_frames_before_their_step_alone():
    encoder = whole("causal", config={"tubelet_size": [4, 8, 8], "tubelet_stride": [2, 4, 4]}, left_context=0)
    assert encoder.vivit.config.grid == (3, 3)
    clip = gray_clip(12)[None]
    with torch.no_grad():
        before = encoder(clip)[0]
        clip[:, 4] += 1  # in the tubelets of steps 2 (frames 2..5) and 3 (frames 4..7)
        changed = ((encoder(clip)[0] - before).abs().amax(1) > 1e-6).nonzero().flatten().tolist()
    assert changed == [2, 3]


def test_gray_uint8_is_normalised_rgb():
    encoder = whole("factorised_dot_product")
    clip = raw_clip(6)
    rgb = (clip / 127.5 - 1)[None, None].expand(1, 3, -1, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(clip[None]), encoder(rgb), atol=1e-5, rtol=1e-5)


# pooling --------------------------------------------------------------------------------------------------------------


def test_one_broad_gaussian_is_the_mean():
    pooling = GaussianPooling(8, (3, 4), masks=1)
    with torch.no_grad():
        pooling.std.fill_(1e4)
    places = torch.randn(5, 12, 8)
    torch.testing.assert_close(pooling(places), places.mean(1), atol=1e-6, rtol=0)


def test_a_centre_cannot_leave_the_picture():
    pooling = GaussianPooling(8, (3, 4), masks=2)
    with torch.no_grad():
        pooling.mean.fill_(1e3)
        pooling.std.fill_(0.2)
    masks = pooling.masks()
    torch.testing.assert_close(masks.sum((1, 2)), torch.ones(2))
    assert (masks[:, -1, -1] > 0.99).all()


def test_widths_follow_the_grid_to_another_picture_size():
    encoder = whole("causal", temporal_pooling="gaussian")
    std = encoder.vivit.pooling.gaussian.std.detach().clone()
    resized = resize_family(copy.deepcopy(encoder.vivit), image_size=32, num_frames=None)
    torch.testing.assert_close(resized.pooling.gaussian.std, 2 * std)
    assert resized.embeddings.position_embeddings.shape == (1, 16, 16)


# training -------------------------------------------------------------------------------------------------------------


def test_drop_path_is_per_clip_and_linear_in_depth():
    assert depth_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    drop = DropPath(0.5).train()
    branch, clip_of_row = torch.ones(6, 2, 3), torch.tensor([0, 0, 0, 1, 1, 1])
    patterns = {tuple(drop(branch, clip_of_row, 2)[:, 0, 0].tolist()) for _ in range(60)}
    assert patterns == {(a, a, a, b, b, b) for a in (0.0, 2.0) for b in (0.0, 2.0)}
    assert torch.equal(drop.eval()(branch, clip_of_row, 2), branch)


def test_in_training_a_clip_is_dropped_as_a_whole_whatever_bounds_a_pass():
    encoder = whole("causal", drop_path=0.9, max_windows=1, temporal_layers=1).train()
    clip = gray_clip(2).repeat(100, 1, 1)  # 100 equal steps: in more than one pass of inference
    patterns = []
    encoder.vivit.layers[1].drop_path.register_forward_hook(lambda _, __, output: patterns.append(output))
    with torch.no_grad():
        for _ in range(4):
            encoder(clip[None])
    assert all((kept == kept[:1]).all() for kept in patterns) and len(patterns) == 8


@EVERY
def test_each_rate_changes_training_alone(attention):
    clip = gray_clip(8)[None]
    for option in ("drop_path", "attention_dropout", "mlp_dropout", "patch_dropout"):
        plain, dropping = (whole(attention, **extra) for extra in ({}, {option: 0.5}))
        dropping.load_state_dict(plain.state_dict())
        with torch.no_grad():
            assert torch.equal(plain(clip), dropping(clip)), option
            torch.manual_seed(1)
            assert any((dropping.train()(clip) - plain(clip)).abs().max() > 1e-3 for _ in range(8)), option


@EVERY
def test_recomputed_blocks_give_the_same_gradients(attention):
    kept, recomputing = (whole(attention, gradient_checkpointing=on).train() for on in (False, True))
    recomputing.load_state_dict(kept.state_dict())
    clip = gray_clip(8)[None]
    for encoder in (kept, recomputing):
        encoder(clip).square().mean().backward()
    for (name, one), (_, other) in zip(kept.named_parameters(), recomputing.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_a_frozen_tower_keeps_features_and_its_fingerprint_knows_the_options(tmp_path):
    clips = gray_clip(8)[None]
    options = {"frozen": True, "feature_cache": str(tmp_path)}
    torch.manual_seed(3)
    first = whole("causal", left_context=1, **options)
    expected = first(clips)
    assert torch.equal(first(clips), expected) and first.feature_cache.hits == 1
    for change in ({"left_context": 0}, {"left_context": 1, "rope_base": 100.0}):
        other = whole("causal", **change, **options)
        other.load_state_dict(first.state_dict())
        found = other(clips)
        assert other.feature_cache.misses == 1
        assert (found - expected).abs().max() > 1e-4


EXPORTED = {
    "causal, whole": lambda: whole("causal", left_context=3),
    "factorised encoder, whole": lambda: whole("factorised_encoder"),
    "dot product, window": lambda: family("factorised_dot_product", **WINDOWS),
    "self-attention, whole": lambda: whole("factorised_self_attention"),
    "factorised encoder, window": lambda: family("factorised_encoder", **WINDOWS),
}


@pytest.mark.parametrize(
    "variant", [*list(EXPORTED)[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in list(EXPORTED)[1:])]
)
def test_exported_it_gives_the_same_for_other_lengths(variant):
    encoder = EXPORTED[variant]()
    lengths = torch.tensor([19, 12])
    video = torch.randint(0, 256, (2, 19, 16, 16), dtype=torch.uint8)
    shapes = {
        "video": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},
        "lengths": {0: torch.export.Dim.DYNAMIC},
    }
    program = torch.export.export(encoder, (video, lengths), dynamic_shapes=shapes, strict=False).module()
    other = torch.randint(0, 256, (3, 31, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        for batch, frames in ((video, lengths), (other, torch.tensor([31, 2, 17]))):
            expected, counts = encoder(batch, frames)
            found, steps = program(batch, frames)
            assert steps.tolist() == counts.tolist()
            torch.testing.assert_close(found[:, : expected.size(1)], expected, atol=2e-5, rtol=1e-4)


# contradictions -------------------------------------------------------------------------------------------------------

CONTRADICTIONS = {
    "odd heads": (dict(attention="factorised_dot_product", config={"num_attention_heads": 1}), "even"),
    "cls without a token": (dict(attention="factorised_self_attention", temporal_pooling="cls"), "no token"),
    "a bound that nothing needs": (dict(attention="factorised_encoder", left_context=3), "left_context"),
    "long tubelets": (dict(attention="causal", config={"tubelet_size": [4, 8, 8]}), "40 or 80 ms"),
    "windows of rotary time": (dict(attention="causal", frame_adjust="window"), "whole"),
    "whole clips of learned time": (dict(attention="factorised_dot_product", frame_adjust="whole"), "window"),
    "a window's length": (dict(attention="causal", num_frames=32), "num_frames"),
    "learned causal time": (dict(attention="causal", temporal_positions="learned"), "rotary"),
    "registers without a home": (dict(attention="factorised_dot_product", registers=2), "registers"),
    "two poolings": (dict(attention="causal", temporal_pooling="max", spatial_pooling="mean"), "twice"),
    "patches beyond the border": (dict(attention="causal", image_size=20, config={}), "tile"),
    "a gap between tubelets": (dict(attention="causal", tubelet_stride=[2, 9, 9]), "skipped"),
    "a joint option": (dict(attention="joint", drop_path=0.1), "joint"),
    "an unknown attention": (dict(attention="factorized_encoder"), "factorised_encoder"),
    "a misspelt field": (dict(attention="causal", config={"hiden_size": 3}), "hidden_size"),
    "masks over dropped places": (
        dict(attention="causal", temporal_pooling="gaussian", patch_dropout=0.5),
        "gaussian",
    ),
    "the convolutional stem": (dict(attention="causal", stem="conv"), "stem"),
    "an overlap of no windows": (dict(attention="causal", window_overlap=4), "window_overlap"),
    "eager attention": (dict(attention="causal", attn_implementation="eager"), "sdpa"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_contradiction_is_named(what):
    options, words = copy.deepcopy(CONTRADICTIONS[what])
    sizes = {name: value for name, value in SIZES.items() if name != "image_size" or "image_size" not in options}
    config = {**sizes, **options.pop("config", {})}
    with pytest.raises(ConfigError, match=words):
        vivit_encoder(pretrained=False, config=config, **options)


def test_a_frozen_tower_has_no_masks_that_nobody_has_trained(tmp_path):
    """Beside weights without masks they would stay random; those of a folder of ours have been trained."""
    for pooling in ("mean", "gaussian"):
        save_tower(whole("causal", temporal_pooling=pooling).vivit, tmp_path / pooling)
    with pytest.raises(ConfigError, match="masks of gaussian pooling are new"):
        vivit_encoder(str(tmp_path / "mean"), temporal_pooling="gaussian", frozen=True)
    assert vivit_encoder(str(tmp_path / "mean"), temporal_pooling="gaussian").vivit.config.pooling == "gaussian"
    assert vivit_encoder(str(tmp_path / "gaussian"), frozen=True).frozen


def test_no_pretrained_causal_vivit_is_promised():
    with pytest.raises(ConfigError, match="image_weights"):
        vivit_encoder(attention="causal")


def test_vivit_ti_with_three_heads_is_told_what_to_do():
    with pytest.raises(ConfigError, match="num_attention_heads: 4"):
        vivit_encoder("vivit-ti-16x2", pretrained=False, image_size=96, attention="factorised_dot_product")


# presets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters"), [("vivit-small", 4.8e6), ("vivit-baseline", 28.4e6)])
def test_the_presets_have_the_size_of_the_seeds(name, parameters):
    encoder = vivit_encoder(name, pretrained=False, image_size=96)
    assert sum(p.numel() for p in encoder.vivit.parameters()) == pytest.approx(parameters, rel=5e-3)
    assert encoder.vivit.config.causal and encoder.frame_adjust == "whole"


def test_a_towers_configuration_builds_it_again():
    """As a trained model's config.yaml holds it."""
    options = {"attention": "causal", "left_context": 3, "temporal_pooling": "gaussian", "drop_path": 0.1}
    encoder = family(config={}, **options)
    again = vivit_encoder(pretrained=False, config=encoder.vivit.config.to_diff_dict(), **options)
    again.load_state_dict(encoder.state_dict())
    assert again.vivit.config == encoder.vivit.config


# what joint attention has, too ----------------------------------------------------------------------------------------

EITHER = {**EXPORTED, "self-attention, window": lambda: family("factorised_self_attention", **WINDOWS)}


@pytest.mark.parametrize(
    "variant", [*list(EITHER)[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in list(EITHER)[1:])]
)
def test_compiled_as_one_graph_it_answers_as_before(variant):
    torch._dynamo.reset()  # it counts the compilations of all tests together
    encoder = EITHER[variant]()
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    for frames in ((19, 12), (31, 2)):
        video, lengths = torch.stack([raw_clip(max(frames)) for _ in frames]), torch.tensor(frames)
        expected, counts = encoder(video, lengths)
        found, steps = compiled(video, lengths)
        assert steps.tolist() == counts.tolist()
        torch.testing.assert_close(found[:, : expected.size(1)], expected, atol=2e-5, rtol=1e-4)


@EVERY
def test_what_belongs_to_joint_attention_alone_is_refused_by_name(attention):
    encoder = whole(attention)
    with pytest.raises(ConfigError, match=attention):
        encoder.pack_weights()
    with pytest.raises(ConfigError, match=r"torch\.compile"):
        encoder.compile_tower()


@EVERY
def test_every_variant_has_its_features_in_the_cache(attention, tmp_path):
    clips, lengths = torch.stack([raw_clip(9), raw_clip(9)]), torch.tensor([9, 4])
    encoder = whole(attention, frozen=True, feature_cache=str(tmp_path))
    first, _ = encoder(clips, lengths)
    again = whole(attention, frozen=True, feature_cache=str(tmp_path))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(clips, lengths)[0], first)
    assert (encoder.feature_cache.misses, again.feature_cache.hits) == (2, 2)


# cost -----------------------------------------------------------------------------------------------------------------


def gmacs_per_frame(encoder, pixels: int, frames: int = 100) -> float:
    clip, lengths = torch.zeros(1, frames, pixels, pixels, dtype=torch.uint8), torch.tensor([frames])
    with torch.no_grad():
        return count_gmacs(lambda: encoder.eval()(clip, lengths))["Global"] / frames


@pytest.mark.parametrize("name", ["train_avsr_vivit_factorised", "train_avsr_vivit_causal"])
def test_the_configurations_from_scratch_cost_at_most_half_more_than_a_resnet(name):
    text = (Path(__file__).resolve().parents[3] / f"conf/{name}.yaml").read_text()
    conf = yaml.safe_load(text)["vision_encoder_conf"]
    encoder, resnet = vivit_encoder(**conf), gmacs_per_frame(ResNetFrontend(), 88)
    assert encoder.vivit.config.tubelet_size == (2, 8, 8) and resnet == pytest.approx(0.316, abs=1e-3)
    cost = gmacs_per_frame(encoder, 96)
    assert cost <= 1.5 * resnet and f"{cost:.2f} billion" in text
