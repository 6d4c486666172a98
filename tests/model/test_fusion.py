"""Two streams into one: what each fusion computes, missing streams, and how often modality dropout silences one."""

import itertools
import math
import re

import pytest
import torch
from espnet2.torch_utils.initialize import initialize
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.model.fusion import ModalityDropout
from espnet_vivit.model.joint_fusion import FUSIONS, build_fusion
from tests.tiny import randomize

VIDEO, AUDIO, OUTPUT = 5, 3, 4
EVERY_FUSION = pytest.mark.parametrize("name", FUSIONS)
STEP_BY_STEP = pytest.mark.parametrize("name", [name for name in FUSIONS if name != "cross_attention"])
UTTERANCES = 20_000


def build(name, video_size=VIDEO, audio_size=AUDIO):
    return build_fusion(name, video_size=video_size, audio_size=audio_size, output_size=OUTPUT)


@pytest.fixture
def streams():
    return torch.randn(2, 6, VIDEO), torch.randn(2, 6, AUDIO)


@EVERY_FUSION
def test_both_streams_give_one_of_the_output_size(name, streams):
    fusion = build(name)
    assert fusion(*streams).shape == (2, 6, OUTPUT)
    assert fusion.output_size() == OUTPUT


def by_hand(name, fusion, video, audio):
    """The formula of each fusion, one step at a time, from its stored weights."""
    weights = {key: value.detach() for key, value in fusion.state_dict().items()}
    if name == "concat":
        return weights["linear.weight"] @ torch.cat([video, audio]) + weights["linear.bias"]
    if name == "mlp":
        hidden = weights["hidden.weight"] @ torch.cat([video, audio]) + weights["hidden.bias"]
        hidden = (hidden - weights["norm.running_mean"]) / (weights["norm.running_var"] + 1e-5).sqrt()
        hidden = hidden * weights["norm.weight"] + weights["norm.bias"]
        return weights["output.weight"] @ hidden.clamp(min=0) + weights["output.bias"]
    if name == "normalized_concat":
        both = torch.cat([audio, video])
        both = (both - both.mean()) / (both.var(correction=0) + 1e-5).sqrt() * weights["norm.weight"]
        return weights["linear.weight"] @ (both + weights["norm.bias"]) + weights["linear.bias"]
    from_video = weights["video_linear.weight"] @ video + weights["video_linear.bias"]
    from_audio = weights["audio_linear.weight"] @ audio + weights["audio_linear.bias"]
    if name == "add":
        return from_video + from_audio
    gate = 1 / (1 + torch.exp(-(weights["gate.weight"] @ torch.cat([video, audio]) + weights["gate.bias"])))
    return gate * from_video + (1 - gate) * from_audio


@STEP_BY_STEP
def test_each_step_follows_the_formula(name, streams):
    fusion = randomize(build(name)).eval()
    fused = fusion(*streams)
    for b in range(2):
        for t in range(6):
            expected = by_hand(name, fusion, streams[0][b, t], streams[1][b, t])
            torch.testing.assert_close(fused[b, t], expected, atol=1e-6, rtol=1e-5)


@EVERY_FUSION
def test_a_missing_stream_is_zeros(name, streams):
    fusion, (video, audio) = build(name), streams
    assert torch.equal(fusion(video, None), fusion(video, torch.zeros_like(audio)))
    assert torch.equal(fusion(None, audio), fusion(torch.zeros_like(video), audio))


@EVERY_FUSION
def test_gradients_reach_every_parameter_even_with_a_stream_missing(name, streams):
    """Distributed training waits for the gradient of each parameter."""
    for video, audio in ((streams[0], streams[1]), (streams[0], None), (None, streams[1])):
        fusion = build(name)
        fusion(video, audio).square().sum().backward()
        assert all(parameter.grad is not None for parameter in fusion.parameters())


@STEP_BY_STEP
def test_steps_do_not_see_each_other(name, streams):
    fusion, (video, audio) = build(name).eval(), streams
    before = fusion(video, audio)
    video[:, 4:] = torch.nan
    assert torch.equal(fusion(video, audio)[:, :4], before[:, :4])


# cross-attention ----------------------------------------------------------------------------------------------------

SIZE, HEADS = 8, 2


@pytest.fixture
def attending():
    """A cross-attention whose every weight counts: fresh ones have output projections of zero."""
    fusion = build_fusion("cross_attention", video_size=VIDEO, audio_size=AUDIO, output_size=SIZE, heads=HEADS)
    return randomize(fusion, std=0.5).eval()


def read_by_hand(layer, reader, source, length):
    """What PyTorch's own multi-head attention finds with the same weights, padding and bias by distance."""
    oracle = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]))
        oracle.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key.bias, layer.value.bias]))
        oracle.out_proj.weight.copy_(layer.output.weight)
        oracle.out_proj.bias.copy_(layer.output.bias)
    steps = len(reader)
    bias = torch.empty(HEADS, steps, steps)
    for head, i, j in itertools.product(range(HEADS), range(steps), range(steps)):
        bias[head, i, j] = -abs(i - j) * 2.0 ** (-8 * (head + 1) / HEADS) if j < length else -torch.inf
    return oracle(reader[None], source[None], source[None], attn_mask=bias)[0][0]


@pytest.mark.parametrize("length", [6, 4, 1])
def test_cross_attention_is_pytorchs_own_over_valid_steps_in_both_directions(attending, streams, length):
    fused = attending(*streams, torch.tensor([length, 6]))[0]
    video, audio = attending.video_linear(streams[0][0]), attending.audio_linear(streams[1][0])
    seen, heard = attending.video_norm(video), attending.audio_norm(audio)
    expected = video + audio
    expected = expected + read_by_hand(attending.audio_to_video, seen, heard, length)
    expected = expected + read_by_hand(attending.video_to_audio, heard, seen, length)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)


def test_cross_attention_reads_other_steps_but_no_padded_one(attending, streams):
    video, audio = streams
    lengths = torch.tensor([4, 6])
    before = attending(video, audio, lengths)
    audio[0, 4:] = 1e4
    torch.testing.assert_close(attending(video, audio, lengths)[0, :4], before[0, :4], atol=1e-5, rtol=1e-5)
    audio[0, 3] += 1.0
    assert (attending(video, audio, lengths)[0, 0] - before[0, 0]).abs().max() > 1e-3


def test_cross_attention_starts_as_the_sum_of_both_streams(streams):
    for init in (None, "xavier_uniform"):
        fusion = build("cross_attention")
        if init is not None:  # ESPnet draws all weights anew
            initialize(fusion, init)
        assert torch.equal(fusion(*streams), fusion.video_linear(streams[0]) + fusion.audio_linear(streams[1]))


def test_without_the_bias_by_distance_the_order_of_steps_would_be_lost(attending, streams):
    """So the bias is what tells a step where the other stream is at the same time."""
    video, audio = streams

    def read(order):
        return attending.audio_to_video(seen, heard[:, order], None)

    seen = attending.video_norm(attending.video_linear(video))
    heard = attending.audio_norm(attending.audio_linear(audio))
    forward, backward = read(slice(None)), read(torch.arange(5, -1, -1))
    assert (forward - backward).abs().max() > 1e-3
    attending.audio_to_video.slopes.zero_()
    torch.testing.assert_close(read(slice(None)), read(torch.arange(5, -1, -1)), atol=1e-6, rtol=1e-5)


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ConfigError, match="found 3 heads for 4; expected a divisor"):
        build_fusion("cross_attention", video_size=VIDEO, audio_size=AUDIO, output_size=OUTPUT, heads=3)


# what is not there --------------------------------------------------------------------------------------------------


@EVERY_FUSION
def test_nothing_to_fuse_is_an_error(name):
    with pytest.raises(InputError, match="nothing to fuse: found neither video nor audio; expected at least one"):
        build(name)(None, None)


@EVERY_FUSION
@pytest.mark.parametrize("shape", [(2, 5, AUDIO), (1, 6, AUDIO)], ids=["steps", "batch"])
def test_streams_out_of_step_are_an_error(name, shape, streams):
    found = f"(B, T') = (2, 6) and {shape[:2]}"
    with pytest.raises(InputError, match=f"not run in step: found {re.escape(found)}"):
        build(name)(streams[0], torch.randn(shape))


@EVERY_FUSION
@pytest.mark.parametrize(("video_size", "audio_size"), [(VIDEO, None), (None, AUDIO)])
def test_one_modality_needs_no_fusion_but_one_linear_layer_with_bias(name, video_size, audio_size):
    layer = build(name, video_size=video_size, audio_size=audio_size)
    assert type(layer) is nn.Linear
    assert layer.weight.shape == (OUTPUT, video_size or audio_size) and layer.bias is not None


def test_a_misspelt_fusion_is_named():
    with pytest.raises(
        ConfigError,
        match=r"unknown fusion: found 'gate'; expected one of add, concat, cross_attention, gated, mlp, .* Did you",
    ):
        build("gate")


# modality dropout ---------------------------------------------------------------------------------------------------


def dropped_shares(probabilities):
    """How often, over many utterances, video alone, audio alone and both were silenced."""
    dropout = ModalityDropout(probabilities).train()
    video, audio = dropout(torch.ones(UTTERANCES, 3, 2), torch.ones(UTTERANCES, 3, 4))
    assert all(stream[b].unique().numel() == 1 for stream in (video, audio) for b in range(50)), "part of an utterance"
    no_video, no_audio = ~video.flatten(1).any(1), ~audio.flatten(1).any(1)
    shares = (no_video & ~no_audio, no_audio & ~no_video, no_video & no_audio)
    return [share.float().mean().item() for share in shares]


@pytest.mark.parametrize(("video", "audio"), [(0.25, 0.25), (0.5, 0.0), (0.0, 0.3), (0.6, 0.4), (1.0, 0.0)])
def test_streams_are_dropped_as_often_as_asked_and_never_both(video, audio):
    shares = dropped_shares({"video": video, "audio": audio})
    assert shares == [pytest.approx(video, abs=0.015), pytest.approx(audio, abs=0.015), 0.0]


def test_a_kept_stream_is_unchanged_and_a_dropped_one_is_zeros():
    dropout = ModalityDropout({"video": 0.5, "audio": 0.5}).train()
    video, audio = torch.randn(64, 3, 2), torch.randn(64, 3, 4)
    for before, after in zip((video, audio), dropout(video, audio), strict=True):
        for one, other in zip(before, after, strict=True):
            assert torch.equal(other, one) or not other.any()


def test_a_dropped_stream_still_has_a_gradient():
    video, audio = torch.randn(2, 3, 2, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    dropped, kept = ModalityDropout({"video": 1.0})(video, audio)
    (dropped.sum() + kept.sum()).backward()
    assert video.grad is not None and not video.grad.any()
    assert audio.grad.eq(1).all()


def test_eval_and_no_probabilities_drop_nothing():
    video, audio = torch.randn(99, 3, 2), torch.randn(99, 3, 4)
    for dropout in (ModalityDropout({"video": 0.5, "audio": 0.5}).eval(), ModalityDropout(), ModalityDropout({})):
        assert dropout(video, audio) == (video, audio)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ({"vidio": 0.2}, "unknown stream in modality_dropout: found 'vidio'.*Did you mean 'video'"),
        ({"video": 0.7, "audio": 0.4}, "found video 0.7, audio 0.4; expected two numbers from 0, together at most 1"),
        ({"audio": -0.1}, "found video 0.0, audio -0.1"),
    ],
)
def test_probabilities_that_cannot_be_are_named(probabilities, message):
    with pytest.raises(ConfigError, match=message):
        ModalityDropout(probabilities)


@pytest.mark.parametrize("share", [math.nan, [["x"]], -0.1], ids=str)
def test_probabilities_of_dropping_a_stream_are_numbers(share):
    with pytest.raises(ConfigError, match="modality_dropout holds probabilities that cannot be"):
        ModalityDropout({"video": share})
