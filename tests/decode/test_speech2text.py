"""Decoding with ESPnet2's beam search: any stream of the model, sane length bounds, and the best CTC path."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.decode.speech2text import Speech2Text, streams_to_read
from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny import randomize
from tests.tiny_corpus import TOKENS, write_config

FRAMES = 12
VIDEO = np.random.default_rng(0).integers(0, 256, (FRAMES, 22, 22), dtype=np.uint8)
SPEECH = np.random.default_rng(1).standard_normal(FRAMES * 640).astype(np.float32)


def experiment(folder, **changes):
    """(config.yaml, weights) of an untrained model."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = {"audio_encoder": ..., **changes}
    parser = AVSRTask.get_parser()
    args = parser.parse_args(["--config", str(write_config(folder / "train.yaml", **changes))])
    args.token_list = list(TOKENS)
    torch.manual_seed(0)
    model = randomize(AVSRTask.build_model(args), std=0.2)
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), folder / "model.pth")
    return folder / "config.yaml", folder / "model.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp("exp"), audio_encoder="resnet1d")


def test_one_model_decodes_video_sound_and_both(files):
    scores = set()
    for modality in ("video", "audio", "multimodal"):
        speech2text = Speech2Text(*files, modality=modality, beam_size=3)
        ((text, tokens, ids, hypothesis),) = speech2text(speech=SPEECH, video=VIDEO)
        assert text == " ".join(tokens) and tokens == [TOKENS[index] for index in ids]
        scores.add(round(float(hypothesis.score), 4))
    assert len(scores) == 3


def test_a_stream_that_is_not_used_does_not_matter(files):
    seeing = Speech2Text(*files, modality="video", beam_size=3)
    alone, both = seeing(video=VIDEO), seeing(video=VIDEO, speech=SPEECH)
    assert float(alone[0][3].score) == float(both[0][3].score)
    with pytest.raises(InputError, match="nothing to transcribe: found no stream; expected video"):
        seeing(speech=SPEECH)


def test_threads_get_the_answers_to_their_own_clips(files):
    speech2text = Speech2Text(*files, modality="video", beam_size=3)
    attention = speech2text.asr_model.encoder.encoders[0].self_attn  # keeps its last weights in the module
    inside = []  # a race there is rare, two threads at once are not
    attention.register_forward_pre_hook(lambda *_: inside.append("in") or time.sleep(2e-3))
    attention.register_forward_hook(lambda *_: inside.append("out"))
    clips = [VIDEO[: 6 + number] for number in range(6)]
    expected = [speech2text.recognize(video=clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda clip: speech2text.recognize(video=clip), clips)) == expected
    assert inside == ["in", "out"] * 24


def test_mirrored_numpy_clips_are_taken(files):
    speech2text = Speech2Text(*files, modality="video", search="ctc_greedy")
    mirrored = VIDEO[:, :, ::-1]
    assert float(speech2text(video=mirrored)[0][3].score) == float(speech2text(video=mirrored.copy())[0][3].score)


def test_a_hypothesis_has_the_score_of_its_transcript(tmp_path):
    """CTC's own loss over all alignments and the decoder's probabilities, both teacher-forced, are the oracle."""
    config, weights = experiment(tmp_path, model_conf={"ctc_weight": 0.3})
    options = {"beam_size": len(TOKENS), "ctc_weight": 0.4, "penalty": 0.3, "maxlenratio": -3.0, "nbest": 99}
    speech2text = Speech2Text(config, weights, **options)
    model = speech2text.asr_model
    with torch.no_grad():
        model.decoder.output_layer.bias[model.eos] += 3  # both make short transcripts likely, so that the n best hold
        model.ctc.ctc_lo.bias[model.blank_id] += 3  # several that ended by themselves
    states, lengths = model.encode(video=torch.tensor(VIDEO[None, :5]), video_lengths=torch.tensor([5]))
    log_probs = model.ctc.log_softmax(states).transpose(0, 1)  # (T', 1, V)
    results = [result for result in speech2text(video=VIDEO[:5]) if len(result[2]) < 3]  # longer ones were cut short
    assert len(results) > 3
    for _, _, ids, hypothesis in results:
        target, count = torch.tensor([ids], dtype=torch.long).reshape(1, -1), torch.tensor([len(ids)])
        ctc = -torch.nn.functional.ctc_loss(log_probs, target, lengths, count, blank=0, reduction="sum")
        entry = torch.tensor([[model.sos, *ids]])
        logits, _ = model.decoder(states, lengths, entry, torch.tensor([len(ids) + 1]))
        attention = logits.log_softmax(-1).gather(2, torch.tensor([[*ids, model.eos]])[..., None]).sum()
        expected = 0.4 * ctc + 0.6 * attention + 0.3 * (len(ids) + 1)  # the length bonus counts the end as a token
        assert float(hypothesis.score) == pytest.approx(float(expected), abs=1e-3)


def test_no_hypothesis_holds_the_blank_however_wide_the_beam(files):
    for size in (3, len(TOKENS) - 1, len(TOKENS)):
        results = Speech2Text(*files, beam_size=size, nbest=99)(video=VIDEO)
        assert all(0 not in result[3].yseq.tolist() and result[3].score < 0 for result in results)


def test_ctc_greedy_is_the_collapsed_best_path(files):
    speech2text = Speech2Text(*files, search="ctc_greedy")
    text, tokens, ids, _ = speech2text(video=VIDEO, speech=SPEECH)[0]
    model = speech2text.asr_model
    states, _ = model.encode(
        video=torch.tensor(VIDEO[None]),
        video_lengths=torch.tensor([FRAMES]),
        speech=torch.tensor(SPEECH[None]),
        speech_lengths=torch.tensor([FRAMES * 640]),
    )
    path = torch.unique_consecutive(model.ctc.argmax(states)[0]).tolist()
    assert ids == [label for label in path if label not in (0, len(TOKENS) - 1)]
    assert text == " ".join(tokens)


@pytest.mark.parametrize(("feature_rate", "steps"), [("frame", 12), ("tubelet", 6)])
def test_length_bounds_count_video_frames_at_both_rates(tmp_path, feature_rate, steps):
    config, weights = experiment(tmp_path, feature_rate=feature_rate)

    def longest(**options):
        speech2text = Speech2Text(config, weights, **options)
        assert (
            speech2text.asr_model.encode(video=torch.tensor(VIDEO[None]), video_lengths=torch.tensor([12]))[1] == steps
        )
        ratio, shortest = speech2text._ratios_per_step(steps)
        assert shortest * steps == pytest.approx(12 * options.get("minlenratio", 0.0))
        return int(-ratio) if ratio < 0 else int(steps * (ratio or 1))

    assert longest(maxlenratio=0.5, minlenratio=0.25) == 6
    assert longest(maxlenratio=-4.0) == 4
    assert longest(ctc_weight=0.0) == 12  # attention alone may say more than one token per step
    assert longest() == steps  # CTC cannot
    assert len(Speech2Text(config, weights, maxlenratio=0.25, minlenratio=0.25)(video=VIDEO)[0][2]) <= 3


def test_a_beam_wider_than_the_vocabulary_is_cut_to_it(files):
    wide, exact = (Speech2Text(*files, modality="video", beam_size=size) for size in (40, len(TOKENS)))
    assert wide(video=VIDEO)[0][2] == exact(video=VIDEO)[0][2]


def test_the_n_best_are_sorted(files):
    hypotheses = [float(result[3].score) for result in Speech2Text(*files, beam_size=5, nbest=3)(video=VIDEO)]
    assert len(hypotheses) == 3 and hypotheses == sorted(hypotheses, reverse=True)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"modality": "audio"}, "trained on video alone: found modality audio; expected video"),
        ({}, {"modality": "vidoe"}, "Did you mean 'video'"),
        ({}, {"search": "greedy"}, "unknown search: found 'greedy'"),
        ({"model_conf": {"ctc_weight": 0.0}}, {"ctc_weight": 0.3}, "trained without CTC"),
        ({"model_conf": {"ctc_weight": 0.0}}, {"search": "ctc_greedy", "ctc_weight": 0.0}, "trained without CTC"),
        ({"model_conf": {"ctc_weight": 1.0}}, {"ctc_weight": 0.3}, "trained without attention decoder"),
        ({}, {"beam_size": 0}, "bad beam_size: found 0; expected 1 or more hypotheses"),
        ({}, {"ctc_weight": 1.5}, "bad ctc_weight: found 1.5; expected 0 to 1"),
        ({}, {"penalty": float("nan")}, "bad penalty: found nan; expected a number"),
    ],
)
def test_what_the_model_cannot_do_is_said(tmp_path, changes, options, message):
    config, weights = experiment(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        Speech2Text(config, weights, **options)


def test_models_without_one_branch_decode_with_the_other(tmp_path):
    attention = experiment(tmp_path / "att", model_conf={"ctc_weight": 0.0})
    ctc = experiment(tmp_path / "ctc", model_conf={"ctc_weight": 1.0})
    for stated in ({}, {"ctc_weight": 0.0}):
        assert len(Speech2Text(*attention, **stated, beam_size=2)(video=VIDEO)) == 1
    for stated in ({}, {"ctc_weight": 1.0}):
        assert len(Speech2Text(*ctc, **stated, beam_size=2)(video=VIDEO)) == 1
    assert len(Speech2Text(*ctc, search="ctc_greedy", ctc_weight=0.5)(video=VIDEO)) == 1


@pytest.mark.parametrize(
    ("names", "modality", "trained", "streams"),
    [
        (["video", "speech"], None, "multimodal", ("speech", "video")),
        (["video"], None, "multimodal", ("video",)),
        (["video", "speech", "text"], "audio", "multimodal", ("speech",)),
        (["video", "speech"], None, "video", ("video",)),
    ],
)
def test_only_the_streams_that_are_needed_are_read(names, modality, trained, streams):
    assert streams_to_read(names, modality, trained) == streams


@pytest.mark.parametrize(
    ("names", "modality", "trained"), [(["speech"], "multimodal", "multimodal"), (["text"], None, "video")]
)
def test_a_stream_that_is_not_there_is_named(names, modality, trained):
    with pytest.raises(ConfigError, match=f"decoding with modality {modality or trained} needs"):
        streams_to_read(names, modality, trained)


def test_recognize_gives_what_the_search_gives_and_the_words_of_each_text(files):
    speech2text = Speech2Text(*files, beam_size=5, nbest=3)
    results, transcripts = speech2text(video=VIDEO), speech2text.recognize(video=VIDEO)
    assert [(t.text, list(t.tokens), list(t.ids), t.score) for t in transcripts] == [
        (text, tokens, ids, float(hypothesis.score)) for text, tokens, ids, hypothesis in results
    ]
    for transcript in transcripts:
        assert [word.text for word in transcript.words] == transcript.text.split()
        assert all(0 <= word.start_s < word.end_s <= FRAMES / 25 for word in transcript.words)
        assert all(0 <= word.confidence <= 1 for word in transcript.words)
    assert speech2text.recognize(video=VIDEO, word_times=False)[0].words == ()


@pytest.mark.parametrize("options", [{"beam_size": 5}, {"search": "ctc_greedy"}], ids=str)
def test_several_clips_in_one_search_are_as_one_by_one(files, options):
    speech2text = Speech2Text(*files, nbest=3, **options)
    given = [
        {"video": VIDEO, "speech": SPEECH},
        {"video": VIDEO[:5]},
        {"speech": SPEECH[: 9 * 640]},
        {"video": VIDEO[::-1]},
    ]
    together = speech2text.recognize_batch(given)
    for clip, found in zip(given, together, strict=True):
        alone = speech2text.recognize(**clip)
        assert [(t.text, t.words) for t in found] == [(t.text, t.words) for t in alone]
        assert [t.score for t in found] == pytest.approx([t.score for t in alone], abs=1e-4)
    assert len({found[0].text for found in together}) > 1 or "search" in options


def test_word_times_of_a_model_without_ctc_are_an_error(tmp_path):
    speech2text = Speech2Text(*experiment(tmp_path, model_conf={"ctc_weight": 0.0}), ctc_weight=0.0, beam_size=2)
    with pytest.raises(ConfigError, match="word times need a model with CTC"):
        speech2text.recognize(video=VIDEO)
    assert speech2text.recognize(video=VIDEO, word_times=False)[0].words == ()


def test_no_text_cannot_be_aligned(files):
    with pytest.raises(InputError, match="nothing to align: found no words"):
        Speech2Text(*files, modality="video").align(" ", video=VIDEO)


@pytest.mark.parametrize(("feature_rate", "weight"), [("frame", 0.0), ("tubelet", 0.0), ("tubelet", 1.0)])
def test_a_known_text_is_aligned_at_both_rates_with_and_without_a_frame_head(tmp_path, feature_rate, weight):
    changes = {"feature_rate": feature_rate, "model_conf": {"ctc_weight": 0.3, "frame_loss_weight": weight}}
    speech2text = Speech2Text(*experiment(tmp_path, **changes))
    words = speech2text.align("bin red now", video=VIDEO)
    assert [word.text for word in words] == ["bin", "red", "now"]
    assert all(first.end_s <= second.start_s for first, second in pairwise(words))
    assert words[-1].end_s <= FRAMES / 25 and all(0 <= word.confidence <= 1 for word in words)
    with pytest.raises(InputError, match="cannot be aligned"):
        speech2text.align(" ".join(["bin"] * 13), video=VIDEO)
