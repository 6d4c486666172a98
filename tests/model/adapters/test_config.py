"""What `tower_adapters` may say; every mistake is named with the towers, keys or values that exist."""

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.adapters.config import AdapterConfig, read_tower_adapters


def test_towers_are_read_in_the_models_order_with_their_defaults():
    given = {"decoder": {"type": "lora"}, "vision_encoder": {"type": "qlora", "r": 4, "target_modules": ["q_proj"]}}
    read = read_tower_adapters(given)
    assert list(read) == ["vision_encoder", "decoder"]
    assert read["decoder"] == AdapterConfig(type="lora", r=16, alpha=32, dropout=0.0)
    assert read["vision_encoder"].target_modules == ("q_proj",)
    assert read_tower_adapters(None) == {}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"vision_encodr": {"type": "lora"}}, r"unknown tower in tower_adapters.*Did you mean 'vision_encoder'\?"),
        ({"decoder": {"type": "lora", "rank": 3}}, "unknown option in tower_adapters of decoder: found 'rank'"),
        ({"decoder": {"type": "dora"}}, "unknown adapter type: found 'dora'; expected one of lora, qlora"),
        ({"decoder": {"r": 3}}, "with a type, such as"),
        ({"decoder": "lora"}, "with a type, such as"),
        ("lora", "tower_adapters: found 'lora'; expected a mapping"),
        ({"decoder": {"type": "lora", "r": 0}}, "tower_adapters of decoder: adapter r: found 0"),
        ({"decoder": {"type": "lora", "r": True}}, "adapter r: found True"),
        ({"decoder": {"type": "lora", "r": 2.5}}, "adapter r: found 2.5"),
        ({"decoder": {"type": "lora", "alpha": "32"}}, "adapter alpha: found '32'"),
        ({"decoder": {"type": "lora", "dropout": 1}}, "adapter dropout: found 1; expected 0 or more, below 1"),
        ({"decoder": {"type": "lora", "target_modules": "q"}}, "adapter target_modules: found 'q'; expected a list"),
        ({"decoder": {"type": "lora", "target_modules": []}}, r"adapter target_modules: found \(\)"),
        ({"decoder": {"type": "lora", "quant_type": "nf4"}}, "quant_type is qlora's.*Set type: qlora"),
        ({"decoder": {"type": "qlora", "quant_type": "int4"}}, "expected one of fp4, nf4"),
        ({"decoder": {"type": "qlora", "compute_dtype": "half"}}, "expected one of bfloat16, float16, float32"),
        ({"decoder": {"type": "qlora", "double_quant": "yes"}}, "double_quant: found 'yes'; expected true or false"),
    ],
)
def test_a_mistake_is_named(option, message):
    with pytest.raises(ConfigError, match=message):
        read_tower_adapters(option)
