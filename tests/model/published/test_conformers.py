"""Auto-AVSR's checkpoints, at a size that needs no download: what is loaded, what is refused, and what is said then."""

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.model.published import conformers
from tests.auto_avsr import TINY, state_dict

MODALITIES = ("video", "audio")
LAYOUT = {"video": conformers.MAIN_VIDEO, "audio": conformers.MAIN_AUDIO}
EVERY_MODALITY = pytest.mark.parametrize("modality", MODALITIES)
STEM = {"video": "frontend.frontend3D.0.weight", "audio": "frontend.trunk.conv1.weight"}
TOKENS = ["<blank>", "<unk>", "▁a", "▁b", "c", "d", "e", "f", "<sos/eos>"]


@EVERY_MODALITY
def test_every_weight_of_a_file_is_in_the_model_and_nothing_else_is(modality, tmp_path):
    published = state_dict(modality)
    torch.save(published, tmp_path / "model.pth")
    model = E2E.from_auto_avsr(tmp_path / "model.pth", token_list=TOKENS)
    assert model.modality == modality and model.token_list == TOKENS and not model.training
    ours = {LAYOUT[modality].published_name(name): value for name, value in model.state_dict().items()}
    assert ours.keys() == published.keys()
    for name, value in ours.items():
        assert torch.equal(value, published[name]), name


@EVERY_MODALITY
def test_sizes_are_those_of_the_weights(modality):
    model = E2E.from_auto_avsr(state_dict(modality))
    assert model.vocab_size == TINY["odim"] and model.encoder.output_size() == TINY["width"]
    assert [layer.self_attn.h for layer in model.encoder.encoders] == [TINY["heads"]] * TINY["blocks"]
    assert [layer.src_attn.h for layer in model.decoder.decoders] == [TINY["heads"]] * TINY["decoder_blocks"]
    other = E2E.from_auto_avsr(state_dict(modality, units=40, heads=2, kernel=5, blocks=12), decoder_heads=8)
    assert len(other.encoder.encoders) == 12 and other.encoder.encoders[0].self_attn.h == 2
    assert other.decoder.decoders[0].self_attn.h == 8
    assert other.encoder.encoders[0].conv_module.depthwise_conv.kernel_size == (5,)


def test_waveforms_are_normalised_as_auto_avsrs_data_loader_does_unless_told_otherwise():
    """Its data loader calls layer_norm over the whole waveform, with an epsilon of 1e-8."""
    state, speech = state_dict("audio"), 3.0 + 0.2 * torch.randn(1, 640 * 5)
    lengths = torch.tensor([640 * 5])
    normalised = torch.nn.functional.layer_norm(speech, speech.shape, eps=1e-8)
    published, as_it_is = E2E.from_auto_avsr(state), E2E.from_auto_avsr(state, waveform_normalization="none")
    found, _ = published.encode(speech=speech, speech_lengths=lengths)
    expected, _ = as_it_is.encode(speech=normalised, speech_lengths=lengths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (as_it_is.encode(speech=speech, speech_lengths=lengths)[0] - expected).abs().max() > 1e-2


def test_the_callers_state_dict_stays_its_own():
    state = state_dict("video")
    model = E2E.from_auto_avsr(state)
    before = state["ctc.ctc_lo.bias"].clone()
    with torch.no_grad():
        model.ctc.ctc_lo.bias.zero_()
    assert torch.equal(state["ctc.ctc_lo.bias"], before)


@EVERY_MODALITY
def test_every_key_that_is_missing_or_has_no_place_or_another_shape_is_named(modality):
    state = state_dict(modality)
    gone = ["proj_encoder.bias", "encoder.encoders.1.conv_module.pointwise_cov2.weight", "decoder.after_norm.weight"]
    for name in gone:
        del state[name]
    extra = ["decoder.after_norm.gamma", "encoder.encoders.1.conv_module.pointwise_conv2.weight", "lm.embed.weight"]
    state |= {name: torch.zeros(1) for name in extra}
    state["ctc.ctc_lo.bias"] = torch.zeros(TINY["odim"] + 1)
    with pytest.raises(WeightsError, match=r"not a complete model of Auto-AVSR \(main\)") as caught:
        E2E.from_auto_avsr(state)
    message = str(caught.value)
    assert f"3 missing: {', '.join(sorted(gone, key=message.index))}" in message
    assert f"3 without a place: {', '.join(extra)}" in message
    assert "1 of another shape: ctc.ctc_lo.bias (10,) for (9,)" in message


def test_a_block_in_the_middle_cannot_be_missing():
    state = {n: v for n, v in state_dict("video", blocks=3).items() if not n.startswith("encoder.encoders.1.")}
    with pytest.raises(WeightsError, match=r"missing: encoder\.encoders\.1\.") as caught:
        E2E.from_auto_avsr(state)
    assert "encoder.encoders.2" not in str(caught.value)


@EVERY_MODALITY
def test_a_frontend_that_is_neither_of_the_two_is_named(modality):
    state = state_dict(modality)
    del state[STEM[modality]]
    with pytest.raises(
        WeightsError, match=r"none of the layouts .*: found weights of ctc\.ctc_lo.*; expected one of \d+; the nearest"
    ):
        E2E.from_auto_avsr(state)
    flat = state_dict(modality) | {STEM[modality]: torch.zeros(2, 1)}
    with pytest.raises(WeightsError, match="none of the layouts"):
        E2E.from_auto_avsr(flat)


@pytest.mark.parametrize(
    "name",
    [
        "ctc.ctc_lo.weight",
        "encoder.encoders.0.self_attn.pos_bias_u",
        "encoder.encoders.0.conv_module.depthwise_conv.weight",
        "encoder.encoders.0.feed_forward.w_1.weight",
        "decoder.decoders.0.feed_forward.w_1.weight",
    ],
)
def test_a_weight_that_tells_a_size_is_asked_for(name):
    state = state_dict("video")
    bad = state | {name: torch.zeros(3)}
    with pytest.raises(WeightsError, match=rf"{name} has the wrong shape: found \(3,\); expected \("):
        E2E.from_auto_avsr(bad)
    del state[name]
    with pytest.raises(WeightsError, match=f"no {name}, which tells a size"):
        E2E.from_auto_avsr(state)


def test_a_token_list_of_another_length_is_refused():
    with pytest.raises(ConfigError, match="token_list and odim disagree: found 8 tokens; expected odim = 9"):
        E2E.from_auto_avsr(state_dict("video"), token_list=TOKENS[1:])


# files that are not what they should be -----------------------------------------------------------------------------


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def write_pickle(state, path, protocol):
    path.write_bytes(pickle.dumps(state, protocol))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("write", "found"),
    [
        (torch.save, "a pickle with code or objects: found builtins.getattr; expected tensors, and settings"),
        (partial(write_pickle, protocol=2), "a pickle with code or objects: found torch.storage._load_from_bytes"),
        (partial(write_pickle, protocol=4), "no pickle of tensors: expected tensors alone"),
    ],
    ids=["saved by torch", "old pickle", "new pickle"],
)
def test_a_pickle_with_code_in_it_is_refused_and_not_run(write, found, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "model.pth"
    state = state_dict("video") | {"decoder.bias": Malicious(marker)}
    write(state, path)
    with pytest.raises(WeightsError, match=rf"model\.pth is refused: {found}.*None of it was run") as caught:
        E2E.from_auto_avsr(path)
    assert not marker.exists()
    assert "weights_only" not in str(caught.value), "the advice to run the code after all"
    pickle.loads(pickle.dumps(state["decoder.bias"]))
    assert marker.exists(), "the pickle would not have done anything"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a download"], ids=["empty", "half"])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.pth cannot be read: \S+.*Download it again"):
        E2E.from_auto_avsr(tmp_path / "model.pth")


def test_a_web_page_is_no_checkpoint(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=r"model\.pth is refused: no pickle of tensors.*Get the file from"):
        E2E.from_auto_avsr(tmp_path / "model.pth")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"the checkpoint .*absent\.pth does not exist"):
        E2E.from_auto_avsr(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"ctc.bias": torch.zeros(9), "epoch": 3}, "found entries that are none: epoch"),
        ([torch.zeros(2)], "found list"),
        ({}, "found an empty dict"),
        ({1: torch.zeros(1)}, "found dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(content, found, tmp_path):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(
        WeightsError, match=f"no state dict: {found}; expected tensors by name.*save the state dict alone"
    ):
        E2E.from_auto_avsr(tmp_path / "model.pth")
