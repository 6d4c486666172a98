"""A model over a clip that arrives in pieces: the states of the whole clip, whatever the pieces."""

import random

import pytest
import torch

from espnet_vivit.decode.model_stream import ModelStream
from espnet_vivit.errors import ConfigError, InputError
from tests.tiny import CONFIG, CONFORMER, PIXELS, randomize, raw_clip, tiny_e2e

CHUNKED = {**CONFORMER, "chunk_steps": [0, 4], "left_steps": 8}
FAMILY = {name: CONFIG[name] for name in ("image_size", "tubelet_size", "hidden_size", "num_attention_heads")}
FAMILY |= {"intermediate_size": 32, "num_hidden_layers": 1, "temporal_layers": 1}
CAUSAL = {"pretrained": False, "config": FAMILY, "attention": "causal", "left_context": 3}
VIVIT = {"vision_encoder": "vivit", "vision_encoder_conf": CAUSAL}
LINEAR = {"vision_encoder": "linear", "vision_encoder_conf": {"image_size": PIXELS, "output_dim": 8}}
RESNET = {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 2}}
LOGMEL = {"audio_encoder": "logmel", "audio_encoder_conf": {"channels": 2, "waveform_normalization": "running"}}
RESNET1D = {"audio_encoder": "resnet1d", "audio_encoder_conf": {"channels": 2, "waveform_normalization": "running"}}
MODELS = {
    "vivit": ("video", VIVIT, {}),
    "vivit-tubelet": ("video", VIVIT, {"feature_rate": "tubelet"}),
    "linear": ("video", LINEAR, {}),
    "resnet": ("video", RESNET, {}),
    "logmel": ("audio", LOGMEL, {}),
    "resnet1d-tubelet": ("audio", RESNET1D, {"feature_rate": "tubelet"}),
    "vivit-logmel": ("multimodal", VIVIT | LOGMEL, {}),
    "vivit-resnet1d-tubelet": ("multimodal", VIVIT | RESNET1D, {"feature_rate": "tubelet", "fusion": "gated"}),
    "linear-logmel-mlp": ("multimodal", LINEAR | LOGMEL, {"fusion": "mlp"}),
}
TOLERANCE = dict(atol=1e-5, rtol=1e-5)


def model_of(name, **options):
    modality, parts, more = MODELS[name]
    torch.manual_seed(0)
    options = {"encoder_conf": CHUNKED, **parts, **more, **options}
    return randomize(tiny_e2e(modality, **options), std=0.2).eval()


def clip_of(modality, frames, over=0):
    clip = {}
    if modality != "audio":
        clip["frames"] = raw_clip(frames)
    if modality != "video":
        clip["samples"] = torch.randn(frames * 640 + over)
    return clip


def encode(model, clip):
    batch = {}
    for name, stream in (("video", clip.get("frames")), ("speech", clip.get("samples"))):
        if stream is not None:
            batch[name], batch[f"{name}_lengths"] = stream[None], torch.tensor([len(stream)])
    with torch.no_grad():
        return model.encode(**batch)[0][0]


def in_pieces(stream, clip, rng):
    """Each stream is pushed in pieces of its own, so that one runs ahead of the other."""
    rest, states = dict(clip), []
    while any(len(x) for x in rest.values()):
        pushed = {}
        for name, x in rest.items():
            count = rng.randint(0, 9 if name == "frames" else 9 * 640)
            pushed[name], rest[name] = x[:count], x[count:]
        states.append(stream.push(**pushed))
    return torch.cat([*states, stream.finish()])


@pytest.mark.parametrize("name", MODELS)
def test_the_states_are_those_of_the_whole_clip(name):
    model, rng = model_of(name), random.Random(3)
    for frames, over in ((2, 0), (7, 500), (8, -500), (40, 0)):
        clip = clip_of(model.modality, frames, over if model.modality != "audio" else 0)
        expected = encode(model, clip)
        for _ in range(2):
            torch.testing.assert_close(in_pieces(ModelStream(model), clip, rng), expected, **TOLERANCE)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_stream_of_a_model_of_both(modality):
    model, clip = model_of("vivit-logmel"), clip_of(modality, 21)
    found = in_pieces(ModelStream(model, modality=modality), clip, random.Random(4))
    torch.testing.assert_close(found, encode(model, clip), **TOLERANCE)


@pytest.mark.parametrize("chunk", [1, 4, 11])
def test_any_size_of_chunk(chunk):
    model, clip = model_of("vivit-logmel"), clip_of("multimodal", 23)
    model.encoder.set_chunk(chunk)
    torch.testing.assert_close(in_pieces(ModelStream(model), clip, random.Random(5)), encode(model, clip), **TOLERANCE)


def test_states_come_with_their_chunks():
    stream = ModelStream(model_of("vivit"))
    assert [len(stream.push(frames=raw_clip(frames))) for frames in (3, 1, 6, 2)] == [0, 4, 4, 4]
    assert len(stream.finish()) == 0 and stream.step_s == 0.04


@pytest.mark.parametrize(("name", "latency_s"), [("vivit", 0.16), ("linear", 0.2), ("vivit-logmel", 0.32)])
def test_the_latency_is_a_chunk_and_what_the_frontends_look_ahead(name, latency_s):
    assert ModelStream(model_of(name)).latency_s == pytest.approx(latency_s)


def test_whole_clip_parts_are_refused_by_name():
    whole = {"audio_encoder": "resnet1d", "audio_encoder_conf": {"channels": 2}}
    for name, options, message in (
        ("vivit", {"vision_encoder_conf": CAUSAL | {"attention": "factorised_encoder", "left_context": None}}, "ahead"),
        ("logmel", whole, "waveform_normalization"),
        ("vivit-logmel", {"fusion": "cross_attention"}, "cross_attention"),
        ("vivit-logmel", {"fusion_place": "encoder"}, "fusion_place"),
        ("vivit", {"encoder_conf": CONFORMER}, "chunk_steps"),
        ("vivit", {"encoder_conf": {**CHUNKED, "chunk_steps": [4, 0]}}, "set_chunk"),
        ("vivit", {"vision_encoder_conf": CAUSAL | {"left_context": None}}, "grows with the clip"),
    ):
        with pytest.raises(ConfigError, match=message):
            ModelStream(model_of(name, **options))


def test_what_was_not_announced_is_refused():
    model = model_of("vivit-logmel")
    with pytest.raises(InputError, match="sound for a stream of video"):
        ModelStream(model, modality="video").push(samples=torch.zeros(640))
    with pytest.raises(InputError, match="evaluation"):
        ModelStream(model.train())


@pytest.mark.parametrize("sound_frames", [3, 30])
def test_sound_that_ends_at_another_time_is_cut_or_padded_with_silence(sound_frames):
    model, clip = model_of("vivit-logmel"), clip_of("multimodal", 14)
    sound = torch.randn(sound_frames * 640)
    stream = ModelStream(model)
    states = torch.cat([stream.push(clip["frames"], sound), stream.finish()])
    fitted = torch.nn.functional.pad(sound, (0, max(0, 14 - sound_frames) * 640))[: 14 * 640]
    torch.testing.assert_close(states, encode(model, {**clip, "samples": fitted}), **TOLERANCE)
