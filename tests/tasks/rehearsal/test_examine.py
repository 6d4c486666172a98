"""`espnet-vivit check`: a corpus and a model that fit pass, and each fault that a user can make is found and named."""

import contextlib
import shutil

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.base.finding import FAIL, OK, WARN, Finding
from espnet_vivit.bin import cli
from espnet_vivit.bin.commands.check import main
from espnet_vivit.data.data_dir import read_data_dir
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.rehearsal import model as check_model
from espnet_vivit.tasks.rehearsal.batches import training_batches
from espnet_vivit.tasks.rehearsal.configuration import training_arguments, write_token_list
from espnet_vivit.tasks.rehearsal.examine import Options, examine
from espnet_vivit.tasks.rehearsal.findings import check_clips, check_ctc, check_tokens
from espnet_vivit.tasks.rehearsal.model import (
    Learnt,
    clips_to_learn,
    largest_finding,
    learn_by_heart,
    learnt_finding,
    model_finding,
    total_memory,
)
from tests import tiny
from tests.tiny_corpus import TOKENS, write_config, write_tiny_corpus

VIDEO_ALONE = {"audio_encoder": ..., "audio_encoder_conf": ...}  # sound costs most of a step
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("check") / "corpus", splits=(("train", 8),))


@pytest.fixture
def data(corpus, tmp_path):
    """A copy of the data directory, to be spoiled."""
    return shutil.copytree(corpus / "train", tmp_path / "train")


def rows_of(config, data, **options):
    return {row.name: row for row in examine(Options(config, data, **options))}


def training(corpus, folder, **changes):
    """(model, batches, texts) of the tiny configuration."""
    config = write_config(folder / "train.yaml", **changes)
    utterances = read_data_dir(corpus / "train")
    given = yaml.safe_load(config.read_text())
    text = {"token_type": "word", "bpemodel": None}
    tokens, _, _ = write_token_list(given, corpus / "train", folder, given=corpus / "tokens.txt", **text)
    sources = (given, config, corpus / "train", utterances, folder)
    args = training_arguments(*sources, trained=False, token_list=tokens, on_gpu=False, **text)
    torch.manual_seed(0)
    return AVSRTask.build_model(args), training_batches(args), {utt.utt_id: utt.text for utt in utterances}


@pytest.mark.timeout(600)  # of a machine that may be busy with others: it takes 4 s of one core
def test_what_fits_is_ready_and_the_model_learns_its_batch_by_heart(corpus, tmp_path, capsys):
    config = write_config(tmp_path / "train.yaml", **VIDEO_ALONE)
    options = ["--token_list", corpus / "tokens.txt", "--seconds", 300, "--lr", 0.005, "--device", "cpu"]
    assert cli.main(["check", *map(str, [config, corpus / "train", *options])]) == 0
    out = capsys.readouterr().out.splitlines()
    states = [line.split()[0] for line in out if not line.lstrip().startswith("->")]
    assert states == ["ok"] * 8 + ["ready"]
    assert "learnt by heart; 4 clips" in out[6] and "CTC errors 0%, attention accuracy 100%" in out[6]
    assert "an epoch of 2 batches" in out[7] and out[-1] == "ready to train"


def test_an_experiment_stands_for_its_configuration_and_tokens(corpus, tmp_path):
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(tmp_path / "train.yaml", **VIDEO_ALONE))])
    args.token_list = list(TOKENS)
    AVSRTask.build_model(args)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text(yaml.safe_dump(vars(args)))
    rows = rows_of(tmp_path / "exp", corpus / "train", seconds=0.0)
    assert rows["tokens"].found.endswith(f"the list has {len(TOKENS)}, 0 are not in it")
    assert rows["one batch"].state in (WARN, FAIL) and rows["largest batch"].state == OK  # a step cannot be enough


def test_the_cache_of_a_finished_training_is_left_alone(corpus, tmp_path):
    """Its preprocessor_conf is not taken, so nothing is known of what the cache was used with."""
    conf = {**tiny.WINDOWED_VIVIT, "frozen": True, "feature_cache": str(tmp_path / "features")}
    with pytest.raises(ConfigError, match=r"feature_cache keeps .* found random_crop: true"):
        training(corpus, tmp_path, vision_encoder="vivit", vision_encoder_conf=conf)
    given = yaml.safe_load((tmp_path / "train.yaml").read_text())
    sources = (given, tmp_path / "train.yaml", corpus / "train", read_data_dir(corpus / "train"), tmp_path)
    text = {"token_list": corpus / "tokens.txt", "token_type": "word", "bpemodel": None}
    args = training_arguments(*sources, trained=True, on_gpu=False, **text)
    assert args.vision_encoder_conf == {**tiny.WINDOWED_VIVIT, "frozen": True}
    assert not (tmp_path / "features").exists()


def test_without_a_token_list_one_is_made_for_the_check(corpus, tmp_path):
    rows = rows_of(write_config(tmp_path / "train.yaml", **VIDEO_ALONE, token_type=...), corpus / "train", seconds=0.0)
    assert "made from these transcripts for this check" in rows["tokens"].found


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"vision_encodr": "linear"}, "configuration", "Did you mean 'vision_encoder'"),
        ({"vision_encoder": "resnet18"}, "configuration", "unknown vision_encoder"),
        ({"vision_encoder": ..., "audio_encoder": ...}, "configuration", "the model has no input"),
        ({"token_type": "bpe"}, "tokens", "token_type bpe has no token list"),
        ({"optim_conf": {"lrr": 1}}, "configuration", "Did you mean 'lr'"),
        ({"vision_encoder_conf": {"image_sise": 22}}, "model", "image_sise"),
        ({"vision_encoder": "vivit", "vision_encoder_conf": {"model_name": "nobody/nothing"}}, "model", "nobody"),
    ],
)
def test_a_faulty_configuration_is_named(corpus, tmp_path, changes, name, message, capsys):
    config = write_config(tmp_path / "train.yaml", **changes)
    assert main([str(config), str(corpus / "train"), "--seconds", "0"]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.lstrip().startswith("FAIL")]
    assert name in line and message in line and f"not ready to train: {name}" in out


@pytest.mark.parametrize("on_gpu", [True, False])
def test_float16_is_for_a_training_with_a_gpu(corpus, tmp_path, on_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = write_config(tmp_path / "train.yaml", amp_dtype="float16")
    sources = (yaml.safe_load(config.read_text()), config, corpus / "train", read_data_dir(corpus / "train"), tmp_path)
    options = {"token_list": corpus / "tokens.txt", "token_type": "word", "bpemodel": None}
    with contextlib.nullcontext() if on_gpu else pytest.raises(ConfigError, match="float16"):
        args = training_arguments(*sources, trained=False, on_gpu=on_gpu, **options)
        assert (args.amp_dtype, args.ngpu) == ("float16", 1)


@pytest.mark.parametrize(("config", "data"), [("gone.yaml", "."), (".", "."), ("train.yaml", "gone")])
def test_files_that_are_not_there_are_named(tmp_path, config, data, capsys):
    write_config(tmp_path / "train.yaml")
    assert main([str(tmp_path / config), str(tmp_path / data)]) == 1
    assert "FAIL" in capsys.readouterr().out


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        (["--token_list", "gone"], "tokens", "no token list: found no file gone"),
        (["--token_type", "bpe", "--token_list", "{tokens}", "--bpemodel", "gone"], "tokens", "sentencepiece model"),
        (["--device", "cuda"], "device", "no GPU that PyTorch can use"),
    ],
)
def test_bad_options_are_named(corpus, tmp_path, options, name, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = [option.format(tokens=corpus / "tokens.txt") for option in options]
    assert main([str(write_config(tmp_path / "train.yaml")), str(corpus / "train"), *options]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("FAIL")]
    assert name in line and message in line


@pytest.mark.parametrize("stream", ["video", "speech"])
def test_models_of_one_stream_are_checked_on_it_alone(corpus, tmp_path, stream):
    other = ("audio_encoder", "audio_encoder_conf") if stream == "video" else ("vision_encoder", "vision_encoder_conf")
    rows = rows_of(write_config(tmp_path / "train.yaml", **dict.fromkeys(other, ...)), corpus / "train", seconds=0.0)
    assert f"takes {stream}," in rows["configuration"].found and rows["largest batch"].state == OK
    assert ("pictures" in rows["clips"].found) == (stream == "video")


def test_a_configuration_that_joins_clips_is_checked_and_says_what_is_not_measured(corpus, tmp_path):
    joining = {"preprocessor_conf": {"join_prob": 1.0}}
    rows = rows_of(write_config(tmp_path / "train.yaml", **VIDEO_ALONE, **joining), corpus / "train", seconds=0.0)
    assert rows["largest batch"].state == OK and "more where join_prob joins some" in rows["largest batch"].found


def test_faults_of_the_data_directory_stop_the_check(data, tmp_path):
    config = write_config(tmp_path / "train.yaml")
    spoil(data / "video.scp", ".npy", ".mkv")
    rows = rows_of(config, data)
    assert list(rows) == ["configuration", "data directory"] and "does not exist" in rows["data directory"].found


def test_streams_and_word_times_that_the_model_needs_must_be_there(data, tmp_path):
    config = write_config(tmp_path / "train.yaml")
    (data / "word_times").unlink()
    rows = rows_of(config, data)
    assert rows["data directory"].state == FAIL and "avsr_align" in rows["data directory"].fix
    assert rows["model"] == Finding(FAIL, "model", "not tried on data that are not right")
    for name in ("video.scp", "utt2num_frames"):
        (data / name).unlink()
    assert "has no video" in rows_of(config, data)["data directory"].found


def test_clips_that_are_not_what_their_list_says_are_found(corpus, tmp_path):
    utterances = read_data_dir(corpus / "train")
    both = {"streams": ("video", "speech")}
    assert check_clips(utterances, **both).state == OK
    black, short = tmp_path / "black.npy", tmp_path / "short.npy"
    np.save(black, np.zeros((utterances[0].num_frames, 24, 24), np.uint8))
    np.save(short, np.random.default_rng(0).integers(0, 255, (3, 24, 24), dtype=np.uint8))
    small = tmp_path / "small.npy"
    np.save(small, np.random.default_rng(0).integers(0, 255, (utterances[0].num_frames, 20, 24), dtype=np.uint8))
    for path, state, message in (
        (black, FAIL, "every pixel is 0"),
        (short, FAIL, "3 frames, and its list says"),
        (tmp_path / "gone.npy", FAIL, "gone.npy"),
        (small, WARN, "24x20 and 24x24"),
    ):
        changed = [type(utterances[0])(**{**vars(utterances[0]), "video": str(path)}), *utterances[1:]]
        row = check_clips(changed, **both)
        assert row.state == state and message in row.found


def test_tokens_of_another_corpus_are_found():
    labels = {"a": ["bin"] * 19 + ["<unk>"], "b": ["red"] * 80}
    assert check_tokens(labels, TOKENS, "word", made_here=False).state == WARN
    labels["a"] = ["<unk>"] * 20
    row = check_tokens(labels, TOKENS, "word", made_here=False)
    assert row.state == WARN, "as a training is warned and goes on"
    labels["a"] = ["<unk>"] * 90
    row = check_tokens(labels, TOKENS, "word", made_here=False)
    assert row.state == FAIL and "53% would be learnt as <unk>" in row.fix
    assert check_tokens({"a": ["bin"]}, TOKENS, "word", made_here=False).state == OK


def test_what_ctc_cannot_align_is_found(corpus):
    utterances = read_data_dir(corpus / "train")
    options = {"feature_rate": "tubelet", "ctc_weight": 0.3}
    for count, state in ((2, OK), (40, FAIL)):
        labels = {utterance.utt_id: ["x", "y"] * (count // 2) for utterance in utterances}
        row = check_ctc(labels, utterances, **options)
        assert row.state == state and (state == OK or "set feature_rate: frame" in row.fix)
    assert check_ctc({}, utterances, **{**options, "ctc_weight": 0}).found == "none in this model"


def test_a_model_that_is_all_frozen_is_found(corpus, tmp_path):
    model, _, _ = training(corpus, tmp_path)
    assert model_finding(model).state == OK
    assert model_finding(model.requires_grad_(False)).state == FAIL


def test_clips_that_say_the_same_are_not_learnt_together(corpus, tmp_path):
    _, batches, texts = training(corpus, tmp_path)
    chosen = clips_to_learn(batches, texts)
    assert len({texts[utt_id] for utt_id in chosen}) == len(chosen) == 4
    assert len(clips_to_learn(batches, dict.fromkeys(texts, "bin red"))) == 1


def test_clips_that_all_look_alike_cannot_be_learnt_by_heart(corpus, tmp_path):
    """A planted fault: every clip gets the pictures of the first. And without steps nothing is learnt."""
    model, batches, texts = training(corpus, tmp_path, **VIDEO_ALONE)
    batch = batches.load(clips_to_learn(batches, texts))
    batch = {k: v[:1].expand_as(v) if k.startswith(("speech", "video")) else v for k, v in batch.items()}
    batch.pop("frame_labels"), batch.pop("frame_labels_lengths")
    model.frame_head = None
    learnt = learn_by_heart(model, torch.optim.AdamW(model.parameters(), lr=5e-3), batch, limit_s=1)
    assert not learnt.by_heart and learnt.ctc_errors > 0 and learnt_finding(learnt, 4).state != OK
    lazy = learn_by_heart(model, torch.optim.AdamW(model.parameters(), lr=0.0), batch, limit_s=0)
    assert learnt_finding(lazy, 4).state == FAIL and "does not fall" in learnt_finding(lazy, 4).fix
    assert any(layer.p > 0 for layer in model.modules() if isinstance(layer, torch.nn.Dropout))  # as it was


def test_a_single_sentence_learnt_by_heart_proves_nothing():
    learnt = Learnt(9.0, 0.1, 50, 3.0, ctc_errors=0.0, accuracy=1.0)
    assert learnt_finding(learnt, 4).state == OK and learnt_finding(learnt, 1).state == WARN
    assert not Learnt(9.0, float("nan"), 50, 3.0, ctc_errors=0.0, accuracy=0.5).by_heart
    assert learnt_finding(Learnt(9.0, float("nan"), 50, 3.0, 1.0, 0.5), 4).state == FAIL


def test_the_largest_batch_is_the_one_with_most_padded_frames(corpus, tmp_path):
    _, batches, _ = training(corpus, tmp_path, batch_type="unsorted", batch_size=3)
    sizes = [len(ids) * max(batches.frames[utt_id] for utt_id in ids) for ids in batches.ids]
    assert batches.padded(batches.largest) == max(sizes) and batches.padded_frames == sum(sizes)
    loaded = batches.load(batches.largest)
    assert loaded["video"].shape[0] * loaded["video"].shape[1] == max(sizes)


def test_a_batch_that_does_not_fit_is_found_without_trying_it_or_when_it_fails(corpus, tmp_path, monkeypatch):
    model, batches, _ = training(corpus, tmp_path, **VIDEO_ALONE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    row = largest_finding(model, optimizer, batches, CPU)
    assert row.state == OK and 0.05 < float(row.found.split(": ")[1].split(" of ")[0]) < 20
    assert total_memory(CPU) > 2**28
    tried = []
    monkeypatch.setattr(check_model, "total_memory", lambda device: 2**20)
    monkeypatch.setattr(check_model, "training_step", lambda *given: tried.append(given[2]["text"].shape[0]))
    row = largest_finding(model, optimizer, batches, CPU)
    assert row.state == FAIL and "expected" in row.found and tried == [1] and "batch_size" in row.fix

    def refuse(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(check_model, "training_step", refuse)
    assert "out of memory" in largest_finding(model, optimizer, batches, CPU).found
