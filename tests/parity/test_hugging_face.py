"""The full-size ViViT-B in our frontend against the library's `VivitModel` with the same weights."""

import pytest
import torch
from transformers import VivitConfig, VivitModel

from espnet_vivit import vivit_encoder

TOLERANCE = 5e-5  # absolute, float32, on tokens after the final norm


@pytest.fixture(scope="module")
def ours():
    """Our encoder at 96 pixels, with random weights."""
    torch.manual_seed(5)
    name = "google/vivit-b-16x2-kinetics400"
    encoder = vivit_encoder(name, pretrained=False, image_size=96, frame_adjust="window").eval()
    with torch.no_grad():
        for parameter in encoder.vivit.parameters():
            if parameter.dim() == 1:  # fresh biases are zero, fresh norms one: a mistake in them would not be seen
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return encoder


@pytest.fixture(scope="module")
def library(ours):
    """The library's own model, exported to: our state, strictly."""
    with torch.device("meta"):
        model = VivitModel(VivitConfig(image_size=96), add_pooling_layer=False)
    model.load_state_dict(ours.vivit.state_dict(), strict=True, assign=True)
    assert model.config.hidden_act == "gelu_fast" and ours.vivit.config.hidden_act == "gelu_pytorch_tanh"
    return model.eval()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_full_vivit_b_over_gray_uint8_mouths_equals_the_librarys_over_normalised_rgb(ours, library, packed):
    if packed:
        ours.pack_weights()
    clip = torch.randint(0, 256, (1, 32, 96, 96), dtype=torch.uint8)
    tokens = []
    hook = ours.vivit.layernorm.register_forward_hook(lambda _, __, output: tokens.append(output))
    with torch.no_grad():
        features = ours(clip)
        hook.remove()
        rgb = (clip / 127.5 - 1)[:, :, None].expand(-1, -1, 3, -1, -1)
        expected = library(rgb).last_hidden_state
    assert expected.shape == (1, 1 + 16 * 6 * 6, 768) and len(tokens) == 1
    assert expected.std() > 0.5, "the tokens are too small for an absolute tolerance"
    torch.testing.assert_close(tokens[0], expected, atol=TOLERANCE, rtol=0)
    steps = expected[:, 1:].unflatten(1, (16, 36)).mean(2)
    torch.testing.assert_close(features, steps, atol=TOLERANCE, rtol=0)
