"""A causal ViViT fed in pieces: the steps of the whole clip, to the last bit where `left_context` is finite."""

import pytest
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError, InputError
from tests.tiny import randomize

CONFIG = {"image_size": 16, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
CONFIG |= {"num_hidden_layers": 2, "tubelet_size": [2, 8, 8]}
CHUNKS = (1, 2, 3, 7, 16, 40, 75)  # frames
LEFT = 6


def causal(**options):
    config = {**CONFIG, **options.pop("config", {})}
    encoder = vivit_encoder(pretrained=False, config=config, attention="causal", temporal_layers=2, **options)
    return randomize(encoder, std=0.1).eval()


def streamed(encoder, clip: torch.Tensor, chunk: int) -> torch.Tensor:
    stream = encoder.stream()
    parts = [stream(clip[start : start + chunk]) for start in range(0, len(clip), chunk)]
    return torch.cat([*parts, stream.finish()])


def raw(frames: int) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 16, 16), dtype=torch.uint8)


VARIANTS = {
    "steps": {},
    "places": {"temporal_tokens": "places"},
    "25 Hz": {"feature_rate": "frame", "output_dim": 24},
    "one-frame tubelets": {"feature_rate": "frame", "config": {"tubelet_size": [1, 8, 8]}},
    "gaussian, gated": {"temporal_pooling": "gaussian", "config": {"hidden_act": "swiglu", "norm": "rmsnorm"}},
    "cls, registers": {"temporal_pooling": "cls", "registers": 3},
    "projected": {"output_dim": 24},
    "overlapping": {"config": {"tubelet_size": [3, 8, 8], "tubelet_stride": [2, 8, 8]}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stream_gives_the_bits_of_the_whole_clip(variant):
    encoder = causal(left_context=LEFT, **VARIANTS[variant])
    clip = raw(75)
    with torch.no_grad():
        whole = encoder(clip[None])[0]
    for chunk in CHUNKS:
        assert torch.equal(streamed(encoder, clip, chunk), whole), f"chunks of {chunk} frames"


def test_a_padded_batch_gives_the_bits_of_each_clip_alone():
    encoder = causal(left_context=LEFT)
    lengths = [75, 20, 43]
    batch = torch.stack([raw(75) for _ in lengths])
    with torch.no_grad():
        features, steps = encoder(batch, torch.tensor(lengths))
        for row, count, clip, length in zip(features, steps, batch, lengths, strict=True):
            assert torch.equal(row[:count], encoder(clip[None, :length])[0])


def test_the_two_rules_are_what_makes_it_exact(monkeypatch):
    """Without whole multiples of rows the kernels sum in another order: the comparison above can fail."""
    monkeypatch.setattr("espnet_vivit.frontend.vivit.blocks._ROWS", 1)
    encoder = causal(left_context=LEFT, config={"hidden_size": 192, "num_attention_heads": 4})
    clip = raw(75)
    with torch.no_grad():
        whole = encoder(clip[None])[0]
        differences = [(streamed(encoder, clip, chunk) - whole).abs().max() for chunk in CHUNKS]
    assert 0 < max(differences) < 1e-4


def test_without_a_bound_it_is_equal_to_rounding():
    encoder = causal()
    clip = raw(75)
    with torch.no_grad():
        whole = encoder(clip[None])[0]
    for chunk in CHUNKS:
        torch.testing.assert_close(streamed(encoder, clip, chunk), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("feature_rate", ["tubelet", "frame"])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_the_length_law_holds_at_the_end_of_a_stream(feature_rate, chunk):
    encoder = causal(left_context=LEFT, feature_rate=feature_rate)
    for frames in range(1, 12):
        clip = raw(frames)
        with torch.no_grad():
            whole = encoder(clip[None])[0]
        assert torch.equal(streamed(encoder, clip, chunk), whole), f"{frames} frames"


def test_a_step_is_there_with_its_second_frame():
    stream = causal(left_context=LEFT).stream()
    assert [len(stream(raw(1))) for _ in range(5)] == [0, 1, 0, 1, 0]
    assert len(stream.finish()) == 0  # the odd last frame


def test_the_state_is_bounded():
    encoder = causal(left_context=LEFT)
    stream = encoder.stream()
    sizes = set()
    for _ in range(20):
        stream(raw(4))
        state = stream._states[0]
        sizes.add((state.keys.shape, state.values.shape, state.keys.is_contiguous(), stream._waiting.size(1)))
    assert sizes == {((1, 2, LEFT, 32), (1, 2, LEFT, 32), True, 0)}


def test_a_step_sees_what_its_context_says_and_no_more():
    encoder = causal(left_context=2)
    clip = torch.randn(1, 40, 16, 16)
    with torch.no_grad():
        before = encoder(clip)[0]
        clip[:, 10:12] += 1.0  # step 5
        changed = ((encoder(clip)[0] - before).abs().amax(1) > 1e-6).nonzero().flatten().tolist()
    assert changed == list(range(5, 5 + 2 * 2 + 1))  # two temporal layers


def test_longer_clips_begin_with_the_steps_of_shorter_ones():
    encoder = causal(left_context=LEFT)
    clip = raw(60)
    with torch.no_grad():
        assert torch.equal(encoder(clip[None, :32])[0], encoder(clip[None])[0, :16])


def test_over_a_clip_of_one_step_causal_is_bidirectional():
    one, both = causal(), None
    both = vivit_encoder(pretrained=False, config=CONFIG, attention="factorised_encoder", temporal_layers=2).eval()
    both.load_state_dict(one.state_dict())
    clip = torch.randn(1, 12, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(one(clip[:, :2]), both(clip[:, :2]), atol=1e-5, rtol=0)
        assert (one(clip)[:, 0] - both(clip)[:, 0]).abs().max() > 1e-3
        torch.testing.assert_close(one(clip)[:, 0], one(clip[:, :2])[:, 0], atol=1e-5, rtol=0)


def test_training_attends_to_the_same_steps():
    """Training masks one product, inference gathers windows: the same features."""
    encoder = causal(left_context=3)
    clip = torch.randn(2, 30, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(encoder.train()(clip), encoder.eval()(clip), atol=1e-5, rtol=0)


def test_only_a_causal_encoder_streams():
    encoder = vivit_encoder(pretrained=False, config=CONFIG, attention="factorised_encoder").eval()
    with pytest.raises(ConfigError, match="causal"):
        encoder.stream()


def test_what_a_stream_does_not_take():
    encoder = causal(left_context=LEFT)
    stream = encoder.stream()
    stream(raw(3))
    with pytest.raises(InputError, match="one kind"):
        stream(torch.randn(2, 16, 16))
    with pytest.raises(InputError, match="16x16"):
        stream(torch.zeros(2, 8, 8, dtype=torch.uint8))
    stream.finish()
    with pytest.raises(InputError, match="finished"):
        stream(raw(2))
    with pytest.raises(InputError, match="evaluation"):
        encoder.train().stream()(raw(2))
