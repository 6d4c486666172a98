"""From data directories to transcripts with the two commands: shapes, two epochs, averaging, resuming, decoding."""

import re

import pytest
import torch
import yaml

from espnet_vivit.base.sole_run import sole_run
from espnet_vivit.bin import avsr_confidence, avsr_inference, avsr_train
from espnet_vivit.bin.avsr_align import read_word_times
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.errors import ConfigError, DataError, WeightsError
from espnet_vivit.evaluation.calibration import read_confidences
from espnet_vivit.evaluation.decode_timing import TIMING, read_timing
from espnet_vivit.tasks import launch
from tests.tiny_corpus import FILES, TOKENS, data_options, shape_options, write_config, write_tiny_corpus


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(corpus, experiment) after two epochs of a model of both streams."""
    root = tmp_path_factory.mktemp("recipe")
    corpus = write_tiny_corpus(root / "corpus")
    train(corpus, root, root / "exp", *shape_options(corpus))
    return corpus, root / "exp"


def train(corpus, root, output_dir, *options, **changes):
    config = write_config(root / "train.yaml", **changes)
    common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", output_dir]
    avsr_train.main([*map(str, common), *data_options(corpus), *options])


def inputs(folder, names=("speech", "video")):
    return [word for name in names for word in ("--data_path_and_name_and_type", f"{folder}/{FILES[name]}")]


def decode(trained, output_dir, *options, names=("speech", "video")):
    corpus, exp = trained
    given = ["--asr_model_file", exp / "valid.acc.ave_2best.pth", "--output_dir", output_dir, "--num_workers", "0"]
    quiet = ["--log_level", "WARNING", "--beam_size", "3", "--maxlenratio", "0.2"]
    avsr_inference.main([*map(str, given), *quiet, *inputs(corpus / "valid", names), *options])
    return {name: read(output_dir / "1best_recog" / name) for name in ("text", "token", "token_int", "score")}


def read(path):
    return dict(line.partition(" ")[::2] for line in path.read_text().splitlines())


def test_collect_stats_writes_the_shape_of_every_stream_without_a_model(trained, tmp_path):
    corpus, _ = trained
    train(corpus, tmp_path, tmp_path / "stats", "--collect_stats", "true", vision_encoder_conf={"image_size": 22})
    for split, count in (("train", 8), ("valid", 4)):
        shapes = {name: read(tmp_path / "stats" / split / f"{name}_shape") for name in FILES if name != "word_times"}
        frames = read(corpus / split / "utt2num_frames")
        assert shapes["video"] == {utt_id: f"{number},22,22" for utt_id, number in frames.items()}
        assert shapes["speech"] == read(corpus / split / "utt2num_samples")
        assert shapes["text"] == dict.fromkeys(frames, "2") and len(frames) == count


def test_training_leaves_espnets_files_and_an_average_of_the_epochs(trained):
    _, exp = trained
    config = yaml.safe_load((exp / "config.yaml").read_text())
    assert config["modality"] == "multimodal" and config["token_list"] == TOKENS
    first, second = (torch.load(exp / f"{epoch}epoch.pth", weights_only=True) for epoch in (1, 2))
    name = "decoder.embed.0.weight"
    assert not torch.equal(first[name], second[name])
    averages = sorted(exp.glob("*.ave_2best.pth"))
    assert len(averages) == 4  # training and validation, loss and accuracy
    for path in averages:
        average = torch.load(path, weights_only=True)
        torch.testing.assert_close(average[name], (first[name] + second[name]) / 2)


def test_resuming_continues_as_if_it_had_not_been_interrupted(trained, tmp_path):
    corpus, exp = trained
    train(corpus, tmp_path, tmp_path / "exp", *shape_options(corpus), max_epoch=1)
    train(corpus, tmp_path, tmp_path / "exp", *shape_options(corpus), "--resume", "true")
    resumed, straight = (torch.load(folder / "2epoch.pth", weights_only=True) for folder in (tmp_path / "exp", exp))
    for name, weight in straight.items():
        torch.testing.assert_close(resumed[name], weight)


def test_init_param_and_freeze_param_are_espnets(trained, tmp_path):
    corpus, exp = trained
    options = ["--init_param", f"{exp}/2epoch.pth:vision_encoder:vision_encoder", "--freeze_param", "vision_encoder"]
    train(corpus, tmp_path, tmp_path / "exp", *shape_options(corpus), *options, max_epoch=1)
    given, found = (torch.load(path, weights_only=True) for path in (exp / "2epoch.pth", tmp_path / "exp/1epoch.pth"))
    for name, weight in given.items():
        assert torch.equal(weight, found[name]) == name.startswith("vision_encoder") or "num_batches" in name


def test_one_model_decodes_each_stream_and_both(trained, tmp_path):
    results = {}
    for modality in ("video", "audio", "multimodal"):
        found = results[modality] = decode(trained, tmp_path / modality, "--modality", modality)
        assert list(found["text"]) == list(read(trained[0] / "valid/text"))
        for utt_id, text in found["text"].items():
            tokens = [TOKENS[int(index)] for index in found["token_int"][utt_id].split()]
            assert found["token"][utt_id].split() == text.split() == tokens
            assert float(found["score"][utt_id]) < 0
    assert results["video"]["score"] != results["audio"]["score"] != results["multimodal"]["score"]


def test_only_the_video_decides_without_sound_and_its_controls_change_it(trained, tmp_path):
    plain, zero, shuffled = (
        decode(trained, tmp_path / control, "--modality", "video", "--video_control", control)["score"]
        for control in ("none", "zero", "shuffle")
    )
    without_sound = decode(trained, tmp_path / "alone", names=("video",))["score"]
    assert plain == without_sound
    assert all(plain[utt_id] != zero[utt_id] and plain[utt_id] != shuffled[utt_id] for utt_id in plain)
    donors, videos = read(tmp_path / "shuffle/shuffled_video.scp"), read(trained[0] / "valid/video.scp")
    for utt_id, path in donors.items():
        (donor,) = (key for key, video in videos.items() if video == path)
        assert shuffled[utt_id] == plain[donor]


def test_several_clips_in_one_search_give_the_same_files(trained, tmp_path):
    alone = decode(trained, tmp_path / "alone", "--nbest", "2", "--word_times", "true")
    together = decode(trained, tmp_path / "together", "--nbest", "2", "--word_times", "true", "--batch_size", "3")
    assert list(together["text"]) == list(alone["text"]) and len(alone["text"]) == 4, "a last batch of one clip"
    assert {name: together[name] for name in ("text", "token", "token_int")} == {
        name: alone[name] for name in ("text", "token", "token_int")
    }
    for utt_id, score in alone["score"].items():
        assert float(together["score"][utt_id]) == pytest.approx(float(score), abs=2e-4)
    for file in ("2best_recog/text", "1best_recog/word_times"):
        assert (tmp_path / "together" / file).read_text() == (tmp_path / "alone" / file).read_text()


def test_a_key_file_and_greedy_search(trained, tmp_path):
    keys = list(read(trained[0] / "valid/text"))[1:3]
    (tmp_path / "keys").write_text("".join(f"{key} x\n" for key in keys))
    found = decode(trained, tmp_path / "out", "--key_file", str(tmp_path / "keys"), "--search", "ctc_greedy")
    assert list(found["text"]) == keys
    frames = read(trained[0] / "valid/utt2num_frames")
    timing = read_timing(tmp_path / "out" / TIMING)
    assert timing.clip_s == pytest.approx(sum(int(frames[key]) for key in keys) / 25, abs=1e-3) and timing.spent_s > 0


def test_word_times_and_confidences_are_written_for_every_word_and_can_be_judged(trained, tmp_path, capsys):
    corpus, _ = trained
    texts = decode(trained, tmp_path, "--word_times", "true", "--nbest", "2")["text"]
    for folder in ("1best_recog", "2best_recog"):
        times, texts = read_word_times(tmp_path / folder / "word_times"), read(tmp_path / folder / "text")
        confidences = read_confidences(tmp_path / folder)
        for utt_id, text in texts.items():
            assert [time.word for time in times[utt_id]] == text.split()
            assert len(confidences[utt_id]) == len(text.split())
    avsr_confidence.main(["--ref", str(corpus / "valid/text"), "--hyp", str(tmp_path / "1best_recog"), "--bins", "5"])
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"expected calibration error 0\.\d{3}, separation (-|\d\.\d{3})", out[-2])
    assert len(out) == 1 + 1 + 5 + 3  # what decoding printed, the head, the bins, three sums
    (tmp_path / "1best_recog/confidence").unlink()
    assert exit_status(avsr_confidence.main, ["--ref", "r", "--hyp", str(tmp_path / "1best_recog")]) == 1
    assert "Decode with --word_times true" in capsys.readouterr().err


def test_an_interrupted_decoding_leaves_nothing_to_score(trained, tmp_path):
    corpus, exp = trained
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("wav.scp", "video.scp"):
        (folder / name).write_text((corpus / "valid" / name).read_text())
    options = ["--asr_model_file", str(exp / "2epoch.pth"), "--output_dir", str(tmp_path / "out"), "--num_workers", "0"]
    avsr_inference.main([*options, *inputs(folder), "--search", "ctc_greedy"])
    assert (tmp_path / "out/1best_recog/text").is_file()
    videos = (folder / "video.scp").read_text().splitlines()
    (tmp_path / "empty.npy").write_bytes(b"")
    (folder / "video.scp").write_text("\n".join([*videos[:-1], f"{videos[-1].split()[0]} {tmp_path}/empty.npy"]) + "\n")
    with pytest.raises(OSError, match=r"empty\.npy"):
        avsr_inference.main([*options, *inputs(folder), "--search", "ctc_greedy"])
    assert not list((tmp_path / "out").glob("*best_recog")) and not (tmp_path / "out" / TIMING).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--key_file", "gone"], "gone does not exist"),
        (["--beam_sise", "3"], r"Did you mean --beam_size\?"),
        (["--modality", "audio", "--video_control", "zero"], "video_control zero without video"),
        (["--ngpu", "2"], "decoding runs on one device"),
    ],
)
def test_bad_options_of_decoding_are_named(trained, tmp_path, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        decode(trained, tmp_path, *options)


def test_decoding_on_a_gpu_that_is_not_there_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "cuda_devices", lambda: 0)
    with pytest.raises(ConfigError, match=r"more GPUs are asked for than PyTorch finds here.* 0 CUDA devices"):
        decode(trained, tmp_path, "--ngpu", "1")


def test_the_commands_end_with_one_sentence_and_status_one(tmp_path, capsys):
    assert exit_status(avsr_train.main, ["--vision_encodr", "vivit"]) == 1
    assert exit_status(avsr_inference.main, ["--output_dir", str(tmp_path)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert re.search("Did you mean --vision_encoder", errors[0])
    assert errors[1] == "error: options are missing: --asr_model_file, --data_path_and_name_and_type"


def test_a_second_training_in_the_folder_is_refused_and_changes_nothing(trained, tmp_path):
    corpus, exp = trained
    before = {path.name: path.read_bytes() for path in exp.iterdir() if path.is_file()}
    with sole_run(exp), pytest.raises(ConfigError, match="another run is writing into"):
        train(corpus, tmp_path, exp, *shape_options(corpus), max_epoch=9)
    assert {path.name: path.read_bytes() for path in exp.iterdir() if path.is_file()} == before


def test_a_training_does_not_go_on_with_other_tokens_of_the_same_number(trained, tmp_path):
    corpus, exp = trained
    before = (exp / "config.yaml").read_bytes()
    other = tmp_path / "tokens.txt"
    other.write_text("\n".join([*TOKENS[:2], *reversed(TOKENS[2:-1]), TOKENS[-1]]) + "\n")
    config = write_config(tmp_path / "train.yaml", max_epoch=3)
    common = ["--config", config, "--token_list", other, "--output_dir", exp, "--resume", "true"]
    with pytest.raises(ConfigError, match="trained with other tokens: found token 2 is 'bin' there and 'now' here"):
        avsr_train.main([*map(str, common), *data_options(corpus), *shape_options(corpus)])
    assert (exp / "config.yaml").read_bytes() == before


def test_init_param_that_fills_nothing_ends_before_training(trained, tmp_path):
    corpus, exp = trained
    options = ["--init_param", f"{exp}/2epoch.pth:vision_towre:vision_encoder"]
    with pytest.raises(WeightsError, match="begins with vision_towre: found audio_encoder, ctc"):
        train(corpus, tmp_path, tmp_path / "exp", *shape_options(corpus), *options)
    assert not list((tmp_path / "exp").glob("*.pth"))
