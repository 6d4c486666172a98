"""What is known of a model's training clips, with their data directories and without."""

import shutil

import pytest
import yaml

from espnet_vivit.data.text_bounds import measure_texts
from espnet_vivit.errors import DataError
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.training_facts import TrainingFacts, noted_facts, training_facts
from tests.tiny_corpus import write_config, write_tiny_corpus

VIVIT = {"vision_encoder": "vivit", "modality": "video"}


def test_a_training_notes_them_and_they_outlive_its_data(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    frames = [int(line.split()[1]) for line in (corpus / "train/utt2num_frames").read_text().splitlines()]
    expected = TrainingFacts(24, max(frames) / 25, 24, measure_texts(corpus / "train/text"))
    changes = {"audio_encoder": ..., "model_conf": {"ctc_weight": 0.3}, "max_epoch": 1, "mouth_view": 24}
    options = ["--config", str(write_config(tmp_path / "train.yaml", **changes))]
    for name in ("train", "valid"):
        for file, stream, kind in (("video.scp", "video", "video"), ("text", "text", "text")):
            options += [f"--{name}_data_path_and_name_and_type", f"{corpus}/{name}/{file},{stream},{kind}"]
        options += [f"--{name}_shape_file", f"{corpus}/{name}/text"]
    AVSRTask.main(cmd=[*options, "--token_list", f"{corpus}/tokens.txt", "--output_dir", str(tmp_path / "exp")])
    config = yaml.safe_load((tmp_path / "exp/config.yaml").read_text())
    shutil.rmtree(corpus)
    assert training_facts(config, tmp_path / "exp") == expected and expected.texts.per_s > 0
    without_note = {key: value for key, value in config.items() if key != "training_facts"}
    assert training_facts(without_note, tmp_path / "exp").longest_clip_s is None, "the data are there after all"


BOUNDS = {"unit": "words", "per_s": 5.3, "repeats": 1, "count": 3894}


@pytest.mark.parametrize("texts", [3, {"speed": 3}, BOUNDS | {"per_s": "5"}, BOUNDS | {"unit": "letters"}], ids=str)
def test_bounds_of_the_texts_that_are_none_are_refused(tmp_path, texts):
    assert training_facts({"modality": "audio", "training_facts": {"texts": BOUNDS}}, tmp_path).texts.per_s == 5.3
    with pytest.raises(DataError, match=r"texts: found .*; expected unit \(words or characters\), per_s"):
        training_facts({"modality": "audio", "training_facts": {"texts": texts}}, tmp_path)


@pytest.mark.parametrize(("image_size", "expected"), [([40, 60], 64), ([96, 48], 96), (44, 48), ([100, 20], None)])
def test_without_data_the_mouth_is_the_next_size_that_holds_the_crop(tmp_path, image_size, expected):
    config = {**VIVIT, "vision_encoder_conf": {"image_size": image_size}}
    assert noted_facts(config)["mouth_size"] == training_facts(config, tmp_path).mouth_size == expected


def test_sizes_of_a_tower_whose_checkpoint_is_gone_come_from_the_configuration(tmp_path):
    """As for a model that began from a local folder: only `vision_tower` knows the 48 pixels now."""
    config = {
        **VIVIT,
        "vision_encoder_conf": {"model_name": str(tmp_path / "gone")},
        "vision_tower": {"image_size": 48},
    }
    assert trained_preset(config).crop == 48 and training_facts(config, tmp_path).mouth_size == 48
    assert trained_preset({**config, "vision_tower": None}).crop == 224


def test_sound_alone_has_no_mouth(tmp_path):
    assert training_facts({"modality": "audio"}, tmp_path) == TrainingFacts(None, None, None)
