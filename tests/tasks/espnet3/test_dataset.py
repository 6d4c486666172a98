"""A data directory gives ESPnet3 the clips that ESPnet2 gets from it, and their preprocessing is the same."""

import numpy as np
import pytest

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet3.components.data.data_organizer import DataOrganizer
from omegaconf import OmegaConf

from espnet_vivit.data.data_dir import read_data_dir, write_data_dir
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.dataset import DataDirDataset, ModelPreprocessor
from espnet_vivit.tasks.loading.dataset import AVSRDataset
from tests.tiny_corpus import CONFIG, FILES, write_clip, write_config, write_tiny_corpus

MODEL = {name: value for name, value in CONFIG.items() if name.startswith(("vision", "audio"))} | {"token_type": "word"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus"))


def test_a_clip_is_its_id_its_words_and_its_streams_as_bytes(corpus):
    dataset = DataDirDataset(corpus / "train", "multimodal")
    first = read_data_dir(corpus / "train")[0]
    item = dataset[0]
    assert set(item) == {"utt_id", "text", "word_times", "speech", "video"} and len(dataset) == 8
    assert (item["utt_id"], item["text"]) == (first.utt_id, first.text)
    assert item["video"].dtype == np.uint8 and (item["video"] == np.load(first.video)).all()
    assert item["speech"].shape == (first.num_samples,)
    by_name = dataset[first.utt_id]
    assert all(np.array_equal(by_name[name], item[name]) for name in item)


@pytest.mark.parametrize(("modality", "streams"), [("video", {"video"}), ("audio", {"speech"})])
def test_only_the_streams_of_the_modality_are_read(corpus, modality, streams):
    assert set(DataDirDataset(corpus / "train", modality)[0]) & {"video", "speech"} == streams


def test_an_utterance_named_by_a_number_is_refused(tmp_path):
    clip = write_clip(tmp_path, "1_0", np.random.default_rng(0))  # which int() takes for 10
    write_data_dir(tmp_path / "data", [clip])
    with pytest.raises(DataError, match=r"named by a number.*found 1_0.*letter in front"):
        DataDirDataset(tmp_path / "data")


def test_a_misspelt_modality_is_refused(corpus):
    with pytest.raises(ConfigError, match="Did you mean 'video'"):
        DataDirDataset(corpus / "train", "vidoe")


@pytest.mark.parametrize("train", [False, True])
def test_a_batchs_arrays_are_those_of_espnet2(corpus, tmp_path, train):
    """Also with augmentation, which follows the utterance's id and numpy's generator."""
    config = write_config(tmp_path / "train.yaml", preprocessor_conf={"flip_prob": 0.5, "time_masks_per_s": 2.0})
    options = ["--config", str(config), "--output_dir", str(tmp_path), "--token_list", f"{corpus}/tokens.txt"]
    preprocess = AVSRTask.build_preprocess_fn(AVSRTask.get_parser().parse_args(options), train=train)
    lists = [tuple(f"{corpus}/train/{FILES[name]}".split(",")) for name in FILES]
    expected = AVSRDataset(lists, preprocess=preprocess)
    section = {
        "train": [{"data_src": "espnet_vivit.tasks.espnet3.dataset", "data_src_args": {"data_dir": f"{corpus}/train"}}],
        "preprocessor": {
            "_target_": "espnet_vivit.tasks.espnet3.dataset.ModelPreprocessor",
            "model": {**MODEL, "token_list": f"{corpus}/tokens.txt"},
            "augmentation": {"flip_prob": 0.5, "time_masks_per_s": 2.0},
        },
    }
    section["valid"] = section["train"]
    organizer = DataOrganizer(**OmegaConf.create(section))
    found = organizer.train if train else organizer.valid
    found.use_espnet_collator = True
    for utt_id in expected:
        np.random.seed(5)
        _, ours = found[utt_id]
        np.random.seed(5)
        _, theirs = expected[utt_id]
        assert set(ours) == set(theirs) == {"video", "speech", "text", "frame_labels"}
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_misspelt_augmentation_is_an_error(corpus):
    with pytest.raises(ConfigError, match="Did you mean 'flip_prob'"):
        ModelPreprocessor(True, model={**MODEL, "token_list": f"{corpus}/tokens.txt"}, augmentation={"flip_porb": 0.5})
