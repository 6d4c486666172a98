"""Training configurations by name."""

from pathlib import Path

import pytest

from espnet_vivit.bin import avsr_streams
from espnet_vivit.bin.commands.check import main
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.presets import configuration_file, presets

ROOT = Path(__file__).resolve().parents[2]
SIZED = {f"{size}_{streams}" for size in ("tiny", "base", "large") for streams in ("video", "audio", "both")}


def test_each_training_configuration_has_a_name_and_that_of_the_language_model_has_none():
    compared = {"avsr_resnet", "avsr_linear"} | {
        f"avsr_vivit{kind}" for kind in ("", "_qlora", "_causal", "_factorised")
    }
    of_the_hub = {"dinov2_video", "dinov2_both", "whisper_audio", "whisper_both"}
    assert set(presets()) == SIZED | compared | of_the_hub
    assert configuration_file("tiny_both") == ROOT / "conf/train_tiny_both.yaml"


def test_what_exists_comes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_both").mkdir()
    assert configuration_file("tiny_both") == Path("tiny_both")


@pytest.mark.parametrize("named", ["train_tiny_both.yaml", "exp/tiny_both"])
def test_a_path_stays_a_path_whether_it_exists_or_not(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration_file(named) == Path(named)


def test_a_misspelt_preset_is_corrected():
    with pytest.raises(ConfigError, match=r"found 'tiny_bth'.*Did you mean 'tiny_both'\?"):
        configuration_file("tiny_bth")


def test_training_takes_a_preset_and_other_options_beside_it():
    args = AVSRTask.get_parser().parse_args(["--max_epoch", "7", "--config", "tiny_video", "--seed=3"])
    assert args.config == str(ROOT / "conf/train_tiny_video.yaml")
    assert (args.vision_encoder, args.audio_encoder, args.max_epoch, args.seed) == ("vivit", None, 7, 3)
    with pytest.raises(ConfigError, match=r"Did you mean 'tiny_video'"):
        AVSRTask.get_parser().parse_args(["--config=tiny_vido"])


def test_what_a_preset_needs_is_printed_for_scripts(capsys):
    avsr_streams.main(["--config", "tiny_video", "--ask", "modality"])
    assert capsys.readouterr().out == "video\n"


def test_check_takes_a_preset(tmp_path, capsys):
    assert main(["tiny_video", str(tmp_path / "data")]) == 1  # there are no data
    printed = capsys.readouterr().out
    assert f"{ROOT / 'conf/train_tiny_video.yaml'}: takes video" in printed and "not ready" in printed
