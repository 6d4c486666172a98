"""The table of towers counts what the weights themselves say."""

import torch

from espnet_vivit.model.adapters.report import count_bytes, count_parameters, tower_table
from tests.model.adapters.adapted import model_on, qlora_or_skip, save_tower


def test_the_table_counts_what_trains_what_is_frozen_and_the_bytes(tmp_path):
    plain = model_on(save_tower(tmp_path / "tower"))
    adapted = model_on(tmp_path / "tower", tower_adapters={"vision_encoder": {"type": "lora", "r": 4}})
    size = sum(p.numel() for p in plain.vision_encoder.vivit.parameters())
    per_layer = 4 * (4 * (64 + 64)) + 2 * (4 * (64 + 128))  # r (inputs + outputs): four of attention, two of the MLP
    rest = sum(p.numel() for p in plain.vision_encoder.parameters()) - size
    assert count_parameters(adapted.vision_encoder) == (2 * per_layer + rest, size)
    table = tower_table(adapted.towers(), {"vision_encoder": "lora, r=4"}).splitlines()
    assert [line.split()[0] for line in table] == ["tower", "vision_encoder", "encoder", "decoder"]
    assert table[1].split()[1:] == [
        "lora,",
        "r=4",
        "float32",
        *(f"{n:,}" for n in (2 * per_layer + rest, size)),
        table[1].split()[-1],
    ]
    assert f"{4 * sum(p.numel() for p in plain.decoder.parameters()):,}" in table[3]


def test_4_bit_weights_are_counted_as_parameters_and_cost_about_half_a_byte_each(tmp_path):
    qlora_or_skip()
    linear = model_on(save_tower(tmp_path / "tower")).vision_encoder
    config = {"type": "qlora", "r": 4, "double_quant": False}
    tower = model_on(tmp_path / "tower", tower_adapters={"vision_encoder": config}).vision_encoder
    assert count_parameters(tower)[1] == sum(p.numel() for p in linear.vivit.parameters())
    layers = [layer for layer in linear.vivit.modules() if isinstance(layer, torch.nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    adapters = count_parameters(tower)[0] - (sum(p.numel() for p in linear.parameters()) - count_parameters(tower)[1])
    saved = count_bytes(linear) + 4 * adapters - count_bytes(tower)
    scales = weights // 64 * 4 + len(layers) * 16 * 4  # a float32 for each block of 64, and for each of 16 values
    assert saved == 4 * weights - weights / 2 - scales
    assert "nf4" in tower_table({"vision_encoder": tower}, {})
