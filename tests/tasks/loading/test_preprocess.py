"""What one utterance becomes: noise at its ratio, crops per frontend, labels, and augmentation drawn anew."""

import logging
import math
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import soundfile
from scipy.stats import chisquare

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.frontend.presets import visual_preset
from espnet_vivit.tasks.loading.augmentation import Augmentation, check_preprocessor_conf
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from tests.tiny_corpus import TOKENS

RESNET = visual_preset("resnet", {})
PLAIN = {"flip_prob": 0.0, "time_masks_per_s": 0.0}


def build(train=True, **options):
    given = {"token_type": "word", "token_list": TOKENS, "preset": None, "feature_rate": "frame"}
    of_the_model = {name: options.pop(name) for name in given if name in options}
    return AVSRPreprocessor(train, **{**given, **of_the_model}, augmentation=Augmentation(**options))


def sample(frames=50, pixels=48, **changes):
    rng = np.random.default_rng(1)
    data = {
        "video": rng.integers(0, 256, (frames, pixels, pixels), dtype=np.uint8),
        "speech": rng.standard_normal(frames * 640),
        "text": "bin blue",
        "word_times": "0.200:0.600:bin 0.800:1.200:blue",
    }
    return {name: value for name, value in {**data, **changes}.items() if value is not None}


@pytest.fixture
def noise_scp(tmp_path):
    rng = np.random.default_rng(2)
    lines = []
    for name, seconds in (("n1", 0.3), ("n2", 9.0), ("n3", 1.0)):  # shorter and longer than the speech
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
        lines.append(f"{name} {tmp_path / name}.wav\n")
    (tmp_path / "noise.scp").write_text("".join(lines))
    return str(tmp_path / "noise.scp")


def test_evaluation_changes_nothing_but_the_crop():
    data = sample()
    out = build(train=False, preset=RESNET)("u1", data)
    np.testing.assert_array_equal(out["video"], data["video"][:, 2:46, 2:46])
    assert out["video"].dtype == np.uint8 and out["video"].flags.c_contiguous
    np.testing.assert_array_equal(out["speech"], data["speech"].astype(np.float32))
    assert out["speech"].dtype == np.float32
    np.testing.assert_array_equal(out["text"], [TOKENS.index("bin"), TOKENS.index("blue")])
    assert set(out) == {"video", "speech", "text", "frame_labels"}


@pytest.mark.parametrize(("feature_rate", "steps"), [("frame", 50), ("tubelet", 25)])
def test_word_times_become_one_label_per_feature_step(feature_rate, steps):
    labels = build(train=False, feature_rate=feature_rate)("u1", sample())["frame_labels"]
    assert labels.shape == (steps,)
    seconds = (np.arange(steps) + 0.5) / (steps / 2)
    np.testing.assert_array_equal(labels == TOKENS.index("bin"), (seconds >= 0.2) & (seconds < 0.6))
    np.testing.assert_array_equal(labels == TOKENS.index("blue"), (seconds >= 0.8) & (seconds < 1.2))


def test_without_video_the_sound_decides_how_many_labels_there_are():
    out = build(train=False)("u1", sample(video=None, speech=np.ones(31 * 640 + 600)))
    assert out["frame_labels"].shape == (31,)


@pytest.mark.parametrize("snr_db", [-5, 0, 7.5])
def test_noise_is_mixed_at_exactly_the_chosen_ratio(noise_scp, snr_db):
    preprocessor = build(noise_scp=noise_scp, noise_snr_db=[snr_db], **PLAIN)
    data = sample()
    for uid in ("u1", "u2", "u3", "u4"):
        noise = preprocessor(uid, data)["speech"].astype(float) - data["speech"]
        found = 10 * np.log10((data["speech"] ** 2).mean() / (noise**2).mean())
        assert found == pytest.approx(snr_db, abs=1e-3)


def test_null_among_the_ratios_is_clean_and_zero_is_not(noise_scp):
    data = sample()
    clean = build(noise_scp=noise_scp, noise_snr_db=[None], **PLAIN)("u1", data)["speech"]
    np.testing.assert_array_equal(clean, data["speech"].astype(np.float32))
    noisy = build(noise_scp=noise_scp, noise_snr_db=[0], **PLAIN)("u1", data)["speech"]
    assert np.abs(noisy - clean).max() > 0.1


def snr_of(data, out):
    noise = out["speech"].astype(float) - data["speech"].astype(np.float32)
    return None if not noise.any() else round(10 * np.log10((data["speech"] ** 2).mean() / (noise**2).mean()), 2)


def test_noise_may_come_more_often_and_grow_louder_epoch_by_epoch(noise_scp):
    conf = {"noise_prob": {1: 0.0, 5: 1.0}, "noise_snr_db": {1: [20], 5: [0, None]}}
    preprocessor, data = build(noise_scp=noise_scp, **conf, **PLAIN), sample()
    heard = {}
    for epoch in (1, 3, 5, 9):
        preprocessor.set_epoch(epoch)
        heard[epoch] = [snr_of(data, preprocessor(f"u{i}", data)) for i in range(60)]
    assert set(heard[1]) == {None} and set(heard[5]) == set(heard[9]) == {0.0, None}
    assert set(heard[3]) == {20.0, None} and 15 < heard[3].count(20.0) < 45
    assert snr_of(data, build(noise_scp=noise_scp, **conf, **PLAIN)("u1", data)) is None, "untold, it is epoch 1"


def test_evaluation_is_clean(noise_scp):
    data = sample()
    out = build(train=False, noise_scp=noise_scp, noise_snr_db=[0])("u1", data)
    np.testing.assert_array_equal(out["speech"], data["speech"].astype(np.float32))


def test_nobody_babbles_under_their_own_utterance(noise_scp, monkeypatch):
    read = []
    real = soundfile.read
    monkeypatch.setattr(soundfile, "read", lambda path, **options: read.append(str(path)) or real(path, **options))
    preprocessor = build(noise_scp=noise_scp, noise_snr_db=[0], noise_talkers=2, **PLAIN)
    for _ in range(20):
        preprocessor("n2", sample())
    assert read and not any("n2" in path for path in read)


def chooser(tmp_path, sounds, talkers):
    """A preprocessor over a list of `sounds` paths that nobody reads: u0.wav of u0 and so on."""
    (tmp_path / "many.scp").write_text("".join(f"u{number} u{number}.wav\n" for number in range(sounds)))
    return build(noise_scp=str(tmp_path / "many.scp"), noise_talkers=talkers, noise_snr_db=[0], **PLAIN)


@pytest.mark.parametrize("own", [{"u3"}, {"u3", "u5"}, {"elsewhere"}])
def test_every_other_sound_is_chosen_equally_often_and_none_twice(tmp_path, own):
    preprocessor, rng = chooser(tmp_path, 8, 3), np.random.default_rng(5)
    chosen = [preprocessor._others(own, rng) for _ in range(3000)]
    assert all(len(set(paths)) == 3 for paths in chosen)
    others = {f"u{number}.wav" for number in range(8)} - {f"{uid}.wav" for uid in own}
    for place in range(3):  # also at each place: the first is as any other
        counts = Counter(paths[place] for paths in chosen)
        assert set(counts) == others and chisquare(list(counts.values())).pvalue > 1e-3
    pairs = Counter(frozenset(pair) for paths in chosen for pair in combinations(paths, 2))
    assert len(pairs) == len(others) * (len(others) - 1) / 2 and max(pairs.values()) < 1.5 * min(pairs.values())


def test_choosing_noise_costs_no_more_with_a_whole_corpus_to_choose_from(tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_vivit.tasks.loading.preprocess.read_wav", lambda path: np.ones(100))
    few, many = chooser(tmp_path, 100, 6), chooser(tmp_path, 100_000, 6)

    def cost_s(preprocessor):
        def once():
            begun_s = time.process_time()
            for _ in range(5):
                preprocessor._mix_noise({"u7"}, np.ones(100, dtype=np.float32), np.random.default_rng(1))
            return time.process_time() - begun_s

        return min(once() for _ in range(5))

    assert cost_s(many) < 5 * cost_s(few), "lists of all sounds for each clip make it some 30 times"


@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_silence_has_no_ratio_and_stays_as_it_is(tmp_path, silent):
    rng = np.random.default_rng(2)
    soundfile.write(tmp_path / "n1.wav", (silent != "noise") * 0.1 * rng.standard_normal(16000), 16000)
    (tmp_path / "noise.scp").write_text(f"n1 {tmp_path / 'n1.wav'}\n")
    speech = (silent != "speech") * rng.standard_normal(50 * 640)
    preprocessor = build(noise_scp=str(tmp_path / "noise.scp"), noise_snr_db=[0], **PLAIN)
    np.testing.assert_array_equal(preprocessor("u1", sample(speech=speech))["speech"], speech.astype(np.float32))


def test_several_channels_become_one():
    stereo = np.stack([np.zeros(6400), np.ones(6400)], axis=1)
    out = build(train=False)("u1", sample(video=None, speech=stereo, word_times=None))
    np.testing.assert_allclose(out["speech"], np.full(6400, 0.5))


def test_a_seed_repeats_its_augmentation_and_another_draws_it_anew():
    preprocessor = build(preset=RESNET, speed_prob=1.0)

    def epoch(seed):
        np.random.seed(seed)
        return [preprocessor(uid, sample()) for uid in ("u1", "u2", "u1")]

    first, again, second = epoch(1), epoch(1), epoch(2)
    for one, other in zip(first, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    for one, other in ((first[0], second[0]), (first[0], first[1]), (first[0], first[2])):
        assert one["video"].shape != other["video"].shape or (one["video"] != other["video"]).any()


def test_a_flip_happens_about_as_often_as_asked():
    data = sample()
    preprocessor = build(flip_prob=0.25, time_masks_per_s=0)
    flips = [(preprocessor("u1", data)["video"] != data["video"]).any() for _ in range(400)]
    assert 0.17 < np.mean(flips) < 0.33


@pytest.mark.parametrize("pixels", [44, 48])
def test_without_random_crop_training_sees_the_centre_as_evaluation_does(pixels):
    still, data = build(preset=RESNET, random_crop=False, **PLAIN), sample(pixels=pixels)
    centre = build(train=False, preset=RESNET)("u1", data)["video"]
    for _ in range(10):
        np.testing.assert_array_equal(still("u1", data)["video"], centre)
    shaken = build(preset=RESNET, **PLAIN)
    assert sum((shaken("u1", data)["video"] != centre).any() for _ in range(10)) > 2


def test_speed_keeps_labels_sound_and_video_of_one_length():
    preprocessor = build(speed_prob=1.0, speed_range=[0.8, 1.25], **PLAIN)
    lengths = set()
    for _ in range(30):
        out = preprocessor("u1", sample())
        frames = len(out["video"])
        assert len(out["speech"]) == 640 * frames and len(out["frame_labels"]) == frames
        lengths.add(frames)
    assert min(lengths) >= 40 and max(lengths) <= 63 and len(lengths) > 8


def test_words_that_are_cut_away_leave_the_text_too():
    preprocessor = build(word_crop_prob=1.0, word_crop_min=1, **PLAIN)
    texts = set()
    for _ in range(40):
        out = preprocessor("u1", sample())
        labels = [label for label in out["frame_labels"] if label]
        assert list(dict.fromkeys(labels)) == out["text"].tolist()
        texts.add(tuple(out["text"]))
    assert texts == {(2,), (6,), (2, 6)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word_times": "0.2:0.6:bin"}, "'u7' do not spell its text"),
        ({"word_times": "0.2-0.6:bin"}, "word_times of utterance 'u7'"),
        ({"video": np.zeros((3, 4, 5, 3), np.uint8)}, r"'u7': the video is no gray clip: found uint8 \(3, 4, 5, 3\)"),
        ({"video": np.zeros((3, 4, 4), np.float32)}, "'u7': the video is no gray clip: found float32"),
        ({"speech": np.zeros(0)}, "'u7': the speech is no waveform"),
        ({"video": np.zeros((50, 4, 40), np.uint8)}, "'u7': the clip is smaller"),
        (
            {"speech": np.zeros(51 * 640 + 1)},
            r"audio and video of u7 differ in length: found 2.040 s of audio, 2.000 s of video",
        ),
    ],
)
def test_bad_input_names_the_utterance(changes, message):
    preset = visual_preset("vivit", {"image_size": 16})
    with pytest.raises(DataError, match=message):
        build(train=False, preset=preset)("u7", sample(**changes))


SECOND = {
    "frames": 40,
    "pixels": 48,
    "text": "red now",
    "word_times": "0.100:0.300:red 0.900:1.300:now",
}


def joining(load=None, utt_ids=("u2",), **options):
    preprocessor = build(**{"join_prob": 1.0, **PLAIN, **options})
    preprocessor.join_from(load or (lambda uid: sample(**SECOND, speech=np.ones(40 * 640))), utt_ids)
    return preprocessor


def test_a_joined_utterance_is_both_behind_one_another():
    first, second = sample(), sample(**SECOND, speech=np.ones(40 * 640))
    out = joining()("u1", first)
    np.testing.assert_array_equal(out["video"], np.concatenate([first["video"], second["video"]]))
    np.testing.assert_array_equal(out["speech"][50 * 640 :], 1)
    assert [TOKENS[token] for token in out["text"]] == ["bin", "blue", "red", "now"]
    spoken = {TOKENS[token]: (np.flatnonzero(out["frame_labels"] == token) + 0.5) / 25 for token in out["text"]}
    assert spoken["red"].min() == pytest.approx(2.1, abs=0.021)
    assert spoken["now"].max() == pytest.approx(3.3, abs=0.041)


@pytest.mark.parametrize(("more", "expected"), [([], "niihao"), (["<space>"], "nii hao")])
def test_between_joined_utterances_there_is_a_blank_only_where_the_tokens_know_one(more, expected):
    tokens = ["<blank>", "<unk>", *"niho", "a", *more, "<sos/eos>"]
    tokens = list(dict.fromkeys(tokens))
    preprocessor = joining(
        lambda uid: sample(text="hao", word_times=None), token_type="char", token_list=tokens, join_max_s=8
    )
    spelled = [tokens[token] for token in preprocessor("u1", sample(text="nii", word_times=None))["text"]]
    assert "".join(" " if token == "<space>" else token for token in spelled) == expected


def test_utterances_too_long_together_stay_apart():
    assert len(joining(join_max_s=3.6)("u1", sample())["video"]) == 90
    assert len(joining(join_max_s=3.5)("u1", sample())["video"]) == 50


def test_what_follows_is_a_neighbour_by_its_id():
    """Ids begin with the speaker, so that few joined clips change the face."""
    ids = [f"s{speaker}-{number:03d}" for speaker in range(9) for number in range(100)]
    asked = set()

    def load(uid):
        asked.add(uid)
        return sample(**SECOND, speech=np.ones(40 * 640))

    preprocessor = joining(load, ids[::-1])
    for _ in range(600):
        preprocessor("s4-050", sample())
    assert len(asked) > 80 and {uid.split("-")[0] for uid in asked} <= {"s4", "s5"}


def test_joining_happens_about_as_often_as_asked_and_never_in_evaluation():
    lengths = [len(joining(join_prob=0.3)("u1", sample())["video"]) for _ in range(400)]
    assert 80 < lengths.count(90) < 160 and lengths.count(90) + lengths.count(50) == 400
    evaluated = build(train=False, join_prob=1.0)
    evaluated.join_from(lambda uid: sample(**SECOND), ["u2"])
    assert len(evaluated("u1", sample())["video"]) == 50


def test_nobody_babbles_under_an_utterance_that_was_joined(noise_scp, monkeypatch):
    heard = []
    monkeypatch.setattr(
        "espnet_vivit.tasks.loading.preprocess.read_wav", lambda path: heard.append(path) or np.ones(100)
    )
    preprocessor = joining(utt_ids=["n2"], noise_scp=noise_scp, noise_snr_db=[0])
    for _ in range(20):
        preprocessor("n1", sample())
    assert {path.rsplit("/", 1)[-1] for path in heard} == {"n3.wav"}


def test_clips_that_no_camera_took_in_one_are_not_joined():
    with pytest.raises(
        DataError, match=r"'u1' and 'u2' cannot be joined: found \(48, 48\).*and \(44, 44\).*join_prob: 0"
    ):
        joining(lambda uid: sample(**{**SECOND, "pixels": 44}, speech=np.ones(40 * 640)))("u1", sample())
    with pytest.raises(DataError, match=r"cannot be joined.*no sound"):
        joining(lambda uid: sample(**SECOND, speech=None))("u1", sample())


def test_joining_needs_a_data_set():
    with pytest.raises(ConfigError, match="join_prob needs a data set"):
        build(join_prob=1.0)("u1", sample())


def test_cutting_at_words_without_word_times_is_refused():
    with pytest.raises(ConfigError, match="word_crop_prob cuts clips between words"):
        build(word_crop_prob=1.0)("u1", sample(word_times=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip_prob": 1.5}, "flip_prob in preprocessor_conf: found 1.5; expected 0 to 1"),
        ({"noise_prob": {1: 0.0, 4: 1.5}}, "noise_prob in preprocessor_conf: found 1.5; expected 0 to 1"),
        ({"noise_prob": {0: 0.1}}, "noise_prob in preprocessor_conf is no schedule by epoch"),
        ({"noise_snr_db": {1: [0], 2: []}}, "noise_snr_db"),
        ({"speed_range": [1.1, 0.9]}, "speed_range"),
        ({"time_mask_max_s": -1}, "time_mask_max_s"),
        ({"noise_snr_db": []}, "noise_snr_db"),
        ({"word_crop_min": 0}, "word_crop_min"),
        ({"noise_talkers": 0}, "noise_talkers in preprocessor_conf: found 0; expected 1 or more"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


@pytest.mark.parametrize(("given", "talking"), [(1, 1), (2, 2), (3, 2), (6, 2)])
def test_no_more_talk_at_once_than_the_sounds_of_others(noise_scp, given, talking, caplog):
    with caplog.at_level(logging.INFO):
        preprocessor = build(noise_scp=noise_scp, noise_talkers=given)
    assert preprocessor.noise_talkers == talking
    said = [record.getMessage() for record in caplog.records]
    line = f"noise_talkers: {talking} instead of {given} sounds at once, as there are 3 in {noise_scp}"
    assert said == ([line] if given > talking else [])


def test_a_clip_whose_own_sound_is_the_only_one_stays_clean(noise_scp, tmp_path):
    (tmp_path / "one.scp").write_text(f"u1 {tmp_path / 'n2.wav'}\n")
    one = build(noise_scp=str(tmp_path / "one.scp"), noise_talkers=6, noise_snr_db=[0], **PLAIN)
    data = sample()
    assert snr_of(data, one("u1", data)) is None and snr_of(data, one("u2", data)) == 0.0


def test_a_typo_in_preprocessor_conf_is_an_error_with_a_suggestion():
    check_preprocessor_conf({"flip_prob": 0.1})
    with pytest.raises(ConfigError, match=r"unknown option in preprocessor_conf: found 'flip_prop'.*'flip_prob'"):
        check_preprocessor_conf({"flip_prop": 0.1})
    with pytest.raises(ConfigError, match="found 'token_list'"):
        check_preprocessor_conf({"token_list": []})


@pytest.mark.parametrize(
    "conf",
    [
        {"flip_prob": [["x"]]}, {"flip_prob": math.nan}, {"time_masks_per_s": math.nan}, {"noise_snr_db": [["x"]]},
        {"noise_snr_db": [math.nan]}, {"speed_range": 3}, {"speed_range": ["a", "b"]}, {"noise_snr_db": {"x": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_no_augmentation_can_have_are_errors_before_the_data_are_read(conf):
    with pytest.raises(ConfigError, match=f"{next(iter(conf))} in preprocessor_conf"):
        check_preprocessor_conf(conf)
