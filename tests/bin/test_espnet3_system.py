"""The stages of a recipe in egs3/: lengths as stage 10's, and hypotheses of the weights that are there."""

import pytest

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from omegaconf import OmegaConf

from espnet_vivit.bin.avsr_format import format_data_dir
from espnet_vivit.bin.avsr_shapes import shapes_of_set
from espnet_vivit.bin.espnet3_system import MADE_WITH, AVSRSystem
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import DataError
from espnet_vivit.tasks.espnet3.names import BaseSystem
from tests.tasks.espnet3.training import sections, training_config
from tests.tiny_corpus import TOKENS, write_tiny_corpus


@pytest.fixture
def corpus(tmp_path):
    return write_tiny_corpus(tmp_path / "corpus")


def system(tmp_path, corpus, **changes) -> AVSRSystem:
    return AVSRSystem(training_config=training_config(tmp_path, corpus, **changes))


def test_the_lengths_are_those_that_the_stages_of_egs_write(tmp_path, corpus):
    system(tmp_path, corpus).collect_stats()
    format_data_dir(corpus / "train", tmp_path / "formatted")
    options = {"token_list": corpus / "tokens.txt", "token_type": "word", "bpemodel": None}
    shapes_of_set(tmp_path / "formatted", tmp_path / "egs", **options, feature_rate="frame", max_infeasible=0.0)
    names = sorted(path.name for path in (tmp_path / "egs").iterdir())
    assert names == ["speech_shape", "text_shape.word", "video_shape"]
    for name in names:
        assert (tmp_path / "stats/train" / name).read_text() == (tmp_path / "egs" / name).read_text()


def test_clips_that_are_too_long_are_left_out(tmp_path, corpus):
    frames = {utt_id: int(count) for utt_id, count in read_scp(corpus / "train/utt2num_frames").items()}
    longest = max(frames.values())
    system(tmp_path, corpus, collect_stats_max_duration=(longest - 1) / 25).collect_stats()
    kept = read_scp(tmp_path / "stats/train/video_shape")
    assert set(kept) == {utt_id for utt_id, count in frames.items() if count < longest}


def test_sets_that_share_clips_are_refused(tmp_path, corpus):
    dataset = sections(tmp_path, corpus)["dataset"]
    with pytest.raises(DataError, match="overlap"):
        system(tmp_path, corpus, dataset={**dataset, "valid": dataset["train"]}).collect_stats()


def test_the_token_list_is_made_of_the_training_set_and_again_when_that_changes(tmp_path, corpus):
    tokenizer = {"token_type": "word", "save_path": str(tmp_path / "tokens")}
    stages, tokens = system(tmp_path, corpus, tokenizer=tokenizer), tmp_path / "tokens/tokens.txt"
    stages.train_tokenizer()
    found = tokens.read_text().split()
    assert found[:2] == TOKENS[:2] and found[-1] == TOKENS[-1] and set(found) <= set(TOKENS)
    made = tokens.stat().st_mtime_ns
    stages.train_tokenizer()
    assert tokens.stat().st_mtime_ns == made
    text = corpus / "train/text"
    text.write_text(text.read_text().replace("bin", "never"))
    stages.train_tokenizer()
    assert "never" in tokens.read_text().split()


@pytest.fixture
def decoding(tmp_path, monkeypatch):
    """(system, the folder of a test set's hypotheses), with an ESPnet3 that decodes where there is nothing."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/valid.acc.ave.pth").write_bytes(b"weights")
    config = {
        "inference_dir": str(tmp_path / "exp/decode"),
        "exp_dir": str(tmp_path / "exp"),
        "model": {"model": str(tmp_path / "exp"), "beam_size": 5},
        "dataset": {"test": [{"name": "test"}]},
    }
    folder, runs = tmp_path / "exp/decode/test", []

    def infer(self):
        if not folder.exists():
            runs.append(self.inference_config.model.beam_size)
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(BaseSystem, "infer", infer)
    return AVSRSystem(inference_config=OmegaConf.create(config)), runs


def test_what_has_been_decoded_is_kept_until_the_weights_or_the_search_change(tmp_path, decoding):
    system, runs = decoding
    system.infer()
    system.infer()
    assert runs == [5] and (tmp_path / "exp/decode" / MADE_WITH).is_file()
    system.inference_config.model.beam_size = 9
    system.infer()
    system.infer()
    assert runs == [5, 9]
    (tmp_path / "exp/valid.acc.ave.pth").write_bytes(b"other weights")
    system.infer()
    assert runs == [5, 9, 9]
