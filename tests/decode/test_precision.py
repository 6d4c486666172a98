"""A trained model in other precisions: nearly the same answers, and named errors where a precision cannot be had."""

import pytest
import torch

from espnet_vivit.base.int8_linear import Int8Linear
from espnet_vivit.decode.precision import set_precision
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit import packed_layers
from espnet_vivit.model.precision import check_amp_dtype
from tests.decode.espnet_search import random_lm
from tests.tiny import STREAMS, VOCABULARY, randomize, raw_clip, tiny_e2e

FRAMES = 21
WINDOWED = {"frame_adjust": "window", "window_overlap": 4}


def has_bfloat16() -> bool:
    try:
        check_amp_dtype("bfloat16", torch.device("cpu"))
    except ConfigError:
        return False
    return True


needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no arithmetic in bfloat16")


def tiny(streams="multimodal", **vision):
    torch.manual_seed(0)
    conf = STREAMS["video"]["vision_encoder_conf"] | WINDOWED | vision
    options = {} if streams == "audio" else {"vision_encoder_conf": conf}
    return randomize(tiny_e2e(streams, **options), std=0.2).eval()


@torch.no_grad()
def answers(model):
    """Encoder states of a clip, and log-probabilities of the tokens that may follow two."""
    torch.manual_seed(1)
    streams = {"speech": 0.1 * torch.randn(1, FRAMES * 640), "video": raw_clip(FRAMES)[None]}
    wanted = {"video": ["video"], "audio": ["speech"], "multimodal": ["video", "speech"]}[model.modality]
    batch = {name: streams[name] for name in wanted}
    batch |= {f"{name}_lengths": torch.tensor([stream.shape[1]]) for name, stream in batch.items()}
    states, lengths = model.encode(**batch)
    scores, _ = model.decoder(states, lengths, torch.tensor([[model.sos, 3, 4]]), torch.tensor([3]))
    return states, scores.log_softmax(-1)


def error(found, expected):
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def linears(module, kind):
    return [name for name, part in module.named_modules() if type(part) is kind]


@pytest.mark.parametrize("streams", ["video", "audio", "multimodal"])
def test_in_int8_all_linear_layers_but_the_outputs_are_integers_and_the_answers_nearly_the_same(streams):
    model = tiny(streams)
    expected, names = answers(model), linears(model, torch.nn.Linear)
    set_precision(model, "int8")
    assert sorted(linears(model, torch.nn.Linear)) == ["ctc.ctc_lo", "decoder.output_layer"]
    assert len(linears(model, Int8Linear)) == len(names) - 2
    assert 0 < error(answers(model), expected) < 0.05


@pytest.mark.parametrize("options", [{}, {"feature_rate": "frame"}, {"stem": "conv"}], ids=str)
def test_in_float32_a_vivit_is_packed_and_the_answers_are_the_same(options, monkeypatch):
    model = tiny("video", **options)
    expected = answers(model)
    set_precision(model, "float32")
    assert error(answers(model), expected) < 1e-5
    monkeypatch.setattr(packed_layers.PackedLayers, "__call__", lambda self, vivit, hidden: 0 * hidden)
    assert error(answers(model), expected) > 0.1, "the packed weights are not used"


@needs_bfloat16
@pytest.mark.parametrize("options", [{}, {"feature_rate": "frame"}, {"stem": "conv"}], ids=str)
def test_in_bfloat16_the_vivit_computes_in_it_and_nothing_else(options):
    model = tiny("video", **options)
    expected = answers(model)
    set_precision(model, "bfloat16")
    assert model.vision_encoder.vivit.dtype == torch.bfloat16
    assert {p.dtype for p in model.encoder.parameters()} == {torch.float32}
    assert 0 < error(answers(model), expected) < 0.05


def test_language_models_are_in_int8_too():
    scorer = random_lm(VOCABULARY, dtype=torch.float32)
    set_precision(tiny("audio"), "int8", language_models=[scorer])
    assert linears(scorer, torch.nn.Linear) == ["decoder"]
    assert linears(scorer, Int8Linear)


def test_what_cannot_be_had_is_refused_by_name():
    with pytest.raises(ConfigError, match="Did you mean 'bfloat16'"):
        set_precision(tiny("audio"), "bfloat61")
    with pytest.raises(ConfigError, match=r"bfloat16 for another vision encoder: found none; expected a ViViT"):
        set_precision(tiny("audio"), "bfloat16")
    adapted = tiny_e2e("video", tower_adapters={"vision_encoder": {"type": "lora", "r": 2}})
    with pytest.raises(ConfigError, match=r"int8 for a model with adapters: found vision_encoder.*merge-adapters"):
        set_precision(adapted, "int8")
