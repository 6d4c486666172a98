"""RAVEn's, BRAVEn's and USR's layouts at full size: every name has its place in our parts, every parameter is counted.

Oracle: ../shared/fixtures/zoo, names and shapes from their own code. No outputs are known, so none are compared.
"""

import json
import re

import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.model.published.catalog import find_layout

MODELS = ("visual_base", "visual_large", "audio_base", "audio_large")
USR = ("base", "baseplus", "large")


@pytest.fixture(scope="module")
def published(shared_dir):
    return json.loads((shared_dir / "fixtures/zoo/raven_usr_names.json").read_text())


def on_no_device(table):
    with torch.device("meta"):
        return {name: torch.empty(shape) for name, shape in table.items()}


def names_and_shapes(model, layout):
    return {layout.published_name(name): list(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_raven_is_built_from_our_parts_name_by_name(published, name):
    table = published[f"raven_{name}"]
    state = on_no_device(table["state_dict"])
    layout = find_layout(state)
    assert layout.modality == ("video" if name.startswith("visual") else "audio")
    with torch.device("meta"):
        model = E2E(**layout.recognizer_options(state))
    assert names_and_shapes(model, layout) == table["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == table["parameters"]


@pytest.mark.parametrize("modality", ["multimodal", "video", "audio"])
@pytest.mark.parametrize("name", USR)
def test_usr_is_built_from_our_parts_but_for_the_other_modalities_heads(published, name, modality):
    table = published[f"usr_{name}"]
    state = on_no_device(table["state_dict"])
    layout = find_layout(state, modality)
    with torch.device("meta"):
        model = E2E(**layout.recognizer_options(state))
    left = {name for name in state if layout.why_unused(name)}
    assert names_and_shapes(model, layout) == {n: s for n, s in table["state_dict"].items() if n not in left}
    count = sum(state[name].numel() for name in left if not re.search(r"running_|num_batches", name))
    assert sum(parameter.numel() for parameter in model.parameters()) + count == table["parameters"]


def test_raven_normalizes_by_batch_and_usr_by_layer(published):
    for name, expected in (("raven_visual_base", "batch"), ("usr_base", "layer")):
        state = on_no_device(published[name]["state_dict"])
        assert find_layout(state).recognizer_options(state)["encoder_conf"]["ff_norm"] == expected
