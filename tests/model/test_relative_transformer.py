"""The Transformer with relative positions: its formula, block by block, and what it refuses."""

import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.model.relative_transformer import LAYER_SCALE, RelativeTransformer
from tests.tiny import randomize

SIZES = {"output_size": 8, "attention_heads": 2, "linear_units": 16, "num_blocks": 2}


def transformer(**options):
    rates = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    return RelativeTransformer(8, **{**SIZES, **rates, **options})


def test_a_block_adds_scaled_attention_then_scaled_feed_forward():
    model = randomize(transformer(num_blocks=1)).eval()
    x, lengths = torch.randn(1, 5, 8), torch.tensor([5])
    (layer,) = model.encoders
    with torch.no_grad():
        scaled, positions = model.embed(x)
        normed = layer.norm_mha(scaled)
        mask = torch.ones(1, 1, 5, dtype=torch.bool)
        after = scaled + layer.gamma_mha * layer.self_attn(normed, normed, normed, positions, mask)
        inner = torch.relu(layer.feed_forward.w_1(layer.norm_ff(after)))
        after = after + layer.gamma_ff * layer.feed_forward.w_2(inner)
        torch.testing.assert_close(model(x, lengths)[0], model.after_norm(after), atol=1e-5, rtol=1e-5)


def test_batch_norm_before_the_feed_forward_sees_valid_steps_alone():
    model = transformer(ff_norm="batch", num_blocks=1).train()
    x = torch.randn(2, 6, 8)
    model(x, torch.tensor([6, 3]))
    before = model.encoders[0].norm_ff.running_mean.clone()
    other = transformer(ff_norm="batch", num_blocks=1)
    other.load_state_dict({**model.state_dict()})
    other.encoders[0].norm_ff.reset_running_stats()
    x[1, 3:] = 100.0
    other.train()(x, torch.tensor([6, 3]))
    torch.testing.assert_close(other.encoders[0].norm_ff.running_mean, before)


def test_the_scales_start_small_even_after_espnet_has_initialized():
    from espnet2.torch_utils.initialize import initialize

    model = transformer()
    initialize(model, "xavier_uniform")
    for layer in model.encoders:
        assert (layer.gamma_mha == LAYER_SCALE).all() and (layer.gamma_ff == LAYER_SCALE).all()


def test_intermediate_outputs_are_those_of_the_blocks():
    model = randomize(transformer(interctc_layer_idx=[1])).eval()
    (encoding, [(number, inner)]), lengths, _ = model(torch.randn(1, 4, 8), torch.tensor([4]))
    assert number == 1 and inner.shape == encoding.shape == (1, 4, 8) and lengths.tolist() == [4]
    assert not torch.allclose(inner, encoding)


@pytest.mark.parametrize("build", [RelativeTransformer, Conformer])
def test_sizes_that_cannot_be_are_named(build):
    with pytest.raises(ConfigError, match="the encoder has no input layer of its own"):
        build(7, **SIZES)
    with pytest.raises(ConfigError, match="attention_heads that do not divide output_size"):
        build(8, **{**SIZES, "attention_heads": 3})
    with pytest.raises(ConfigError, match="an encoder without blocks"):
        build(8, **{**SIZES, "num_blocks": 0})


def test_a_misspelt_norm_is_named():
    with pytest.raises(ConfigError, match=r"unknown ff_norm: found 'bach'.*Did you mean 'batch'"):
        transformer(ff_norm="bach")
