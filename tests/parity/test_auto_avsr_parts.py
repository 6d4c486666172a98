"""The frontends of the published Auto-AVSR architecture: the same parameters by name, and the same numbers out.

Oracle: ../shared/fixtures (its README gives the rule that fills the weights and the inputs); nothing is downloaded.
"""

import json

import numpy as np
import pytest
import torch

from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.resnet1d import ResNet1d
from espnet_vivit.model.conformer import Conformer
from tests.auto_avsr import drawn, drawn_input

TOLERANCE = 1e-4  # absolute, float32, after 12 blocks (fixtures/README.md)


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "fixtures" / "auto_avsr_reference.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def published(shared_dir):
    """modality -> {published parameter name: shape}."""
    tables = json.loads((shared_dir / "fixtures" / "auto_avsr_reference.json").read_text())
    return {modality: table["state_dict"] for modality, table in tables.items()}


def drawn_state(table, prefix):
    """Published entries below `prefix`, filled, by what follows it; counters stay out as the rule fills floats only."""
    return {
        name[len(prefix) :]: drawn(name, shape)
        for name, shape in table.items()
        if name.startswith(prefix) and not name.endswith("num_batches_tracked")
    }


def load(module, table, prefix):
    """Fill `module`; every published name must be one of ours and the other way round."""
    state = drawn_state(table, prefix)
    counters = {name: torch.tensor(0) for name in module.state_dict() if name.endswith("num_batches_tracked")}
    module.load_state_dict({**counters, **state}, strict=True)
    return module.eval()


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_names_and_shapes_are_the_published_ones(published):
    for modality, build in (("video", ResNetFrontend), ("audio", ResNet1d)):
        with torch.device("meta"):
            ours = {name: list(value.shape) for name, value in build().state_dict().items()}
        prefix = "frontend."
        theirs = {n[len(prefix) :]: shape for n, shape in published[modality].items() if n.startswith(prefix)}
        assert ours == theirs


def test_parameter_counts_of_the_published_sizes():
    with torch.device("meta"):
        assert parameters(ResNetFrontend()) == 11_182_784
        assert parameters(ResNet1d()) == 3_848_576
        assert parameters(Conformer(768)) == 170_451_456


def test_resnet_gives_the_published_features(reference, published):
    frontend = load(ResNetFrontend(), published["video"], "frontend.")
    with torch.no_grad():
        features, lengths = frontend(drawn_input((1, 12, 88, 88)), torch.tensor([12]))
    assert lengths.tolist() == [12]
    torch.testing.assert_close(features, reference["video_frontend"], atol=TOLERANCE, rtol=0)


def test_resnet1d_gives_the_published_features(reference, published):
    frontend = load(ResNet1d(waveform_normalization="none"), published["audio"], "frontend.")
    with torch.no_grad():
        features, lengths = frontend(drawn_input((1, 7680, 1))[..., 0], torch.tensor([7680]))
    assert lengths.tolist() == [12]
    torch.testing.assert_close(features, reference["audio_frontend"], atol=TOLERANCE, rtol=0)


def test_one_wrong_activation_is_seen(reference, published):
    """The fixture can tell: one layer's activation changed is far outside the tolerance."""
    frontend = load(ResNetFrontend(), published["video"], "frontend.")
    frontend.frontend3D[2] = torch.nn.ReLU()
    with torch.no_grad():
        features, _ = frontend(drawn_input((1, 12, 88, 88)), torch.tensor([12]))
    assert (features - reference["video_frontend"]).abs().max() > 10 * TOLERANCE
