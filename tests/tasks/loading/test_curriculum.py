"""Short clips first, and an epoch that reaches what is scheduled by it: noise in the loader, dropout in the model."""

import logging

import pytest
import torch
from espnet2.train.distributed_utils import DistributedOption

from espnet_vivit import E2E
from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.curriculum import Curriculum, at_least, read_curriculum
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """With video_shape of 20 to 29 frames per clip beside the lists."""
    root = write_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    for split in ("train", "valid"):
        frames = (root / split / "utt2num_frames").read_text().split("\n")
        lines = [f"{utt_id} {count},24,24" for utt_id, count in (line.split() for line in frames if line)]
        (root / split / "video_shape").write_text("\n".join(lines) + "\n")
    return root


def frames_of(corpus):
    lines = (corpus / "train/utt2num_frames").read_text().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def arguments(corpus, tmp_path, **changes):
    config = write_config(tmp_path / "train.yaml", **changes)
    common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", tmp_path / "exp"]
    shapes = [word for s in ("train", "valid") for word in (f"--{s}_shape_file", f"{corpus / s}/video_shape")]
    return [*map(str, common), *data_options(corpus), *shapes]


def factory_of(corpus, tmp_path, **changes):
    args = AVSRTask.get_parser().parse_args(arguments(corpus, tmp_path, **changes))
    AVSRTask.check_required_command_args(args)
    return AVSRTask.build_iter_factory(args, DistributedOption(), mode="train")


def keys_of(factory, epoch):
    return [key for keys, _ in factory.build_iter(epoch) for key in keys]


@pytest.mark.parametrize("batch", [{"batch_type": "unsorted"}, {"batch_type": "length", "batch_bins": 80}])
def test_the_first_epochs_have_the_short_clips_and_later_ones_all(corpus, tmp_path, batch):
    frames = frames_of(corpus)
    limit = sorted(frames.values())[len(frames) // 2]
    factory = factory_of(corpus, tmp_path, curriculum={"max_frames": limit, "epochs": 2}, **batch)
    short = sorted(key for key, count in frames.items() if count <= limit)
    assert 0 < len(short) < len(frames)
    for epoch, expected in ((1, short), (2, short), (3, sorted(frames))):
        assert sorted(keys_of(factory, epoch)) == expected
    again = factory_of(corpus, tmp_path, curriculum={"max_frames": limit, "epochs": 2}, **batch)
    assert keys_of(again, 2) == keys_of(factory, 2), "a resumed training sees another order"


@pytest.fixture
def ranks(corpus, tmp_path, monkeypatch):
    """`ranks(**options)`: the training set's factories of two processes of one distributed training."""
    distributed = torch.distributed

    def build(rank, **options):
        monkeypatch.setattr(distributed, "get_rank", lambda: rank)
        args = AVSRTask.get_parser().parse_args(arguments(corpus, tmp_path, **options))
        option = DistributedOption(distributed=True, dist_rank=rank, dist_world_size=2)
        return AVSRTask.build_iter_factory(args, option, mode="train")

    def both(curriculum, **options):
        parts = [[tuple(batch) for batch in build(rank, **options).factory.sampler] for rank in range(2)]

        def gather(everybodys, own):
            assert own in parts
            everybodys[:] = parts

        monkeypatch.setattr(distributed, "all_gather_object", gather)
        return [build(rank, curriculum=curriculum, **options) for rank in range(2)]

    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    return both


@pytest.mark.parametrize(
    "batch", [{"batch_type": "unsorted"}, {"batch_frames": 60, "max_padding": 0.9}, {"batch_type": "sorted"}]
)
@pytest.mark.parametrize("count", [3, 5])
def test_two_processes_see_every_short_clip_once_in_as_many_batches(corpus, ranks, batch, count):
    """With fewer batches than the other, a process would end the epoch of both; clips that are left would be lost."""
    frames = frames_of(corpus)
    limit = sorted(frames.values())[count - 1]
    factories = ranks({"max_frames": limit, "epochs": 1}, batch_size=2, **{"batch_type": "unsorted", **batch})
    short, everything = ([[keys for keys, _ in f.build_iter(epoch)] for f in factories] for epoch in (1, 2))
    assert len(short[0]) == len(short[1]) and all(keys for part in short for keys in part)
    expected = sorted(key for key, length in frames.items() if length <= limit)
    assert sorted(key for part in short for keys in part for key in keys) == expected
    assert sorted(key for part in everything for keys in part for key in keys) == sorted(frames)


def test_fewer_short_clips_than_processes_are_nothing_to_begin_with(corpus, ranks, monkeypatch, caplog):
    lengths = {key: 50 - 40 * (key == "s0-train0") for key in frames_of(corpus)}
    monkeypatch.setattr("espnet_vivit.tasks.loading.curriculum.read_frames", lambda shape_files: lengths)
    factories = ranks({"max_frames": 20, "epochs": 1})
    assert sorted(key for factory in factories for key in keys_of(factory, 1)) == sorted(lengths)
    assert "curriculum: 1 of 8 clips have at most 20 frames (the shortest has 10), too few to begin" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "joined"),
    [([1, 1, 3, 1], [2, 4]), ([4, 1], [5]), ([1], [1]), ([], []), ([2, 2], [2, 2]), ([1, 1, 1], [3])],
)
def test_batches_too_small_for_two_join_their_neighbours(sizes, joined):
    batches = [tuple(f"{number}-{i}" for i in range(size)) for number, size in enumerate(sizes)]
    result = at_least(batches, 2)
    assert [len(batch) for batch in result] == joined
    assert [key for batch in result for key in batch] == [key for batch in batches for key in batch]


def test_without_a_curriculum_batches_are_espnets(corpus, tmp_path):
    assert sorted(keys_of(factory_of(corpus, tmp_path), 1)) == sorted(frames_of(corpus))


def test_noise_and_augmentation_follow_the_epoch_in_the_loaders_processes(corpus, tmp_path):
    """Flips from never to always; both halves of a difference would hide a process that still is in epoch 1."""
    conf = {"flip_prob": {1: 0.0, 3: 1.0}, "time_masks_per_s": 0}
    plain = {"preprocessor_conf": {**conf, "flip_prob": 0}, "vision_encoder_conf": {"image_size": 24, "output_dim": 16}}
    scheduled = {**plain, "preprocessor_conf": conf}
    for workers in (0, 1):
        flipping = factory_of(corpus, tmp_path, num_workers=workers, **scheduled)
        for epoch, share in ((1, 0.0), (3, 1.0)):
            flips = 0
            for keys, batch in flipping.build_iter(epoch):
                for key, video, length in zip(keys, batch["video"], batch["video_lengths"], strict=True):
                    raw = flipping.factory.dataset.loader_dict["video"][key]
                    flips += mirrored(video[:length].numpy(), raw)
            assert flips == share * len(frames_of(corpus))


def mirrored(video, raw):
    """Whether a clip of its frontend's own size, shifted by a pixel at most, is nearer to its mirror picture."""
    inner = (slice(None), slice(2, -2), slice(2, -2))

    def distance(other):
        shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        moved = [other[:, 2 + y : other.shape[1] - 2 + y, 2 + x : other.shape[2] - 2 + x] for y, x in shifts]
        return min(abs(video[inner].astype(int) - one.astype(int)).sum() for one in moved)

    return distance(raw[:, :, ::-1]) < distance(raw)


def test_modality_dropout_follows_the_epoch_through_espnets_trainer(corpus, tmp_path, monkeypatch):
    seen = []
    forward = E2E.forward

    def watched(model, *args, **kwargs):
        if model.training:
            seen.append(model.modality_dropout.audio)
        return forward(model, *args, **kwargs)

    monkeypatch.setattr(E2E, "forward", watched)
    options = arguments(corpus, tmp_path, modality_dropout={"audio": {1: 0.0, 3: 1.0}}, max_epoch=2)
    avsr_train.main([*options, "--resume", "true"])
    assert seen == [0.0] * 2 + [0.5] * 2
    options = arguments(corpus, tmp_path, modality_dropout={"audio": {1: 0.0, 3: 1.0}}, max_epoch=3)
    avsr_train.main([*options, "--resume", "true"])
    assert seen[4:] == [1.0] * 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_frame": 3, "epochs": 1}, "unknown option in curriculum: found 'max_frame'.*'max_frames'"),
        ({"epochs": 1}, "curriculum lacks max_frames"),
        ({"max_frames": 2.5, "epochs": 1}, r"max_frames of curriculum: found 2\.5"),
        ({"max_frames": 2, "epochs": 0}, "epochs of curriculum: found 0"),
    ],
)
def test_a_curriculum_that_cannot_be_meant_is_named(option, message):
    with pytest.raises(ConfigError, match=message):
        read_curriculum(option)


def test_a_corpus_of_long_clips_is_trained_on_whole_from_the_first_epoch(corpus, tmp_path, caplog):
    frames = frames_of(corpus)
    factory = factory_of(corpus, tmp_path, curriculum={"max_frames": min(frames.values()) - 1, "epochs": 2})
    for epoch in (1, 2, 3):
        assert sorted(keys_of(factory, epoch)) == sorted(frames)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("curriculum: 0 of 8 clips have at most") and "from the first epoch on" in warning


def test_a_curriculum_needs_the_lengths_of_the_clips(corpus, tmp_path):
    options = [o for o in arguments(corpus, tmp_path, curriculum={"max_frames": 25, "epochs": 1}) if "shape" not in o]
    args = AVSRTask.get_parser().parse_args([*options, *shape_options(corpus)])
    with pytest.raises(DataError, match="no lengths of the clips"):
        AVSRTask.build_iter_factory(args, DistributedOption(), mode="train")
    assert read_curriculum({}) is read_curriculum(None) is None
    assert read_curriculum({"max_frames": 100, "epochs": 5}) == Curriculum(max_frames=100, epochs=5)


def test_a_models_own_epoch_is_the_first_until_it_is_told():
    from tests.tiny import tiny_e2e

    model = tiny_e2e("multimodal", modality_dropout={"video": {1: 0.1, 11: 0.6}, "audio": 0.2})
    assert (model.modality_dropout.video, model.modality_dropout.audio) == (0.1, 0.2)
    model.set_epoch(6)
    assert model.modality_dropout.video == pytest.approx(0.35)
    with pytest.raises(ConfigError, match=r"found video 0\.9, audio 0\.2 in epoch 5"):
        tiny_e2e("multimodal", modality_dropout={"video": {1: 0.1, 5: 0.9}, "audio": 0.2})
    with pytest.raises(ConfigError, match="modality_dropout of video is no schedule by epoch"):
        tiny_e2e("multimodal", modality_dropout={"video": {0: 0.1}})
