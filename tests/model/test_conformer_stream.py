"""A Conformer in chunks: what a chunk sees, and that a clip in pieces is encoded as the clip in one piece."""

import random

import pytest
import torch
from espnet2.asr.ctc import CTC
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.model.conformer_stream import ConformerStream

SIZE, CHUNK, LEFT = 16, 4, 6
TOLERANCE = dict(atol=1e-5, rtol=1e-5)


def conformer(chunk=CHUNK, **options):
    sizes = dict(output_size=SIZE, attention_heads=2, linear_units=24, cnn_module_kernel=7, num_blocks=3)
    torch.manual_seed(0)
    model = Conformer(SIZE, **{**sizes, "chunk_steps": [0, chunk], "left_steps": LEFT, **options})
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.5)
    return model.eval()


def encode(model, clip):
    with torch.no_grad():
        return model(clip[None], torch.tensor([len(clip)]))[0][0]


def in_pieces(stream, clip, rng):
    states = []
    while len(clip):
        count = rng.randint(0, 9)
        states.append(stream(clip[:count]))
        clip = clip[count:]
    return torch.cat([*states, stream.finish()])


@pytest.mark.parametrize("chunk", [1, 3, 4, 8])
@pytest.mark.parametrize("steps", [1, 7, 8, 45])
def test_a_clip_in_any_pieces_is_encoded_as_in_one(chunk, steps):
    model, clip, rng = conformer(chunk), torch.randn(steps, SIZE), random.Random(steps)
    expected = encode(model, clip)
    for _ in range(4):
        torch.testing.assert_close(in_pieces(ConformerStream(model), clip, rng), expected, **TOLERANCE)


def test_a_stream_gives_back_each_chunk_as_soon_as_it_is_there():
    stream = ConformerStream(conformer())
    assert [len(stream(torch.randn(count, SIZE))) for count in (3, 1, 9, 0)] == [0, 4, 8, 0]
    assert len(stream.finish()) == 1 and stream.steps == 13


def test_a_chunk_sees_nothing_of_what_comes_after_it():
    model, clip = conformer(), torch.randn(20, SIZE)
    whole = encode(model, clip)
    for end in (4, 8, 16):
        torch.testing.assert_close(encode(model, clip[:end]), whole[:end], **TOLERANCE)
    cut_short = encode(model, clip[:10])  # in the middle of a chunk, which then sees less
    assert (cut_short[8:] - whole[8:10]).abs().max() > 1e-3


def test_a_chunk_sees_no_more_than_left_steps_before_it():
    """Each block reaches 6 steps back by attention and 3 by its kernel, and from there to the beginning of a chunk."""
    model, clip = conformer(), torch.randn(60, SIZE)
    changed = clip.clone()
    changed[:23] = torch.randn(23, SIZE)
    difference = (encode(model, clip) - encode(model, changed)).abs().amax(1)
    assert difference[56:].max() == 0 and difference[24:28].min() > 1e-3


def test_one_chunk_as_long_as_the_clip_is_the_whole_clip():
    model, clip = conformer(), torch.randn(12, SIZE)
    model.set_chunk(50)
    in_one_chunk = encode(model, clip)
    model.set_chunk(0)
    torch.testing.assert_close(in_one_chunk, encode(model, clip), **TOLERANCE)


def test_weights_of_a_whole_clip_encoder_load_and_give_the_same():
    """Chunks add no parameter: an offline model can be trained on in chunks."""
    chunked, whole = conformer(), conformer(chunk_steps=(), left_steps=None)
    whole.load_state_dict(chunked.state_dict(), strict=True)
    chunked.set_chunk(0)
    clip = torch.randn(11, SIZE)
    assert torch.equal(encode(chunked, clip), encode(whole, clip))


def test_padding_changes_no_state_in_chunks():
    model = conformer()
    clips = [torch.randn(steps, SIZE) for steps in (21, 6, 13)]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=7.0)
    with torch.no_grad():
        states = model(batch, torch.tensor([21, 6, 13]))[0]
    for clip, found in zip(clips, states, strict=True):
        torch.testing.assert_close(found[: len(clip)], encode(model, clip), **TOLERANCE)
        assert not found[len(clip) :].any()


def test_training_draws_the_size_of_the_chunks_and_evaluation_takes_the_last(monkeypatch):
    sizes = []
    model = conformer(chunk_steps=[2, 0, 5])
    layer_options = model._layer_options
    monkeypatch.setattr(
        model, "_layer_options", lambda mask: sizes.append(layer_options(mask).get("chunks", (0,))[0]) or {}
    )
    x, lengths = torch.randn(2, 10, SIZE), torch.tensor([10, 7])
    model.train()
    for _ in range(40):
        model(x, lengths)
    assert set(sizes) == {0, 2, 5}
    sizes.clear()
    model.eval()(x, lengths)
    assert sizes == [5]


def test_gradients_flow_through_chunks_and_are_finite():
    model = conformer().train()
    x = torch.randn(2, 10, SIZE, requires_grad=True)
    model.chunk_steps = (CHUNK,)
    model(x, torch.tensor([10, 3]))[0].square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert not x.grad[1, 3:].any()


def test_intermediate_ctc_conditions_a_stream_as_it_does_a_clip():
    model = conformer(interctc_layer_idx=(1, 2), interctc_use_conditioning=True)
    model.conditioning_layer, ctc = nn.Linear(6, SIZE), CTC(odim=6, encoder_output_size=SIZE).eval()
    clip = torch.randn(14, SIZE)
    with torch.no_grad():
        expected = model(clip[None], torch.tensor([14]), ctc=ctc)[0][0][0]
    stream = ConformerStream(model, ctc=ctc)
    torch.testing.assert_close(in_pieces(stream, clip, random.Random(0)), expected, **TOLERANCE)


def test_the_state_of_a_stream_does_not_grow():
    stream = ConformerStream(conformer())
    stream(torch.randn(20, SIZE))

    def held():
        return [block.keys.size(2) + block.before.size(2) for block in stream._blocks]

    early = held()
    stream(torch.randn(2000, SIZE))
    assert held() == early == [LEFT + 3] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(chunk_steps=[4, -1]), "bad chunk_steps"),
        (dict(chunk_steps=[4.5]), "bad chunk_steps"),
        (dict(chunk_steps=[4], left_steps=None), "go together"),
        (dict(chunk_steps=[], left_steps=8), "go together"),
        (dict(left_steps=0), "at least 1"),
    ],
)
def test_bad_chunks_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        conformer(**options)


def test_an_encoder_of_whole_clips_has_no_chunks():
    model = conformer(chunk_steps=(), left_steps=None)
    with pytest.raises(ConfigError, match="does not read clips in chunks"):
        model.set_chunk(4)
    with pytest.raises(ConfigError, match="cannot stream"):
        ConformerStream(model)


def test_a_stream_needs_evaluation_and_ends():
    model = conformer()
    with pytest.raises(InputError, match="evaluation"):
        ConformerStream(model.train())
    stream = ConformerStream(model.eval())
    with pytest.raises(InputError, match="cannot read"):
        stream(torch.randn(1, 4, SIZE))
    stream.finish()
    with pytest.raises(InputError, match="finished"):
        stream(torch.randn(4, SIZE))
