"""A QLoRA training from the command line: epochs, their average, resuming, decoding's loader, and the merged model."""

import re

import pytest
import torch
import yaml
from espnet2.main_funcs.pack_funcs import pack, unpack

from espnet_vivit.bin import avsr_train
from espnet_vivit.bin.commands.merge_adapters import main as merge_command
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.release.merge_adapters import merge_experiment
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.training.trainer import AVSRTrainer
from tests import tiny
from tests.model.adapters.adapted import STREAM, save_tower, vision_conf
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus

pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")
QLORA = {"vision_encoder": {"type": "qlora", "r": 4, "dropout": 0.1}, "encoder": {"type": "lora", "r": 2}}
NAMES = ("video", "text")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(corpus, checkpoint of the tower, experiment) after two epochs in bfloat16."""
    root = tmp_path_factory.mktemp("qlora")
    corpus, tower = write_tiny_corpus(root / "corpus"), save_tower(root / "tower")
    train(corpus, tower, root / "exp")
    return corpus, tower, root / "exp"


def train(corpus, tower, exp, *options, **changes):
    settings = {
        "vision_encoder": "vivit",
        "vision_encoder_conf": vision_conf(tower),
        "audio_encoder": ...,
        "model_conf": {"ctc_weight": 0.3},
        "tower_adapters": QLORA,
        "amp_dtype": "bfloat16",
    }
    config = write_config(exp.parent / f"{exp.name}.yaml", **{**settings, **changes})
    common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", exp]
    avsr_train.main([*map(str, common), *data_options(corpus, NAMES), *shape_options(corpus), *options])


def arguments(trained):
    corpus, _, exp = trained
    options = ["--config", exp.parent / "exp.yaml", "--token_list", corpus / "tokens.txt", "--output_dir", exp]
    return AVSRTask.get_parser().parse_args(list(map(str, options)))


def weights(path):
    return torch.load(path, weights_only=True)


def encoded(model):
    with torch.no_grad():
        return model.eval().encode(**STREAM)[0]


def test_epochs_hold_the_adapters_and_their_average_is_loaded_for_decoding(trained):
    _, _, exp = trained
    first, second, average = (weights(exp / f"{n}.pth") for n in ("1epoch", "2epoch", "valid.acc.ave_2best"))
    name = "vision_encoder.vivit.layers.1.mlp.fc2.lora_B.default.weight"
    assert not torch.equal(first[name], second[name])
    torch.testing.assert_close(average[name], (first[name] + second[name]) / 2)
    assert all("lora_" in key or "adapter_base" in key for key in average if key.startswith("vision_encoder.vivit"))
    model, args = AVSRTask.build_model_from_file(exp / "config.yaml", exp / "valid.acc.ave_2best.pth")
    assert torch.isfinite(encoded(model)).all() and args.amp_dtype == "bfloat16"
    torch.testing.assert_close(model.state_dict()[name], average[name])
    assert {type(layer).__name__ for layer in model.vision_encoder.modules()} >= {"Linear4bit"}


def test_resuming_gives_the_weights_of_an_uninterrupted_training(trained, tmp_path):
    corpus, tower, exp = trained
    train(corpus, tower, tmp_path / "exp", max_epoch=1)
    train(corpus, tower, tmp_path / "exp", "--resume", "true")
    resumed, straight = (weights(folder / "2epoch.pth") for folder in (tmp_path / "exp", exp))
    assert resumed.keys() == straight.keys()
    for name, weight in straight.items():
        assert torch.equal(resumed[name], weight), name


def test_a_base_that_is_gone_or_another_is_an_error(trained):
    _, tower, exp = trained
    moved = tower.rename(tower.parent / "moved")
    try:
        with pytest.raises(WeightsError, match="tower"):
            AVSRTask.build_model_from_file(exp / "config.yaml", exp / "2epoch.pth")
        save_tower(tower, seed=9)
        with pytest.raises(WeightsError, match="trained on other weights"):
            AVSRTask.build_model_from_file(exp / "config.yaml", exp / "2epoch.pth")
        for file in tower.iterdir():
            file.unlink()
        tower.rmdir()
    finally:
        moved.rename(tower)


def test_the_merged_model_answers_as_the_adapted_one_and_needs_no_base(trained, tmp_path, capsys):
    _, tower, exp = trained
    adapted, _ = AVSRTask.build_model_from_file(exp / "config.yaml", exp / "2epoch.pth")
    (exp / "reliability.json").write_text('{"multimodal": {"min_confidence": 0.9}}')
    assert merge_command([str(exp), str(tmp_path / "merged"), "--weights", "2epoch.pth"]) == 0
    said, path = capsys.readouterr().out.strip().splitlines()
    assert path.endswith("merged/2epoch.pth")
    assert (tmp_path / "merged/reliability.json").read_text() == (exp / "reliability.json").read_text()
    difference = re.fullmatch(r"on a drawn clip the answers differ by (\S+) at most, of \S+", said)
    assert 0 < float(difference[1]) < 0.1  # bfloat16 rounds the sum of two products, here two products
    moved = tower.rename(tower.parent / "moved")
    try:
        merged, _ = AVSRTask.build_model_from_file(tmp_path / "merged/config.yaml", tmp_path / "merged/2epoch.pth")
    finally:
        moved.rename(tower)
    assert not merged.tower_adapters and not any("lora" in name for name in merged.state_dict())
    adapted.precision.dtype = merged.precision.dtype = None  # else bfloat16 rounds the two products differently
    for layer in adapted.vision_encoder.modules():
        if type(layer).__name__ == "Linear4bit":
            layer.compute_dtype = torch.float32
    torch.testing.assert_close(encoded(merged), encoded(adapted), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="trained without adapters"):
        merge_experiment(tmp_path / "merged", tmp_path / "again", weights="2epoch.pth")


def test_espnets_archive_keeps_the_adapters(trained, tmp_path, monkeypatch):
    """Ours holds merged models alone, which need nothing from elsewhere (tests/release/test_pack.py)."""
    _, _, exp = trained
    monkeypatch.chdir(exp.parent)  # what lies below it is archived with relative paths
    names = {"asr_train_config": exp / "config.yaml", "asr_model_file": exp / "valid.acc.ave_2best.pth"}
    pack(
        {"asr_model_file": names["asr_model_file"]}, {"asr_train_config": names["asr_train_config"]}, tmp_path / "a.zip"
    )
    found = unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    packed, trained_model = (
        AVSRTask.build_model_from_file(paths["asr_train_config"], paths["asr_model_file"])[0]
        for paths in (found, names)
    )
    assert str(tmp_path) in found["asr_model_file"]
    assert any("lora_" in name for name in packed.state_dict())
    assert torch.equal(encoded(packed), encoded(trained_model))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_amp": True}, "mixed precision is asked for twice: found use_amp: true and amp_dtype: bfloat16"),
        ({"amp_dtype": "float16"}, "float16 needs a GPU.*Use bfloat16"),
        ({"tower_adapters": {"vision_encodr": {}}}, "unknown tower in tower_adapters"),
        ({"init_param": ["a.pth"], "ignore_init_mismatch": True}, "would leave out the weights of every layer"),
    ],
)
def test_contradictions_are_refused_before_anything_is_built(trained, tmp_path, changes, message):
    corpus, tower, _ = trained
    with pytest.raises(ConfigError, match=message):
        train(corpus, tower, tmp_path / "exp", **changes)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(("amp_dtype", "scales"), [("float16", True), ("bfloat16", False), (None, False)])
def test_only_float16_gets_espnets_gradient_scaler(trained, amp_dtype, scales):
    args = arguments(trained)
    args.amp_dtype = amp_dtype
    assert AVSRTrainer.build_options(args).use_amp is scales


def test_the_log_shows_the_towers(trained, caplog):
    args = arguments(trained)
    with caplog.at_level("INFO"):
        AVSRTask.build_model(args)
    (line,) = [line for line in caplog.text.splitlines() if line.startswith("vision_encoder  qlora")]
    assert "qlora, r=4" in line and "nf4" in line


def test_the_experiments_configuration_says_what_was_trained(trained):
    config = yaml.safe_load((trained[2] / "config.yaml").read_text())
    assert config["tower_adapters"] == QLORA and config["amp_dtype"] == "bfloat16"
    assert config["vision_tower"]["hidden_size"] == 64 and tiny.WINDOW == config["vision_tower"]["num_frames"]
