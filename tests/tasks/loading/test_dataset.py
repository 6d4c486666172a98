"""uint8 video goes through both of ESPnet's kinds of datasets, media files and .npy alike, preprocessed once."""

import os

import numpy as np
import pytest
import soundfile
from espnet2.train.collate_fn import CommonCollateFn
from torch.utils.data import DataLoader

from espnet_vivit.errors import ConfigError, DataError, MediaError
from espnet_vivit.media.files.video_file import write_gray_video
from espnet_vivit.tasks.loading.dataset import AVSRDataset, AVSRIterableDataset


@pytest.fixture
def lists(tmp_path):
    rng = np.random.default_rng(0)
    clips = {"a": rng.integers(0, 256, (7, 8, 8), dtype=np.uint8), "b": rng.integers(0, 256, (4, 8, 8), dtype=np.uint8)}
    np.save(tmp_path / "a.npy", clips["a"])
    write_gray_video(tmp_path / "b.mkv", clips["b"])
    (tmp_path / "video.scp").write_text(f"a {tmp_path}/a.npy\nb {tmp_path}/b.mkv\n")
    (tmp_path / "text").write_text("b 3 4\na 1 2 3\n")  # another order than video.scp
    triples = [(str(tmp_path / "video.scp"), "video", "video"), (str(tmp_path / "text"), "text", "text_int")]
    return tmp_path, clips, triples


@pytest.mark.parametrize("kind", [AVSRDataset, AVSRIterableDataset])
def test_video_arrives_as_bytes_once_preprocessed(lists, kind):
    _, clips, triples = lists
    calls = []

    def preprocess(uid, data):
        calls.append(uid)
        return data

    dataset = kind(triples, preprocess=preprocess)
    samples = dict(dataset) if kind is AVSRIterableDataset else {uid: dataset[uid][1] for uid in dataset}
    assert calls == ["a", "b"]
    for uid, clip in clips.items():
        assert samples[uid]["video"].dtype == np.uint8
        np.testing.assert_array_equal(samples[uid]["video"], clip)
    assert samples["b"]["text"].dtype == np.int64


def test_espnets_collate_pads_the_bytes_with_black(lists):
    _, clips, triples = lists
    dataset = AVSRDataset(triples, preprocess=lambda uid, data: {**data, "video": data["video"][:, :, ::-1]})
    collate = CommonCollateFn(float_pad_value=0.0, int_pad_value=-1)
    ((_, batch),) = DataLoader(dataset, batch_sampler=[["a", "b"]], collate_fn=collate)
    assert str(batch["video"].dtype) == "torch.uint8" and batch["video_lengths"].tolist() == [7, 4]
    np.testing.assert_array_equal(batch["video"][1, :4], clips["b"][:, :, ::-1])
    assert (batch["video"][1, 4:] == 0).all() and batch["text"].tolist() == [[1, 2, 3], [3, 4, -1]]


def test_workers_share_the_stream(lists):
    _, _, triples = lists
    loader = DataLoader(AVSRIterableDataset(triples), batch_size=None, num_workers=2)
    assert sorted(uid for uid, _ in loader) == ["a", "b"]


def test_a_key_file_chooses_and_orders(lists):
    folder, _, triples = lists
    (folder / "keys").write_text("b x\na y\n")
    assert [uid for uid, _ in AVSRIterableDataset(triples, key_file=str(folder / "keys"))] == ["b", "a"]
    (folder / "keys").write_text("\n")
    with pytest.raises(DataError, match="keys lists no utterance"):
        list(AVSRIterableDataset(triples, key_file=str(folder / "keys")))


def test_an_utterance_that_a_list_lacks_is_named_with_the_list(lists):
    folder, _, triples = lists
    (folder / "text").write_text("a 1 2 3\n")
    with pytest.raises(DataError, match=r"utterance 'b' has no text: it is not in .*text"):
        AVSRDataset(triples)["b"]


def test_a_broken_clip_is_named(lists):
    folder, _, triples = lists
    (folder / "b.mkv").write_bytes(b"not a video")
    with pytest.raises(MediaError, match=r"b\.mkv"):
        AVSRDataset(triples)["b"]


def test_a_cache_is_refused_because_it_freezes_augmentation(lists):
    with pytest.raises(ConfigError, match="augmentation would be drawn once"):
        AVSRDataset(lists[2], max_cache_size=1.0)


def test_sound_at_another_rate_is_refused(lists):
    folder, _, _ = lists
    soundfile.write(folder / "a.wav", np.zeros(800), 8000)
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\n")
    with pytest.raises(DataError, match=r"'a' of .*wav.scp has the wrong sampling rate: found 8000 Hz"):
        AVSRDataset([(str(folder / "wav.scp"), "speech", "sound")])["a"]


def test_values_that_cannot_be_batched_are_named(lists):
    with pytest.raises(DataError, match="text of utterance 'a' cannot go into a batch: found str"):
        AVSRDataset(lists[2], preprocess=lambda uid, data: {"text": "words"})["a"]


def write_text(path):
    path.write_text("no sound")


def write_half(path):
    soundfile.write(path, np.zeros(800), 16_000)
    path.write_bytes(path.read_bytes()[:700])


def write_nan(path):
    samples = np.zeros(800, np.float32)
    samples[99] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT", format="WAV")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [AVSRDataset, AVSRIterableDataset])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to(path.name), "leads to itself"),
        (os.mkfifo, "is a pipe"),
        (write_text, "cannot be read"),
        (write_nan, "NaN or infinite"),
        (write_half, "breaks off"),
    ],
    ids=["missing", "folder", "loop", "pipe", "text", "NaN", "half"],
)
def test_sound_that_cannot_be_used_is_named_with_its_utterance(tmp_path, kind, make, words):
    make(tmp_path / "a.wav")
    (tmp_path / "wav.scp").write_text(f"utt7 {tmp_path}/a.wav\n")
    dataset = kind([(str(tmp_path / "wav.scp"), "speech", "sound")])
    with pytest.raises((DataError, MediaError), match=words) as error:
        dict(dataset) if kind is AVSRIterableDataset else dataset["utt7"]
    assert "speech of utterance 'utt7'" in str(error.value)
    if make is not write_nan:
        assert "a.wav" in str(error.value)
