"""Packed weights must change nothing but the time: the oracle is the same tower without them."""

import copy
import gc
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.base.int8_linear import use_int8
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit import packed_layers
from espnet_vivit.frontend.vivit.packed_layers import PackedLayers
from tests.tiny import WINDOW, raw_clip, tiny_vivit

LENGTHS = (21, 1, 8, 13)
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN")


packs_bfloat16 = pytest.mark.skipif(
    not packed_layers._packs(torch.bfloat16), reason="this processor does not pack bfloat16 weights (no AVX-512)"
)


def ragged() -> tuple[torch.Tensor, torch.Tensor]:
    video = torch.stack([raw_clip(max(LENGTHS)) for _ in LENGTHS])
    return video, torch.tensor(LENGTHS)


def windowed(**options):
    return tiny_vivit(frame_adjust="window", window_overlap=4, **options)


def layers_called(encoder) -> list:
    """Filled by each call of the library's own first layer."""
    calls = []
    encoder.vivit.layers[0].register_forward_pre_hook(lambda _, args: calls.append(args[0].shape))
    return calls


def assert_same(found, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu", "gelu_fast"])
@pytest.mark.parametrize("mode", [{"temporal_pooling": "cls"}, {"frame_adjust": "sample"}, {"feature_rate": "frame"}])
@pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")
def test_packed_weights_give_the_same_features(mode, activation):
    config = {"hidden_act": activation, "qkv_bias": activation != "gelu"}
    encoder = tiny_vivit(**{"frame_adjust": "window", "window_overlap": 4, "config": config, **mode})
    video, lengths = ragged()
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        assert encoder.pack_weights() is encoder
        calls = layers_called(encoder)
        assert_same(encoder(video, lengths)[0], expected)
    assert not calls, "the packed weights were not used"


@packs_bfloat16
def test_in_bfloat16_they_err_no_more_than_plain_weights_do():
    exact, encoder = windowed(), windowed(dtype="bfloat16")
    encoder.load_state_dict(exact.state_dict())
    video, lengths = ragged()
    with torch.no_grad():
        truth, plain = exact(video, lengths)[0], encoder(video, lengths)[0]
        calls = layers_called(encoder)
        packed = encoder.pack_weights()(video, lengths)[0]
    assert not calls and packed.dtype == torch.float32
    assert (packed - truth).norm() < 1.2 * (plain - truth).norm()


@pytest.mark.parametrize("tokens", [127, 128, 300])
def test_attention_head_by_head_errs_no_more_than_the_fused_one(tokens):
    """The oracle is PyTorch's own attention in float64."""
    q, k, v = torch.randn(3, 2, 5, tokens, 16)
    truth = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), scale=1.0).transpose(1, 2)
    assert_same(packed_layers._attend(q, k, v).double(), truth)
    rounded = [x.bfloat16() for x in (q, k, v)]
    error = (packed_layers._attend(*rounded).double() - truth).norm() / truth.norm()
    fused = F.scaled_dot_product_attention(*rounded, scale=1.0).transpose(1, 2)
    assert error < 2 * (fused.double() - truth).norm() / truth.norm() < 0.02


@pytest.fixture
def head_by_head(monkeypatch):
    """Attention over the few tokens of tiny towers as over the many of large ones."""
    monkeypatch.setattr(packed_layers, "_TOKENS_HEAD_BY_HEAD", 1)


@packs_bfloat16
def test_towers_of_many_tokens_attend_head_by_head_in_bfloat16(head_by_head, monkeypatch):
    encoder = windowed(dtype="bfloat16").pack_weights()
    video, lengths = ragged()
    with torch.no_grad():
        found = encoder(video, lengths)[0]
        monkeypatch.setattr(packed_layers, "_TOKENS_HEAD_BY_HEAD", 128)
        fused = encoder(video, lengths)[0]
    assert not torch.equal(found, fused)
    assert (found - fused).norm() < 0.02 * fused.norm()


def change_in_place(encoder):
    with torch.no_grad():
        encoder.vivit.layers[1].mlp.fc1.weight.mul_(1.5)


def load(encoder):
    encoder.load_state_dict({name: value * 1.1 for name, value in encoder.state_dict().items()})


def take_a_step(encoder):
    encoder.train()(ragged()[0]).square().sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=1e-3).step()
    encoder.eval()


@pytest.mark.parametrize("change", [change_in_place, load, take_a_step, lambda encoder: encoder.bfloat16()])
def test_weights_that_change_are_packed_anew(change):
    encoder = windowed().pack_weights()
    video, lengths = ragged()
    with torch.no_grad():
        before = encoder(video, lengths)[0]
    change(encoder)
    plain = windowed().to(encoder.vivit.dtype)
    plain.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        after, expected = encoder(video, lengths)[0], plain(video, lengths)[0]
    assert not torch.equal(after, before)
    assert_same(after, expected, TOLERANCE if encoder.vivit.dtype == torch.float32 else 0.1)


def test_a_tower_that_moved_on_to_another_dtype_goes_without():
    encoder = windowed().pack_weights()
    video, lengths = ragged()
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        calls = layers_called(encoder)
        found = encoder.to(torch.float64)(video, lengths)[0]
    assert calls
    assert_same(found, expected)


def test_training_goes_through_the_librarys_layers_as_before():
    plain, packed = windowed().train(), windowed().train()
    packed.load_state_dict(plain.state_dict())
    packed.pack_weights()
    calls, (video, lengths) = layers_called(packed), ragged()
    for encoder in (plain, packed):
        encoder(video, lengths)[0].square().sum().backward()
    assert calls
    for (name, one), other in zip(plain.named_parameters(), packed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


def test_where_gradients_are_wanted_the_librarys_layers_compute_also_in_evaluation():
    plain, packed = windowed(), windowed()
    packed.load_state_dict(plain.state_dict())
    packed.pack_weights()
    video, lengths = ragged()
    with torch.no_grad():
        packed(video, lengths)
    for encoder in (plain, packed):
        encoder(video, lengths)[0].square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), packed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


def test_a_frozen_tower_is_packed_in_training_too():
    encoder = windowed(frozen=True, output_dim=5).pack_weights().train()
    calls = layers_called(encoder)
    encoder(*ragged())[0].sum().backward()
    assert not calls
    assert encoder.projection.weight.grad is not None


@pytest.mark.parametrize("where", ["autocast", "graph"])
def test_autocast_and_graphs_are_left_as_they_are(where):
    encoder = windowed(config={"num_hidden_layers": 1})
    video, lengths = ragged()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=where == "autocast"):
        run = torch.compile(encoder, backend="eager", fullgraph=True) if where == "graph" else encoder
        expected = run(video, lengths)[0]
        encoder.pack_weights()
        torch.compiler.reset()
        assert torch.equal(run(video, lengths)[0], expected)


def recorded(graphs: list):
    """A backend of `torch.compile` that runs graphs as they are, and keeps them."""

    def backend(graph, _):
        graphs.append(str(graph.code))
        return graph

    return backend


def test_a_compiled_tower_uses_them_and_sees_weights_change_without_another_graph():
    encoder, graphs = windowed(), []
    clip = raw_clip(WINDOW)[None]
    with torch.no_grad():
        expected = encoder(clip)
        encoder.pack_weights().compile_tower(backend=recorded(graphs))
        assert_same(encoder(clip), expected)
        assert graphs[0].count("espnet_vivit.packed_linear") == 6 * len(encoder.vivit.layers)
        assert graphs[0].count("espnet_vivit.packed_attention") == len(encoder.vivit.layers)
        change_in_place(encoder)
        plain = windowed()
        plain.load_state_dict(encoder.state_dict())
        changed = plain(clip)
        assert not torch.allclose(changed, expected, atol=1e-3)
        assert_same(encoder(clip), changed)
    assert len(graphs) == 1


def test_a_compiled_tower_trains_without_them():
    encoder, graphs = windowed(config={"num_hidden_layers": 1}).train(), []
    clip = raw_clip(WINDOW)[None]
    encoder(clip).square().sum().backward()
    expected = encoder.vivit.layers[0].mlp.fc1.weight.grad.clone()
    encoder.zero_grad()
    encoder.pack_weights().compile_tower(backend=recorded(graphs))
    encoder(clip).square().sum().backward()
    assert_same(encoder.vivit.layers[0].mlp.fc1.weight.grad, expected)
    assert graphs and "packed_linear" not in graphs[0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=packs_bfloat16)], ids=str)
def test_what_the_compiler_makes_of_packed_weights_answers_as_before(dtype, head_by_head):
    """Inductor, the compiler itself: needs a C++ compiler."""
    encoder = windowed().to(dtype)
    video, lengths = ragged()
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        encoder.pack_weights().compile_tower()
        assert_same(encoder(video, lengths)[0], expected, TOLERANCE if dtype == torch.float32 else 0.1)


def test_bfloat16_weights_that_a_processor_cannot_pack_are_refused_and_left_alone(monkeypatch):
    monkeypatch.setattr(packed_layers, "_PACKS_BFLOAT16", False)
    encoder = windowed(dtype="bfloat16")
    with pytest.raises(ConfigError, match="bfloat16 on a processor without AVX-512; expected float32 here"):
        encoder.pack_weights()
    assert windowed().pack_weights() is not None


def test_a_tower_that_is_gone_leaves_no_weights_behind():
    encoder = windowed().pack_weights()
    gc.collect()  # of other tests' towers
    before = set(packed_layers._PACKED)
    with torch.no_grad():
        encoder(*ragged())
    assert len(set(packed_layers._PACKED) - before) == 6 * len(encoder.vivit.layers)
    del encoder
    gc.collect()
    assert set(packed_layers._PACKED) == before


@pytest.mark.parametrize("again", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_copies_pack_their_own_weights(again):
    encoder = windowed().pack_weights()
    video, lengths = ragged()
    with torch.inference_mode():
        expected = encoder(video, lengths)[0]
        copied = again(encoder)
        calls = layers_called(copied)
        assert torch.equal(copied(video, lengths)[0], expected)
    assert not calls


def test_state_dicts_do_not_hold_packed_weights():
    encoder = windowed()
    names = set(encoder.state_dict())
    with torch.no_grad():
        encoder.pack_weights()(*ragged())
    assert set(encoder.state_dict()) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {"hidden_act": "relu"}}, "no such activation: found relu; expected gelu, "),
        ({"attn_implementation": "eager"}, "found eager; expected sdpa"),
        ({"dtype": "float16"}, "found torch.float16 on cpu; expected float32 or bfloat16 on the CPU"),
    ],
)
def test_towers_that_cannot_be_packed_say_why(options, message):
    with pytest.raises(ConfigError, match=message):
        windowed(**options).pack_weights()


class Adapted(nn.Module):
    """A linear layer with something beside it, as LoRA has."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base = base
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x):
        return self.base(x) + x


@pytest.mark.parametrize("before", [True, False], ids=["before packing", "after packing"])
def test_adapters_are_never_left_out(before):
    encoder = windowed()
    attention = encoder.vivit.layers[1].attention
    if not before:
        with torch.no_grad():
            encoder.pack_weights()(*ragged())
    attention.q_proj = Adapted(attention.q_proj)
    message = r"q_proj of layer 1 is no plain linear layer, as packed weights need: found Adapted.*Merge adapters"
    with pytest.raises(ConfigError, match=message), torch.no_grad():
        encoder.pack_weights()(*ragged())


def test_hidden_states_of_short_windows_are_taken_too():
    encoder = windowed()
    hidden = torch.randn(3, 1 + WINDOW // 4 * 4, encoder.vivit.config.hidden_size)
    layers = PackedLayers()
    with torch.no_grad():
        expected = hidden
        for layer in encoder.vivit.layers:
            expected = layer(expected)
        kept = hidden.clone()
        layers.refresh(encoder.vivit)
        assert_same(layers(encoder.vivit, hidden), expected)
    assert torch.equal(hidden, kept), "the input was written to"


@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu"])
def test_layers_in_int8_are_taken_as_the_library_takes_them(activation):
    """Head by head in bfloat16 where the processor has it: no further from the library's layers in int8 than that."""
    encoder = windowed(config={"hidden_act": activation})
    video, lengths = ragged()
    with torch.no_grad():
        exact = encoder(video, lengths)[0]
        assert use_int8(encoder.vivit.layers) == 6 * len(encoder.vivit.layers)
        expected = encoder(video, lengths)[0]
        calls = layers_called(encoder)
        found = encoder.pack_weights()(video, lengths)[0]
    assert not calls
    assert (found - expected).norm() < 0.01 * expected.norm()
    assert 0 < (found - exact).norm() < 0.05 * exact.norm()
