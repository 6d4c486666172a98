"""Our Conformer against ESPnet's `ConformerEncoder`: the oracle for one clip, the counter-example when padded."""

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from torch import nn

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.espnet_compat.names import LEGACY
from espnet_vivit.model.conformer import Conformer, ConformerLayer

SIZE = 16
SIZES = dict(output_size=SIZE, attention_heads=2, linear_units=24, cnn_module_kernel=7)
NO_DROPOUT = dict(dropout_rate=0.0, positional_dropout_rate=0.0, attention_dropout_rate=0.0)


def small(**options):
    return Conformer(SIZE, **{**SIZES, "num_blocks": 3, **NO_DROPOUT, **options})


def espnet_twin(ours, **options):
    """ESPnet's encoder with the weights of ours, loaded strictly, in the same mode."""
    twin = ConformerEncoder(
        SIZE,
        **SIZES,
        **NO_DROPOUT,
        num_blocks=len(ours.encoders),
        input_layer=None,
        macaron_style=True,
        rel_pos_type="latest",
        activation_type="swish",
        **options,
    )
    twin.load_state_dict(ours.state_dict(), strict=True)
    return twin.train(ours.training)


def randomize(module):
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.5)
    return module


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 17, 60])
def test_one_clip_alone_is_encoded_as_by_espnet(steps, training):
    if training and steps == 1:
        steps = 3  # neither can train BatchNorm on a single step
    ours = randomize(small(ff_activation="swish")).train(training)
    theirs = espnet_twin(ours)
    x, lengths = torch.randn(1, steps, SIZE), torch.tensor([steps])
    found, found_lengths, states = ours(x, lengths)
    expected, _, _ = theirs(x, lengths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), atol=1e-5, rtol=1e-5)
    assert found_lengths.tolist() == [steps] and states is None


def test_in_a_padded_batch_ours_stays_what_it_is_alone():
    """ESPnet 202511 does not mask padding before its convolution; later releases do, as ours does."""
    ours = randomize(small(ff_activation="swish")).eval()
    theirs = espnet_twin(ours)
    x, lengths = torch.randn(2, 40, SIZE), torch.tensor([40, 10])
    alone, _, _ = ours(x[1:, :10], lengths[1:])
    batched, _, _ = ours(x, lengths)
    their_alone = theirs(x[1:, :10], lengths[1:])[0]
    their_batched = theirs(x, lengths)[0]
    torch.testing.assert_close(batched[1:, :10], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, their_alone, atol=1e-5, rtol=1e-5)
    masks_padding = LEGACY == "espnet2.legacy"
    assert ((their_batched[1:, :10] - their_alone).abs().max() < 1e-5) == masks_padding
    assert not batched[1, 10:].any()


def test_a_long_clip_beyond_the_position_table_is_encoded():
    ours = small(num_blocks=1).eval()
    ours.embed[0].pe = ours.embed[0].pe[:, 4990:-4990]  # a table for ten steps, grown on demand
    with torch.no_grad():
        assert ours(torch.randn(1, 50, SIZE), torch.tensor([50]))[0].shape == (1, 50, SIZE)


def test_half_precision_leaves_no_trace_in_later_answers():
    """ESPnet's position table takes the dtype of its input, and once rounded to bfloat16 it stays so."""
    ours = small().eval()
    x, lengths = torch.randn(1, 20, SIZE), torch.tensor([20])
    before, _, _ = ours(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours(x.to(torch.bfloat16), lengths)
    assert torch.equal(ours(x, lengths)[0], before)


@pytest.mark.parametrize(("option", "paths"), [("ff_activation", 2), ("conv_activation", 1)])
def test_each_activation_is_set_apart(option, paths):
    layer = small(**{"ff_activation": "swish", "conv_activation": "swish", option: "tanh"}).encoders[0]
    kinds = {
        "ff_activation": [layer.feed_forward.activation, layer.feed_forward_macaron.activation],
        "conv_activation": [layer.conv_module.activation],
    }
    changed = kinds.pop(option)
    assert len(changed) == paths and all(isinstance(activation, nn.Tanh) for activation in changed)
    assert all(isinstance(activation, nn.SiLU) for others in kinds.values() for activation in others)


def test_the_defaults_are_auto_avsrs_activations():
    layer = small().encoders[0]
    assert isinstance(layer.feed_forward.activation, nn.ReLU)
    assert isinstance(layer.feed_forward_macaron.activation, nn.ReLU)
    assert isinstance(layer.conv_module.activation, nn.SiLU)


@pytest.mark.parametrize("conditioning", [False, True])
def test_intermediate_outputs_are_espnets(conditioning):
    """The contract of ESPnetASRModel: ((encoding, [(layer, output), ...]), lengths, None)."""
    ours = small(ff_activation="swish", interctc_layer_idx=(1, 2), interctc_use_conditioning=conditioning).eval()
    theirs = espnet_twin(ours, interctc_layer_idx=[1, 2], interctc_use_conditioning=conditioning)
    ctc = CTC(odim=6, encoder_output_size=SIZE)
    ours.conditioning_layer = theirs.conditioning_layer = nn.Linear(6, SIZE)
    x, lengths = torch.randn(1, 12, SIZE), torch.tensor([12])
    (found, layers), _, _ = ours(x, lengths, ctc=ctc)
    (expected, their_layers), _, _ = theirs(x, lengths, ctc=ctc)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert [number for number, _ in layers] == [number for number, _ in their_layers] == [1, 2]
    for (_, ours_out), (_, theirs_out) in zip(layers, their_layers, strict=True):
        torch.testing.assert_close(ours_out, theirs_out, atol=1e-5, rtol=1e-5)


def test_intermediate_outputs_do_not_depend_on_padding():
    ours = randomize(small(interctc_layer_idx=[1])).eval()
    x, lengths = torch.randn(2, 20, SIZE), torch.tensor([20, 6])
    (_, [(_, batched)]), _, _ = ours(x, lengths)
    (_, [(_, alone)]), _, _ = ours(x[1:, :6], lengths[1:])
    torch.testing.assert_close(batched[1:, :6], alone, atol=1e-5, rtol=1e-5)
    assert not batched[1, 6:].any()


def test_a_layer_dropped_at_random_is_an_identity_that_still_has_gradients():
    ours = small(num_blocks=1, stochastic_depth_rate=0.999).train()
    layer = ours.encoders[0]
    assert isinstance(layer, ConformerLayer)
    x, positions = ours.embed(torch.randn(1, 8, SIZE))
    mask = torch.ones(1, 8, dtype=torch.bool)
    out = layer(x, positions, mask)
    torch.testing.assert_close(out, x, atol=0, rtol=0)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters()), "distributed training would hang"
    assert not torch.equal(layer.eval()(x, positions, mask), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_size": 32}, "no input layer.*input_size=16, output_size=32"),
        ({"attention_heads": 3}, "3 heads for 16"),
        ({"cnn_module_kernel": 8}, "found 8; expected an odd number"),
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"ff_activation": "rellu"}, "ff_activation.*Did you mean 'relu'"),
        ({"conv_activation": "silu"}, "conv_activation.*gelu, relu, swish, tanh"),
        ({"interctc_layer_idx": [3]}, "from 1 to 2"),
        ({"stochastic_depth_rate": 1.0}, "0 <= rate < 1"),
    ],
)
def test_contradictory_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        small(**options)


def test_features_of_another_width_are_refused():
    with pytest.raises(InputError, match=r"found \(1, 5, 17\); expected \(B, T, 16\)"):
        small()(torch.zeros(1, 5, 17), torch.tensor([5]))
