"""Products in int8: exact where all numbers are integers, and elsewhere no further off than the two roundings allow."""

import pytest
import torch
from torch import nn

from espnet_vivit.base import int8_linear
from espnet_vivit.base.int8_linear import Int8Linear, largest_level, use_int8
from espnet_vivit.errors import ConfigError

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN")


def linear(inputs=64, outputs=24, **options) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, **options).requires_grad_(False)


@pytest.fixture(params=[127, 63], ids=["sums in 32 bits", "in 16 bits"])
def level(request, monkeypatch):
    if request.param > largest_level():
        pytest.skip("this processor adds pairs of products in 16 bits")
    monkeypatch.setattr(int8_linear, "largest_level", lambda: request.param)
    return request.param


@pytest.mark.parametrize("bias", [True, False])
def test_products_of_integers_are_exact(bias, level):
    layer = linear(bias=bias)
    weight = torch.randint(-127, 128, layer.weight.shape)
    weight[:, 0] = 127  # so that the scale of each output is 1
    layer.weight.copy_(weight)
    x = torch.randint(-level, level + 1, (2, 5, 64)).float()
    x[:, :, 0] = level
    torch.testing.assert_close(Int8Linear(layer)(x), layer(x), atol=0.05, rtol=1e-6)  # sums reach 10^6


def test_the_error_is_at_most_that_of_two_roundings(level):
    layer, x = linear(512, 100), torch.randn(3, 7, 512)
    found, expected = Int8Linear(layer)(x), layer(x)
    step = x.abs().amax(-1, keepdim=True) / level
    scale = layer.weight.abs().amax(1) / 127
    bound = step / 2 * layer.weight.abs().sum(1) + (x.abs().sum(-1, keepdim=True) + 512 * step / 2) * scale / 2
    assert ((found - expected).abs() <= 1.001 * bound).all()
    assert 0.001 < (found - expected).norm() / expected.norm() < (0.012 if level == 127 else 0.02)


def test_a_row_does_not_depend_on_the_others():
    layer, x = Int8Linear(linear()), torch.randn(4, 64)
    loud = torch.cat([x, 1000 * torch.randn(3, 64)])
    assert torch.equal(layer(loud)[:4], layer(x))


def test_rows_of_zeros_are_the_bias():
    layer = linear()
    layer.weight[3] = 0
    found = Int8Linear(layer)(torch.cat([torch.randn(3, 64), torch.zeros(1, 64)]))
    torch.testing.assert_close(found[:, 3], layer.bias[3].expand(4))
    torch.testing.assert_close(found[3], layer.bias)


def test_all_linear_layers_but_those_to_keep_and_those_of_adapters_are_replaced():
    class Adapted(nn.Linear):
        pass

    model = nn.Sequential(linear(), nn.Sequential(linear(24, 24), nn.GELU()), Adapted(24, 24), linear(24, 8))
    assert use_int8(model, keep=[model[3]]) == 2
    found = [type(part) for part in (model[0], model[1][0], model[2], model[3])]
    assert found == [Int8Linear, Int8Linear, Adapted, nn.Linear]
    assert model(torch.randn(2, 64)).shape == (2, 8)


def test_the_layer_keeps_nothing_of_the_one_that_it_replaces():
    original, x = linear(), torch.randn(3, 64)
    layer = Int8Linear(original)
    before = layer(x)
    nn.init.zeros_(original.weight), nn.init.zeros_(original.bias)
    assert torch.equal(layer(x), before)
    assert not list(layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_weights_are_refused_by_name(dtype):
    with pytest.raises(ConfigError, match=f"int8 is for float32 weights on a CPU.*found {dtype} on cpu"):
        Int8Linear(linear().to(dtype))
