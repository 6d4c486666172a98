"""The whole model: its losses, its two streams, padding, and every option that can be misspelt or contradicted."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import VivitConfig, VivitModel

from espnet_vivit import E2E
from espnet_vivit.errors import ConfigError, EspnetVivitError, InputError
from espnet_vivit.model.joint_fusion import FUSIONS
from tests.tiny import CONFIG, VOCABULARY, WINDOW, WINDOWED_VIVIT, gray_clip, randomize, raw_clip, tiny_e2e

SAMPLES = 640  # per video frame
MODALITIES = ("video", "audio", "multimodal")
EVERY_MODALITY = pytest.mark.parametrize("modality", MODALITIES)
EVERY_RATE = pytest.mark.parametrize("rate", ["frame", "tubelet"])
FRAMES = (21, 12, 17)  # of three clips; at 12.5 Hz, 10, 6 and 8 steps
TEXTS = ([1, 2, 3, 4], [5, 1], [3, 3, 2])
TOLERANCE = 1e-5


def model_of(modality, **options):
    return randomize(tiny_e2e(modality, **options), std=0.15).eval()


def clips_of(modality, frames=FRAMES, make=gray_clip):
    """What one utterance after another brings along: {"video": (T, H, W), "speech": (N,)}."""
    clips = []
    for count in frames:
        clip = {"video": make(count), "speech": torch.randn(SAMPLES * count)}
        takes = {"video": ["video"], "audio": ["speech"], "multimodal": ["video", "speech"]}[modality]
        clips.append({name: clip[name] for name in takes})
    return clips


def pad(values, fill, size=0):
    padded = values[0].new_full((len(values), max(size, *map(len, values)), *values[0].shape[1:]), fill)
    for row, value in zip(padded, values, strict=True):
        row[: len(value)] = value
    return padded, torch.tensor([len(value) for value in values])


def batch_of(clips, texts=None, extra=0):
    """Keyword arguments of `encode`, or with texts of `forward`; the padding as bad as can be, plus `extra` frames."""
    batch = {}
    for name in clips[0]:
        values = [clip[name] for clip in clips]
        room = max(map(len, values)) + extra * (1 if name == "video" else SAMPLES)
        fill = torch.nan if values[0].is_floating_point() else 255
        batch[name], batch[f"{name}_lengths"] = pad(values, fill, room)
    if texts is not None:
        batch["text"], batch["text_lengths"] = pad([torch.tensor(text) for text in texts], -1, extra)
    return batch


def value(stat):
    return stat.item() if isinstance(stat, torch.Tensor) else stat


# what it answers ----------------------------------------------------------------------------------------------------


@EVERY_MODALITY
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_forward_keeps_espnets_contract(modality, training):
    model = model_of(modality).train(training)
    loss, stats, weight = model(**batch_of(clips_of(modality), TEXTS))
    assert torch.isfinite(loss).all() and loss.requires_grad
    assert weight.item() == 3
    assert {"loss", "loss_ctc", "loss_att", "acc"} <= stats.keys()
    assert value(stats["loss"]) == pytest.approx(loss.item())
    assert value(stats["loss"]) == pytest.approx(0.1 * value(stats["loss_ctc"]) + 0.9 * value(stats["loss_att"]))
    assert (stats["cer"] is None) == training and (stats["cer_ctc"] is None) == training
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@EVERY_MODALITY
@EVERY_RATE
def test_encoding_has_the_lengths_of_the_rate(modality, rate):
    model = model_of(modality, feature_rate=rate)
    encoding, lengths = model.encode(**batch_of(clips_of(modality)))
    expected = list(FRAMES) if rate == "frame" else [10, 6, 8]
    assert lengths.tolist() == expected
    assert encoding.shape == (3, max(expected), 16)
    assert model.feature_rate == rate and model.encoder.output_size() == 16


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_modality_follows_from_the_encoders_named(modality):
    model = tiny_e2e(modality)
    assert model.modality == modality
    assert (model.vision_encoder is None) == (modality == "audio")
    assert (model.audio_encoder is None) == (modality == "video")


def test_a_modality_leaves_out_the_encoder_it_does_not_need():
    model = tiny_e2e("multimodal", modality="video")
    assert model.audio_encoder is None
    assert type(model.fusion) is torch.nn.Linear
    model.encode(**batch_of(clips_of("video")))


def test_ctc_weights_of_zero_and_one_drop_the_other_half():
    batch = batch_of(clips_of("video"), TEXTS)
    _, stats, _ = model_of("video", ctc_weight=0.0)(**batch)
    assert "loss_ctc" not in stats and value(stats["loss"]) == pytest.approx(value(stats["loss_att"]))
    model = model_of("video", ctc_weight=1.0)
    _, stats, _ = model(**batch)
    assert model.decoder is None
    assert "loss_att" not in stats and value(stats["loss"]) == pytest.approx(value(stats["loss_ctc"]))


def test_the_ctc_loss_is_pytorchs_of_the_encoding():
    model = model_of("video")
    batch = batch_of(clips_of("video"), TEXTS)
    _, stats, _ = model(**batch)
    encoding, lengths = model.encode(video=batch["video"], video_lengths=batch["video_lengths"])
    log_probabilities = model.ctc.ctc_lo(encoding).log_softmax(-1).transpose(0, 1)
    expected = F.ctc_loss(log_probabilities, batch["text"], lengths, batch["text_lengths"], reduction="sum") / 3
    assert value(stats["loss_ctc"]) == pytest.approx(expected.item(), rel=1e-5)


def test_the_attention_loss_is_label_smoothed_cross_entropy():
    """Smoothing as ESPnet counts it: 0.1 shared by the wrong tokens alone, and relative to the target's entropy."""
    model = model_of("video")
    batch = batch_of(clips_of("video"), TEXTS)
    _, stats, _ = model(**batch)
    encoding, lengths = model.encode(video=batch["video"], video_lengths=batch["video_lengths"])
    end, total = VOCABULARY - 1, 0.0
    for states, length, text in zip(encoding, lengths, TEXTS, strict=True):
        given = torch.tensor([[end, *text]])
        logits, _ = model.decoder(states[None, :length], length[None], given, torch.tensor([len(text) + 1]))
        wanted = F.one_hot(torch.tensor([*text, end]), VOCABULARY)
        smooth = wanted * 0.9 + (1 - wanted) * 0.1 / (VOCABULARY - 1)
        total += F.kl_div(logits[0].log_softmax(-1), smooth, reduction="sum").item()
    assert value(stats["loss_att"]) == pytest.approx(total / 3, rel=1e-5)


def test_intermediate_ctc_is_weighed_into_the_ctc_loss():
    options = {"encoder_conf": {"interctc_layer_idx": [1]}, "interctc_weight": 0.3, "ctc_weight": 1.0}
    model = model_of("video", **options)
    batch = batch_of(clips_of("video"), TEXTS)
    loss, stats, _ = model(**batch)
    expected = 0.7 * value(stats["loss_ctc"]) + 0.3 * value(stats["loss_interctc"])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    states, _ = model.encode(video=batch["video"], video_lengths=batch["video_lengths"])
    assert [layer for layer, _ in states[1]] == [1]


def test_collect_feats_gives_what_the_encoder_would_see():
    model = model_of("multimodal")
    batch = batch_of(clips_of("multimodal"), TEXTS)
    feats = model.collect_feats(**batch, utt_id=["a", "b", "c"], frame_labels=None, frame_labels_lengths=None)
    assert feats["feats"].shape == (3, 21, 16) and feats["feats_lengths"].tolist() == list(FRAMES)


@EVERY_MODALITY
def test_two_eval_passes_are_equal_even_with_dropout_everywhere(modality):
    rates = {"dropout_rate": 0.5, "positional_dropout_rate": 0.5}
    dropout = {"ctc_conf": {"dropout_rate": 0.5}, "encoder_conf": rates, "decoder_conf": rates}
    both = {"modality_dropout": {"video": 0.5, "audio": 0.5}} if modality == "multimodal" else {}
    model = model_of(modality, **dropout, **both)
    batch = batch_of(clips_of(modality), TEXTS)
    first, second = model(**batch), model(**batch)
    assert first[0].item() == second[0].item()
    assert {name: value(stat) for name, stat in first[1].items()} == {n: value(stat) for n, stat in second[1].items()}
    model.train()
    assert model(**batch)[0].item() != model(**batch)[0].item()


def test_ctc_dropout_is_active_in_training():
    model = model_of("audio", ctc_conf={"dropout_rate": 0.5}, ctc_weight=1.0)
    batch = batch_of(clips_of("audio"), TEXTS)
    kept = model(**batch)[0].item()
    model.encoder.eval()
    model.training = True
    torch.manual_seed(0)
    assert model(**batch)[0].item() != pytest.approx(kept)


# padding ------------------------------------------------------------------------------------------------------------


@EVERY_MODALITY
@EVERY_RATE
@pytest.mark.parametrize("make", [gray_clip, raw_clip], ids=["float", "uint8"])
def test_each_utterance_of_a_padded_batch_is_encoded_as_if_alone(modality, rate, make):
    model = model_of(modality, feature_rate=rate)
    clips = clips_of(modality, make=make)
    with torch.no_grad():
        encoding, lengths = model.encode(**batch_of(clips, extra=5))
        assert encoding.size(1) == lengths.max(), "whole steps of padding are carried along"
        for row, count, clip in zip(encoding, lengths, clips, strict=True):
            alone, _ = model.encode(**batch_of([clip]))
            torch.testing.assert_close(row[:count], alone[0], atol=TOLERANCE, rtol=TOLERANCE)
            assert not row[count:].any()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_keeps_the_utterances_of_a_padded_batch_apart(fusion):
    model = model_of("multimodal", fusion=fusion)
    clips = clips_of("multimodal")
    with torch.no_grad():
        encoding, lengths = model.encode(**batch_of(clips, extra=5))
        for row, count, clip in zip(encoding, lengths, clips, strict=True):
            alone, _ = model.encode(**batch_of([clip]))
            torch.testing.assert_close(row[:count], alone[0], atol=TOLERANCE, rtol=TOLERANCE)


@EVERY_MODALITY
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_utterances(modality):
    model = model_of(modality)
    clips = clips_of(modality)
    with torch.no_grad():
        _, stats, _ = model(**batch_of(clips, TEXTS, extra=6))
        alone = [model(**batch_of([clip], [text]))[1] for clip, text in zip(clips, TEXTS, strict=True)]
    for name in ("loss_ctc", "loss_att", "loss"):
        singles = [value(stats[name]) for stats in alone]
        assert value(stats[name]) == pytest.approx(sum(singles) / 3, abs=1e-4), name
        assert max(singles) - min(singles) > 0.1, "the utterances do not differ enough to tell"


def test_more_padding_changes_neither_losses_nor_error_rates():
    model = model_of("multimodal")
    with torch.no_grad():
        model.ctc.ctc_lo.bias[3] += 2.0  # a padded step, where the encoding is zero, would be read as token 3
    clips = clips_of("multimodal")
    _, tight, _ = model(**batch_of(clips, TEXTS))
    _, loose, _ = model(**batch_of(clips, TEXTS, extra=9))
    for name, stat in tight.items():
        assert value(loose[name]) == pytest.approx(value(stat), abs=1e-5), name


def test_the_ctc_error_rate_counts_no_padded_step():
    """One clip is twice as long as the other; the short one is transcribed without error."""
    model = model_of("video", ctc_weight=1.0)
    batch = batch_of(clips_of("video", frames=(4, 20)), ([1], [1]))
    states = torch.full((2, 20, 16), 0.0)
    states[0, :4, 0], states[1, :, 0] = 1.0, 1.0
    with torch.no_grad():
        model.ctc.ctc_lo.weight.zero_()
        model.ctc.ctc_lo.bias.zero_()
        model.ctc.ctc_lo.weight[1, 0] = 9.0  # spoken steps say 1
        model.ctc.ctc_lo.bias[2] = 1.0  # silent ones, padding among them, 2
    _, rate = model._calc_ctc_loss(states, torch.tensor([4, 20]), batch["text"], batch["text_lengths"])
    assert rate == 0.0


def test_text_is_padded_with_minus_one_as_far_as_one_likes():
    model = model_of("video")
    batch = batch_of(clips_of("video"), TEXTS)
    loss, _, _ = model(**batch)
    longer = batch | {"text": F.pad(batch["text"], (0, 5), value=-1)}
    assert model(**longer)[0].item() == pytest.approx(loss.item(), abs=1e-6)


# two streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", FUSIONS)
@EVERY_RATE
def test_a_model_of_both_answers_with_either_stream_missing(fusion, rate):
    """As if the other stream's features were zeros."""
    model = model_of("multimodal", fusion=fusion, feature_rate=rate)
    batch = batch_of(clips_of("multimodal"))
    with torch.no_grad():
        both, lengths = model.encode(**batch)
        for kept, dropped, frontend in (("video", "speech", "audio_encoder"), ("speech", "video", "vision_encoder")):
            alone = {name: tensor for name, tensor in batch.items() if name.startswith(kept)}
            encoding, same_lengths = model.encode(**alone)
            assert torch.equal(same_lengths, lengths)
            silence = getattr(model, frontend).register_forward_hook(lambda _, __, out: (0 * out[0], out[1]))
            expected, _ = model.encode(**batch)
            silence.remove()
            torch.testing.assert_close(encoding, expected, atol=TOLERANCE, rtol=TOLERANCE)
            assert (encoding - both).abs().max() > 1e-2, f"{dropped} does not matter"


@pytest.mark.parametrize("samples", [-352, -640, 352, 640, 1], ids=lambda n: f"{n} samples")
@EVERY_RATE
def test_audio_up_to_a_frame_longer_or_shorter_is_trimmed_or_padded(samples, rate):
    """GRID's audio is 352 samples, 22 ms, short. A longer neighbour makes its end padding, NaN here, in the batch."""
    model = model_of("multimodal", feature_rate=rate)
    video, speech = raw_clip(12), torch.randn(12 * SAMPLES + 640)
    longer = {"video": raw_clip(16), "speech": torch.randn(16 * SAMPLES)}
    batch = batch_of([{"video": video, "speech": speech[: 12 * SAMPLES + samples]}, longer])
    fitted = speech[: 12 * SAMPLES].clone()
    fitted[12 * SAMPLES + samples :] = 0.0
    with torch.no_grad():
        encoding, lengths = model.encode(**batch)
        expected, _ = model.encode(**batch_of([{"video": video, "speech": fitted}]))
    steps = 12 if rate == "frame" else 6
    assert lengths.tolist() == [steps, 16 * steps // 12]
    torch.testing.assert_close(encoding[:1, :steps], expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("samples", "heard"), [(-641, "0.440"), (641, "0.520"), (-6400, "0.080")])
def test_audio_beyond_a_frame_apart_is_an_error_with_the_clips_name_and_both_durations(samples, heard):
    model = model_of("multimodal")
    clips = clips_of("multimodal", frames=(9, 12))
    clips[1]["speech"] = torch.randn(12 * SAMPLES + samples)
    batch = batch_of(clips, ([1], [2]))
    message = rf"audio and video of {{}} differ in length: found {heard} s of audio, 0.480 s of video"
    with pytest.raises(InputError, match=message.format("s1_bbaf2n")):
        model(**batch, utt_id=["s1_other", "s1_bbaf2n"])
    with pytest.raises(InputError, match=message.format("clip 1 of the batch")):
        model(**batch)


def test_a_dropped_stream_still_reaches_every_parameter():
    """A branch that is skipped, not zeroed, hangs distributed training."""
    for stream, tower in (("video", "vision_encoder"), ("audio", "audio_encoder")):
        model = model_of("multimodal", modality_dropout={stream: 1.0}).train()
        model(**batch_of(clips_of("multimodal"), TEXTS))[0].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            if name.startswith(tower):
                assert not parameter.grad.any(), f"{name} learns from a stream that was dropped"


def test_modality_dropout_trains_with_what_a_missing_stream_is_at_inference():
    model = model_of("multimodal", modality_dropout={"audio": 1.0})
    batch = batch_of(clips_of("multimodal"))
    model.modality_dropout.train()
    with torch.no_grad():
        dropped, _ = model.encode(**batch)
        missing, _ = model.encode(video=batch["video"], video_lengths=batch["video_lengths"])
    torch.testing.assert_close(dropped, missing, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("vision_encoder", ["resnet", "linear"])
def test_other_vision_encoders_run_in_step_with_audio_in_batches_padded_beyond_their_longest_clip(vision_encoder):
    conf = {"channels": 2} if vision_encoder == "resnet" else {"image_size": 16, "output_dim": 8}
    model = model_of("multimodal", vision_encoder=vision_encoder, vision_encoder_conf=conf)
    clips = clips_of("multimodal")
    encoding, lengths = model.encode(**batch_of(clips, extra=4))
    assert encoding.size(1) == lengths.max() == 21


# frame loss ---------------------------------------------------------------------------------------------------------


def frame_labels(rate, extra=0):
    steps = FRAMES if rate == "frame" else (10, 6, 8)
    labels = [torch.randint(0, VOCABULARY - 1, (count,)) for count in steps]
    labels[0][2:5] = -1
    return dict(zip(("frame_labels", "frame_labels_lengths"), pad(labels, -1, max(steps) + extra), strict=True))


@EVERY_RATE
@pytest.mark.parametrize(("training", "smoothing"), [(False, 0.0), (True, 0.1)], ids=["eval", "train"])
def test_the_frame_loss_is_pytorchs_cross_entropy_over_labelled_steps(rate, training, smoothing):
    model = model_of("video", frame_loss_weight=0.7, feature_rate=rate)
    batch, labels = batch_of(clips_of("video"), TEXTS), frame_labels(rate)
    model.training = training  # of the model alone: BatchNorm below it stays as it is
    loss, stats, _ = model(**batch, **labels)
    encoding, _ = model.encode(video=batch["video"], video_lengths=batch["video_lengths"])
    known = labels["frame_labels"] >= 0
    logits, wanted = model.frame_head(encoding)[known], labels["frame_labels"][known]
    expected = F.cross_entropy(logits, wanted, label_smoothing=smoothing).item()
    assert value(stats["loss_frame"]) == pytest.approx(expected, rel=1e-5)
    assert value(stats["acc_frame"]) == pytest.approx((logits.argmax(-1) == wanted).float().mean().item())
    hybrid = 0.1 * value(stats["loss_ctc"]) + 0.9 * value(stats["loss_att"])
    assert loss.item() == pytest.approx(hybrid + 0.7 * expected, rel=1e-5)


def test_a_batch_without_a_single_frame_label_has_no_frame_loss():
    model = model_of("video", frame_loss_weight=0.7).train()
    labels = {"frame_labels": torch.full((3, 21), -1), "frame_labels_lengths": torch.tensor(FRAMES)}
    loss, stats, _ = model(**batch_of(clips_of("video"), TEXTS), **labels)
    assert value(stats["loss_frame"]) == 0.0 and stats["acc_frame"] is None
    loss.backward()
    assert math.isfinite(loss.item())
    assert model.frame_head.weight.grad is not None, "distributed training would wait for it"


def test_frame_labels_may_be_padded_beyond_the_longest_clip():
    model = model_of("video", frame_loss_weight=1.0)
    batch = batch_of(clips_of("video"), TEXTS)
    labels = frame_labels("frame", extra=3)
    tight = {"frame_labels": labels["frame_labels"][:, :21], "frame_labels_lengths": labels["frame_labels_lengths"]}
    assert model(**batch, **labels)[0].item() == model(**batch, **tight)[0].item()


def test_missing_or_too_few_frame_labels_are_an_error():
    model = model_of("video", frame_loss_weight=1.0)
    batch = batch_of(clips_of("video"), TEXTS)
    with pytest.raises(InputError, match=r"frame_loss_weight is set, but the batch has no frame_labels.*word_times"):
        model(**batch)
    with pytest.raises(InputError, match=r"do not match the encoder's steps: found \(3, 10\); expected \(3, 21\)"):
        model(**batch, **frame_labels("tubelet"))


def test_without_a_frame_loss_there_is_no_head_and_labels_are_not_read():
    model = model_of("video")
    batch = batch_of(clips_of("video"), TEXTS)
    assert model.frame_head is None
    assert model(**batch, **frame_labels("tubelet"))[0].item() == model(**batch)[0].item()


# building -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoders", "parameters"),
    [({"vision_encoder": "resnet"}, 250_383_410), ({"audio_encoder": "resnet1d"}, 243_049_202)],
    ids=["video", "audio"],
)
def test_default_sizes_have_the_published_number_of_parameters(encoders, parameters):
    """Auto-AVSR's, with its 5049 tokens (../shared/fixtures/README.md)."""
    with torch.device("meta"):
        model = E2E(5049, **encoders)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(5)
    tower = randomize(VivitModel(VivitConfig(**CONFIG), add_pooling_layer=False))
    folder = tmp_path_factory.mktemp("vivit")
    tower.save_pretrained(folder)
    return str(folder), tower


def test_initialisation_leaves_the_vision_tower_as_it_was_loaded_and_draws_all_else(checkpoint):
    folder, tower = checkpoint
    conf = {"model_name": folder, "num_frames": WINDOW}
    model = tiny_e2e("multimodal", vision_encoder_conf=conf, init="normal", fusion="gated", frame_loss_weight=1.0)
    for name, parameter in model.vision_encoder.vivit.named_parameters():
        assert torch.equal(parameter, tower.get_parameter(name)), name
    drawn = {n: p for n, p in model.named_parameters() if not n.startswith("vision_encoder.")}
    assert {name.split(".")[0] for name in drawn} == {
        "encoder",
        "decoder",
        "ctc",
        "audio_encoder",
        "fusion",
        "frame_head",
    }
    for name, parameter in drawn.items():
        if name.endswith(".bias"):
            assert not parameter.any(), f"{name} was not set to zero"
        elif parameter.dim() > 1 and parameter.numel() > 100 and ".embed." not in name:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.35), f"{name} was not drawn"


def test_initialised_audio_features_still_hear():
    model = tiny_e2e("audio", init="xavier_uniform").train()
    features, _ = model.audio_encoder(torch.randn(2, 10 * SAMPLES), torch.tensor([10 * SAMPLES] * 2))
    assert features.std(dim=1).min() > 1e-3


def test_the_models_name_may_stand_beside_the_conf_but_not_against_it(checkpoint):
    folder, tower = checkpoint
    for options in (
        {"vision_model_name": folder, "vision_encoder_conf": {"num_frames": WINDOW}},
        {"vision_model_name": folder, "vision_encoder_conf": {"model_name": folder, "num_frames": WINDOW}},
    ):
        model = tiny_e2e("video", **options)
        assert torch.equal(model.vision_encoder.vivit.layernorm.weight, tower.layernorm.weight)
    conf = {"model_name": folder}
    with pytest.raises(ConfigError, match=r"named twice, differently: found vision_model_name='other'.*Keep one"):
        tiny_e2e("video", vision_model_name="other", vision_encoder_conf=conf)
    assert conf == {"model_name": folder}


MISTAKES = {
    "vision_encoder": ({"vision_encoder": "vivitt"}, "unknown vision_encoder: found 'vivitt'.*Did you mean 'vivit'"),
    "audio_encoder": ({"audio_encoder": "resnet2d"}, "unknown audio_encoder: found 'resnet2d'.*'resnet1d'"),
    "encoder": ({"encoder": "Conformer"}, "unknown encoder: found 'Conformer'.*Did you mean 'conformer'"),
    "decoder": ({"decoder": "transfomer"}, "unknown decoder: found 'transfomer'.*'transformer'"),
    "fusion": ({"fusion": "conct"}, "unknown fusion: found 'conct'.*Did you mean 'concat'"),
    "feature_rate": ({"feature_rate": "frames"}, "unknown feature_rate: found 'frames'.*Did you mean 'frame'"),
    "modality": ({"modality": "av"}, "unknown modality: found 'av'; expected one of audio, multimodal, video"),
    "modality_dropout": ({"modality_dropout": {"vide": 0.1}}, "unknown stream in modality_dropout: found 'vide'"),
    "encoder_conf": ({"encoder_conf": {"num_block": 2}}, "option in encoder_conf .*'num_block'.*'num_blocks'"),
    "decoder_conf": ({"decoder_conf": {"num_block": 2}}, "option in decoder_conf .*'num_block'.*'num_blocks'"),
    "ctc_conf": ({"ctc_conf": {"droput_rate": 0.1}}, "option in ctc_conf: found 'droput_rate'.*'dropout_rate'"),
    "vision_encoder_conf": ({"vision_encoder_conf": {"froze": True}}, "in vision_encoder_conf .*'froze'.*'frozen'"),
    "audio_encoder_conf": ({"audio_encoder_conf": {"chanels": 2}}, "in audio_encoder_conf .*'chanels'.*'channels'"),
    "rate in a part": (
        {"vision_encoder_conf": {**WINDOWED_VIVIT, "feature_rate": "tubelet"}},
        "contradicts the model's own feature_rate: found feature_rate='tubelet' against 'frame'",
    ),
    "frame_loss_weight": ({"frame_loss_weight": -1.0}, "frame_loss_weight in model_conf: found -1.0; expected 0"),
    "token_list": ({"token_list": ["<blank>", "a"]}, "token_list and odim disagree: found 2 tokens; expected odim = 7"),
    "a tower missing": ({"modality": "multimodal", "audio_encoder": None}, "modality multimodal needs a audio_encoder"),
    "no tower": ({"vision_encoder": None, "audio_encoder": None}, "the model has no input: found neither.*resnet1d"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_is_named(mistake):
    options, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        tiny_e2e("multimodal", **options)


def test_a_misspelt_option_of_the_model_is_refused():
    with pytest.raises(TypeError, match="ctc_wieght"):
        tiny_e2e("video", ctc_wieght=0.3)


def test_pooling_to_one_vector_per_window_is_warned_of():
    conf = {**WINDOWED_VIVIT, "temporal_pooling": "cls"}
    with pytest.warns(UserWarning, match='temporal_pooling="cls" gives every step of a window the same vector'):
        tiny_e2e("video", vision_encoder_conf=conf)


# streams that do not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "given", "message"),
    [
        ("video", "audio", "modality is video: found speech; expected video"),
        ("audio", "multimodal", "modality is audio: found speech and video; expected speech"),
        ("video", None, "modality is video: found no stream at all"),
        ("multimodal", None, "found no stream at all; expected speech, video, or both"),
    ],
)
def test_streams_that_the_model_does_not_take_are_named(modality, given, message):
    batch = batch_of(clips_of(given)) if given else {}
    with pytest.raises(InputError, match=message):
        model_of(modality).encode(**batch)


@pytest.mark.parametrize("stream", ["video", "speech"])
def test_a_stream_without_lengths_is_named(stream):
    batch = batch_of(clips_of("multimodal"))
    del batch[f"{stream}_lengths"]
    with pytest.raises(InputError, match=f"{stream} comes without its lengths: found {stream}_lengths=None. Pass"):
        model_of("multimodal").encode(**batch)


def test_padding_has_one_number():
    """Another would be counted as words by ESPnet's error rates."""
    with pytest.raises(ConfigError, match="ignore_id in model_conf: found -100; expected -1"):
        tiny_e2e("video", ignore_id=-100)


def test_bad_values_in_a_stream_are_errors_of_ours():
    model = model_of("multimodal")
    good = batch_of(clips_of("multimodal"))
    for broken in ({"video": good["video"] * torch.nan}, {"speech": good["speech"] * torch.nan}):
        with pytest.raises(EspnetVivitError, match="not finite"):
            model.encode(**good | broken)


# saving -------------------------------------------------------------------------------------------------------------


@EVERY_MODALITY
def test_saved_and_loaded_it_is_equal_and_wrong_keys_are_named(modality, tmp_path):
    model = model_of(modality, frame_loss_weight=1.0)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    state = torch.load(tmp_path / "model.pth", weights_only=True)
    other = model_of(modality, frame_loss_weight=1.0)
    other.load_state_dict(state)
    batch = batch_of(clips_of(modality))
    assert torch.equal(model.encode(**batch)[0], other.encode(**batch)[0])
    state["fusion.extra"] = state.pop("ctc.ctc_lo.bias")
    with pytest.raises(RuntimeError, match=r"(?s)ctc\.ctc_lo\.bias.*fusion\.extra"):
        other.load_state_dict(state)


def test_checkpoints_name_their_parts_by_what_the_configuration_calls_them():
    parts = {name.split(".")[0] for name in tiny_e2e("multimodal", frame_loss_weight=1.0).state_dict()}
    assert parts == {"vision_encoder", "audio_encoder", "fusion", "encoder", "decoder", "ctc", "frame_head"}
