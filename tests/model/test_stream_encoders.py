"""Late fusion: two encoders and an MLP after them, in the whole model: padding, silence, dropout, training."""

import pytest
import torch

from espnet_vivit.errors import ConfigError
from tests.tiny import gray_clip, randomize, tiny_e2e

FRAMES = (9, 5)
LATE = {"fusion": "mlp", "fusion_place": "encoder", "fusion_conf": {"hidden_units": 12}}


def late(**options):
    return randomize(tiny_e2e("multimodal", **{**LATE, **options}), std=0.2)


def batch(frames=FRAMES, *, extra=0):
    """Clips of these frames, padded with what must not matter."""
    torch.manual_seed(5)
    video = torch.full((len(frames), max(frames) + extra, 16, 16), torch.nan)
    speech = torch.full((len(frames), 640 * (max(frames) + extra)), torch.nan)
    for row, count in enumerate(frames):
        video[row, :count], speech[row, : 640 * count] = gray_clip(count), torch.randn(640 * count)
    lengths = torch.tensor(frames)
    return {"video": video, "video_lengths": lengths, "speech": speech, "speech_lengths": 640 * lengths}


def of_row(given, row):
    count = given["video_lengths"][row].item()
    return {
        "video": given["video"][row : row + 1, :count],
        "video_lengths": torch.tensor([count]),
        "speech": given["speech"][row : row + 1, : 640 * count],
        "speech_lengths": torch.tensor([640 * count]),
    }


def test_the_utterances_of_a_padded_batch_stay_apart():
    model, given = late().eval(), batch(extra=3)
    with torch.no_grad():
        states, lengths = model.encode(**given)
        for row in range(len(FRAMES)):
            alone, _ = model.encode(**of_row(given, row))
            torch.testing.assert_close(states[row, : lengths[row]], alone[0], atol=1e-5, rtol=1e-5)
            assert (states[row, lengths[row] :] == 0).all()


def test_in_training_batch_norm_of_the_mlp_does_not_see_padding():
    statistics = []
    for extra in (0, 4):
        torch.manual_seed(0)
        model = late().train()
        model.encode(**batch(extra=extra))
        statistics.append(model.fusion.norm.running_mean.clone())
    torch.testing.assert_close(*statistics)


@pytest.mark.parametrize(("kept", "silent"), [("video", "audio"), ("speech", "video")])
def test_a_missing_stream_is_silent_states_and_its_encoder_is_not_asked(kept, silent):
    model, given = late().eval(), batch()
    asked = []
    getattr(model.encoder, silent).register_forward_hook(lambda *_: asked.append(silent))
    alone = {name: value for name, value in given.items() if name.startswith(kept)}
    with torch.no_grad():
        found, lengths = model.encode(**alone)
        assert not asked
        seen, heard, _ = model._features(**given)
        seen, heard = model.encoder(seen, heard, lengths)
        streams = {"video": (seen, None), "speech": (None, heard)}[kept]
        expected = model.fusion(*streams, lengths)
    for row, count in enumerate(lengths):
        torch.testing.assert_close(found[row, :count], expected[row, :count])


def test_modality_dropout_silences_an_encoders_states():
    model, given = late(modality_dropout={"video": 1.0}).train(), batch()
    model.fusion.eval(), model.encoder.eval()
    video = batch()
    video["video"] = given["video"] + 5.0
    with torch.no_grad():
        for norm in (model.vision_encoder, model.audio_encoder):
            norm.eval()
        torch.testing.assert_close(model.encode(**given)[0], model.encode(**video)[0])


def test_it_trains_and_every_parameter_gets_a_gradient():
    model = late(modality_dropout={"video": 0.5, "audio": 0.5}).train()
    loss, _, _ = model(text=torch.tensor([[1, 2], [3, -1]]), text_lengths=torch.tensor([2, 1]), **batch())
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert torch.isfinite(loss) and not without


def test_collecting_features_gives_what_both_encoders_see():
    model, given = late().eval(), batch()
    feats = model.collect_feats(**given)["feats"]
    width = model.vision_encoder.output_size() + model.audio_encoder.output_size()
    assert feats.shape == (2, max(FRAMES), width)


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ("video", {}, "fusion_place: encoder needs two streams: found modality video"),
        ("multimodal", {"fusion_place": "decoder"}, "unknown fusion_place: found 'decoder'; expected one of encoder"),
        ("multimodal", {"fusion_conf": {"hidden": 3}}, "unknown option in fusion_conf for fusion: mlp: found 'hidden'"),
        ("multimodal", {"fusion_conf": {"hidden_units": 0}}, "without hidden units"),
        (
            "multimodal",
            {"encoder_conf": {"interctc_layer_idx": [1]}, "interctc_weight": 0.3},
            "intermediate CTC needs one encoder",
        ),
    ],
)
def test_what_cannot_be_is_named(streams, options, message):
    with pytest.raises(ConfigError, match=message):
        tiny_e2e(streams, **{**LATE, **({"fusion_conf": None} if streams == "video" else {}), **options})
