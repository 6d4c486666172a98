"""The published Auto-AVSR models, whole and at full size: parameters, encoding, CTC, decoder and loss.

Oracle: ../shared/fixtures (its README gives the rule that fills the weights and the inputs); nothing is downloaded.
"""

import json

import numpy as np
import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.model.init_parts import load_parts
from tests.auto_avsr import PUBLISHED, drawn_input, shapes, state_dict
from tests.tiny import WINDOWED_VIVIT

MODALITIES = ("video", "audio")
TOLERANCE = 1e-4  # absolute, float32, after 12 blocks (fixtures/README.md)
PARAMETERS = {"video": 250_383_410, "audio": 243_049_202}
TARGET = [5, 17, 200, 4, 99]
STREAMS = {"video": ("video", (1, 12, 88, 88), 12), "audio": ("speech", (1, 7680), 7680)}


@pytest.fixture(scope="module")
def published(shared_dir):
    """modality -> {"parameters": number, "state_dict": {name: shape}}."""
    return json.loads((shared_dir / "fixtures" / "auto_avsr_reference.json").read_text())


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "fixtures" / "auto_avsr_reference.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_tables_that_tests_build_tiny_models_from_are_the_published_ones(published, modality):
    assert shapes(modality, **PUBLISHED) == published[modality]["state_dict"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_published_checkpoint_gives_the_published_numbers(published, reference, modality):
    state = state_dict(modality, published[modality]["state_dict"])
    model = E2E.from_auto_avsr(state, waveform_normalization="none")  # the fixture's input went in as it is
    del state  # a gigabyte
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PARAMETERS[modality] == published[modality]["parameters"]

    features = []
    frontend = model.vision_encoder if modality == "video" else model.audio_encoder
    frontend.register_forward_hook(lambda _, __, out: features.append(out[0]))
    stream, shape, length = STREAMS[modality]
    batch = {stream: drawn_input(shape), f"{stream}_lengths": torch.tensor([length])}
    with torch.no_grad():
        encoding, lengths = model.encode(**batch)
        given = torch.tensor([[model.sos, *TARGET[:3]]])
        logits, _ = model.decoder(encoding, lengths, given, torch.tensor([4]))
        loss, stats, _ = model(**batch, text=torch.tensor([TARGET]), text_lengths=torch.tensor([len(TARGET)]))
    found = {
        "frontend": features[0],
        "encoder": encoding,
        "ctc_logp_first64": model.ctc.log_softmax(encoding)[..., :64],
        "decoder_first64": logits[..., :64],
        "loss": torch.tensor([loss, stats["loss_ctc"], stats["loss_att"], stats["acc"]]),
    }
    assert lengths.tolist() == [12] and model.sos == 5048
    for name, value in found.items():
        torch.testing.assert_close(
            value, reference[f"{modality}_{name}"].float(), atol=TOLERANCE, rtol=0, msg=f"{name}: {{}}".format
        )


@pytest.mark.slow
def test_published_parts_behind_a_vivit_give_the_published_numbers(published, reference, tmp_path):
    """What a ViViT would have to say for the rest of the lip reader to answer as it does behind its own ResNet."""
    torch.save(state_dict("video", published["video"]["state_dict"]), tmp_path / "vsr.pth")
    tower = {"vision_encoder": "vivit", "vision_encoder_conf": {**WINDOWED_VIVIT, "output_dim": 512}}
    model = E2E(PUBLISHED["odim"], **tower)
    loaded = load_parts(model, dict.fromkeys(("fusion", "encoder", "decoder", "ctc"), tmp_path / "vsr.pth"))
    assert sum(part.parameters for part in loaded) == PARAMETERS["video"] - 11_182_784  # its ResNet
    with torch.no_grad():
        features = model.eval().fusion(reference["video_frontend"].float())
        encoding, lengths, _ = model.encoder(features, torch.tensor([features.size(1)]))
        logits, _ = model.decoder(encoding, lengths, torch.tensor([[model.sos, *TARGET[:3]]]), torch.tensor([4]))
    for name, value in (("encoder", encoding), ("decoder_first64", logits[..., :64])):
        torch.testing.assert_close(value, reference[f"video_{name}"].float(), atol=TOLERANCE, rtol=0)
    log_posteriors = model.ctc.log_softmax(encoding)[..., :64]
    torch.testing.assert_close(log_posteriors, reference["video_ctc_logp_first64"].float(), atol=TOLERANCE, rtol=0)
