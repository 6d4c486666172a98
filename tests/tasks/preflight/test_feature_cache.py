"""feature_cache in a training: refused where clips change at random, and of use from the second epoch where not."""

import numpy as np
import pytest
import torch
from espnet2.train.collate_fn import CommonCollateFn

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.presets import visual_preset
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.augmentation import Augmentation
from espnet_vivit.tasks.loading.dataset import AVSRDataset
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from espnet_vivit.tasks.preflight.feature_cache import random_changes
from espnet_vivit.tasks.training.run_log import read_log
from tests import tiny
from tests.tasks.runs import command, write_corpus
from tests.tiny_corpus import FILES, TOKENS, write_config

STILL = {"random_crop": False, "flip_prob": 0, "time_masks_per_s": 0}  # all that is on by default, off
VIVIT = {**tiny.WINDOWED_VIVIT, "frozen": True}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def hits_by_epoch(corpus, folder, **conf):
    """Of two epochs over the training set, in another order each, through preprocessor, data set and model."""
    preset = visual_preset("vivit", {"image_size": tiny.PIXELS})
    sizes = {"token_type": "word", "token_list": TOKENS, "preset": preset, "feature_rate": "frame"}
    preprocess = AVSRPreprocessor(True, **sizes, augmentation=Augmentation(**conf))
    lists = [tuple(f"{corpus / 'train'}/{FILES[name]}".rsplit(",", 2)) for name in ("video", "text")]
    lists = [(path, name, kind) for path, name, kind in lists]
    dataset = AVSRDataset(lists, preprocess=preprocess)
    torch.manual_seed(3)
    model = tiny.tiny_e2e("video", vision_encoder_conf={**VIVIT, "feature_cache": str(folder)})
    collate, shares = CommonCollateFn(int_pad_value=-1), []
    for epoch in (1, 2):
        order = np.random.default_rng(epoch).permutation(list(dataset))
        for batch in order.reshape(2, 4):
            _, data = collate([dataset[str(utt_id)] for utt_id in batch])
            data["text"].clamp_(max=tiny.VOCABULARY - 2)
            _, stats, _ = model(**data)
            shares.append(float(stats["cache_hits"]))
    return shares


def test_of_clips_that_stay_the_same_the_second_epoch_computes_none(corpus, tmp_path):
    assert hits_by_epoch(corpus, tmp_path / "still", **STILL) == [0, 0, 1, 1]
    shaken = hits_by_epoch(corpus, tmp_path / "shaken", **{**STILL, "random_crop": True})
    assert sum(shaken) < 1, "81 places of the crop: at most a clip or two came again"


def test_a_training_logs_what_the_cache_spares(corpus, tmp_path):
    conf = {**VIVIT, "feature_cache": str(tmp_path / "features")}
    preset = {"vision_encoder": "vivit", "vision_encoder_conf": conf, "preprocessor_conf": STILL}
    config = write_config(tmp_path / "train.yaml", **preset)
    avsr_train.main(command(corpus, tmp_path / "exp", config))
    epochs = read_log(tmp_path / "exp/log.jsonl")
    assert [[epoch[phase]["cache_hits"] for phase in ("train", "valid")] for epoch in epochs] == [[0, 0], [1, 1]]


def check(corpus, tmp_path, preprocessor_conf, *options, **vision):
    conf = {**VIVIT, "feature_cache": str(tmp_path / "features"), **vision}
    changes = {"vision_encoder": "vivit", "vision_encoder_conf": conf, "preprocessor_conf": preprocessor_conf}
    config = write_config(tmp_path / "train.yaml", **changes)
    args = AVSRTask.get_parser().parse_args([*command(corpus, tmp_path / "exp", config), *options])
    AVSRTask.check_required_command_args(args)


def test_a_cache_meets_no_random_video(corpus, tmp_path):
    with pytest.raises(ConfigError) as error:
        check(corpus, tmp_path, {})
    assert str(error.value) == (
        "feature_cache keeps the features of clips that come again unchanged, but training changes them at random: "
        "found random_crop: true, flip_prob: 0.5, time_masks_per_s: 1.0; expected preprocessor_conf: "
        "{random_crop: false, flip_prob: 0, time_masks_per_s: 0}. "
        "Write this into the configuration, or leave feature_cache out"
    )
    assert not (tmp_path / "features").exists(), "nothing was built"
    check(corpus, tmp_path, {}, feature_cache=None)
    check(corpus, tmp_path, {}, "--use_preprocessor", "false")
    check(corpus, tmp_path, {**STILL, "noise_scp": str(corpus / "train/wav.scp")})


@pytest.mark.parametrize(
    ("conf", "found"),
    [
        ({}, {}),
        ({"random_crop": True}, {"random_crop": True}),
        ({"flip_prob": {1: 0.0, 5: 0.5}}, {"flip_prob": {1: 0.0, 5: 0.5}}),
        ({"speed_prob": 0.1, "join_prob": 0.2}, {"speed_prob": 0.1, "join_prob": 0.2}),
        ({"word_crop_prob": {3: 0.1}, "noise_prob": 1.0}, {"word_crop_prob": {3: 0.1}}),
        ({"time_masks_per_s": 1.0}, {"time_masks_per_s": 1.0}),
        ({"time_masks_per_s": 1.0, "time_mask_max_s": 0}, {}),
        ({"flip_prob": {1: 0, 9: 0.0}}, {}),
    ],
)
def test_what_changes_the_video_in_any_epoch_is_found(conf, found):
    assert random_changes({**STILL, **conf}) == found


def test_nothing_else_changes_the_video():
    """Every option of the preprocessing at work, but those that the check asks to leave out: the same video always."""
    preset = visual_preset("vivit", {"image_size": 16})
    sizes = {"token_type": "word", "token_list": TOKENS, "preset": preset, "feature_rate": "frame"}
    video = np.random.default_rng(1).integers(0, 256, (30, 24, 24), dtype=np.uint8)
    data = {"video": video, "text": "bin now", "word_times": "0.1:0.4:bin 0.5:0.9:now"}
    on = {
        "random_crop": True,
        "speed_prob": 1,
        "word_crop_prob": 1,
        "word_crop_min": 1,
        "time_masks_per_s": 2,
        "flip_prob": 0.5,
    }

    def drawn(**conf):
        preprocessor = AVSRPreprocessor(True, **sizes, augmentation=Augmentation(**conf))
        return {preprocessor(f"u{number}", dict(data))["video"].tobytes() for number in range(20)}

    assert drawn(**{**on, **dict.fromkeys(random_changes(on), 0)}) == {video[:, 4:20, 4:20].tobytes()}
    assert len(drawn(**on)) > 10
