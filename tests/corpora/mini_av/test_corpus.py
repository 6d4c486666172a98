import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_vivit.base.processes import CRASHED
from espnet_vivit.bin.avsr_mini_av import main
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.corpora.mini_av import clip as mini_av_clip
from espnet_vivit.corpora.mini_av import corpus as mini_av
from espnet_vivit.corpora.mini_av.clip import ClipPlan, draw_clip, speak_clip
from espnet_vivit.corpora.mini_av.corpus import corpus_hash, prepare
from espnet_vivit.corpora.mini_av.grammar import SLOTS
from espnet_vivit.corpora.mini_av.plan import Config, plan_clips
from espnet_vivit.data.data_dir import read_data_dir, validate_data_dir
from espnet_vivit.errors import ConfigError, MediaError, MissingDependencyError
from espnet_vivit.media.files.video_file import read_video
from tests.bin.commands.test_prepare_interrupted import processes_with

COUNTS = {"num_train": 30, "num_dev": 4, "num_test_seen": 10, "num_test_unseen": 5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, Path]:
    return prepare(tmp_path_factory.mktemp("mini_av"), nj=1, progress=False, **COUNTS)


@pytest.fixture
def copy(corpus, tmp_path) -> Path:
    """The clips of `corpus` in another folder, without the data directories."""
    shutil.copytree(corpus["train"].parent / "clips", tmp_path / "copy/clips")
    return tmp_path / "copy"


def make_plan(utt_id: str = "m01_train_00001", text: str = "show red by h two soon") -> ClipPlan:
    return ClipPlan(utt_id, "m01", text, seed=0, size=48, variation=0.1)


def test_every_split_is_a_valid_data_directory_of_the_size_asked_for(corpus):
    assert list(corpus) == ["train", "dev", "test_seen", "test_unseen"]
    sizes = [len(validate_data_dir(directory)) for directory in corpus.values()]
    assert sizes == list(COUNTS.values())


def test_files_hold_what_the_lists_say(corpus):
    for utterance in read_data_dir(corpus["test_seen"]):
        samples, rate_hz = soundfile.read(utterance.wav, dtype="float32")
        frames = read_video(utterance.video)
        assert rate_hz == 16000 and samples.ndim == 1
        assert len(samples) == utterance.num_samples == 640 * len(frames)
        assert frames.shape == (utterance.num_frames, 48, 48)
        assert 0.1 < np.abs(samples).max() < 1
        assert 1.5 < len(frames) / 25 < 3.5


def test_words_are_spoken_between_their_times(corpus):
    for utterance in read_data_dir(corpus["test_seen"]):
        samples = soundfile.read(utterance.wav)[0]
        power = {}
        bounds = [0, utterance.word_times[0].start_s, utterance.word_times[-1].end_s, utterance.num_frames / 25]
        for name, start_s, end_s in zip(("before", "within", "after"), bounds, bounds[1:], strict=False):
            power[name] = np.mean(samples[round(start_s * 16000) : round(end_s * 16000)] ** 2)
        assert power["within"] > 100 * power["before"]
        assert power["within"] > 10 * power["after"]


def test_splits_share_no_sentence_and_unseen_speakers_are_unseen(corpus):
    texts, speakers = {}, {}
    for split, directory in corpus.items():
        utterances = read_data_dir(directory)
        texts[split] = {utterance.text for utterance in utterances}
        speakers[split] = {utterance.speaker for utterance in utterances}
        assert len(texts[split]) == len(utterances)
    assert len(set.union(*texts.values())) == sum(map(len, texts.values()))
    assert speakers["test_seen"] | speakers["dev"] <= speakers["train"]
    assert not speakers["test_unseen"] & speakers["train"]


def test_the_full_corpus_has_enough_speakers_and_every_word_in_training():
    plans = plan_clips(Config(0, 1200, 60, 150, 100, 48, 0.1, "npy", espeak="any"))
    assert len({plan.speaker for plan in plans["train"]}) >= 8
    assert len({plan.speaker for plan in plans["test_unseen"]}) >= 4
    spoken = {word for plan in plans["train"] for word in plan.text.split()}
    assert spoken == {word for words in SLOTS.values() for word in words}
    ids = [plan.utt_id for split in plans.values() for plan in split]
    assert len(set(ids)) == len(ids)


def test_utterance_ids_follow_from_split_and_number_alone():
    """Another seed says other sentences under the same names, so a name can tell nothing of its text."""
    one, other = (plan_clips(Config(seed, 40, 4, 4, 4, 48, 0.1, "npy", espeak="any")) for seed in (0, 1))
    assert [p.utt_id for p in one["train"]] == [p.utt_id for p in other["train"]]
    assert not {p.text for p in one["train"]} & {p.text for p in other["train"]}


def test_a_clips_randomness_comes_from_its_id_and_not_from_its_text(monkeypatch):
    """Same id: same pauses, head, light and noise, whatever is said."""
    plans = [make_plan(), make_plan(text="fetch amber over z nine please"), make_plan("m01_train_00002")]
    spoken = [speak_clip(plan) for plan in plans]
    assert spoken[0].lead_s == spoken[1].lead_s != spoken[2].lead_s
    # frames differ with what is said, so let every mouth rest: what remains is head, light, skin and noise
    monkeypatch.setattr(mini_av_clip, "mouth_shapes", lambda spans, num_frames, gain, offsets: np.zeros((3, 6)))
    same, also, other = (draw_clip(plan, clip) for plan, clip in zip(plans, spoken, strict=True))
    np.testing.assert_array_equal(same, also)
    assert not np.array_equal(same, other)


def test_two_jobs_make_the_same_corpus_as_one(corpus, tmp_path):
    again = prepare(tmp_path, nj=2, progress=False, **COUNTS)
    assert corpus_hash(again) == corpus_hash(corpus)


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="looks at /proc for processes left behind")
def test_killed_it_leaves_no_process_behind(tmp_path):
    command = [sys.executable, "-m", "espnet_vivit.bin.avsr_mini_av", "--out", str(tmp_path / "data"), "--nj", "2"]
    environment = dict(os.environ, TEST_MARK=str(tmp_path))
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("data/clips/train/*.flac")):
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        assert len(processes_with(f"TEST_MARK={tmp_path}")) >= 3, "its workers are seen"
        running.kill()
    until = time.monotonic() + 30
    while left := processes_with(f"TEST_MARK={tmp_path}"):
        assert time.monotonic() < until, f"{len(left)} processes wait for a leader that is no more"
        time.sleep(0.1)


def test_a_clip_that_ends_its_process_is_an_error_that_names_it(corpus, tmp_path):
    plan = make_plan()
    with pytest.raises(MediaError, match=f"{plan.utt_id} was not made: the process that worked on it ended"):
        mini_av._refuse((plan, tmp_path, "npy"), CRASHED)


def test_a_stopped_run_is_finished_and_only_what_is_missing_is_made(corpus, copy):
    clips = sorted((copy / "clips/train").iterdir())
    lost, torn_wav, torn_video = clips[1], clips[2], clips[5]
    assert (lost.suffix, torn_wav.suffix, torn_video.suffix) == (".npy", ".flac", ".npy")
    lost.unlink()
    torn_wav.write_bytes(torn_wav.read_bytes()[:200])
    torn_video.write_bytes(torn_video.read_bytes()[:5000])
    kept = {path: path.stat().st_mtime_ns for path in clips if path not in (lost, torn_wav, torn_video)}
    again = prepare(copy, nj=1, progress=False, **COUNTS)
    assert corpus_hash(again) == corpus_hash(corpus)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_interruption_leaves_no_data_directory_behind(copy, monkeypatch):
    next((copy / "clips/dev").glob("*.npy")).unlink()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(mini_av, "draw_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(copy, nj=1, progress=False, **COUNTS)
    assert (copy / "train/text").exists() and not (copy / "dev").exists()


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"size": 64}, {"num_dev": 3}, {"video_format": "ffv1"}, {"variation": 0.3}]
)
def test_other_options_are_refused_where_clips_already_are(copy, change):
    (name, value) = next(iter(change.items()))
    with pytest.raises(ConfigError, match=rf"{name}=.*expected {name}={value}\b"):
        prepare(copy, nj=1, progress=False, **{**COUNTS, **change})


@pytest.mark.parametrize(
    "option",
    [
        {"size": 50},
        {"nj": 0},
        {"variation": -0.1},
        {"variation": 2},
        {"video_format": "mp4"},
        {"num_dev": 0},
        {"num_train": 10**6},
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, option):
    with pytest.raises(ConfigError):
        prepare(tmp_path / "new", progress=False, **{**COUNTS, **option})
    assert not (tmp_path / "new").exists()


def test_ffv1_holds_the_same_frames_as_npy_and_h264_nearly(corpus, tmp_path):
    plan = make_plan()
    frames = draw_clip(plan, speak_clip(plan))
    for video_format, allowed in (("ffv1", 0), ("h264", 3)):
        mini_av._make_clip((plan, tmp_path, video_format))
        path = tmp_path / f"{plan.utt_id}{mini_av.VIDEO_FORMATS[video_format]}"
        assert np.abs(read_video(path).astype(int) - frames).mean() <= allowed


def test_words_can_be_read_from_pixels_alone(corpus):
    """Learnable: the nearest of eight mean pictures of the adverbs beats guessing (one in eight) by far.

    Ten frames per word are compared; speakers are mixed, sentences unseen.
    """
    slot = list(SLOTS).index("adverb")

    def spans(split: str) -> list[tuple[str, np.ndarray]]:
        found = []
        for utterance in read_data_dir(corpus[split]):
            time = utterance.word_times[slot]
            video = read_video(utterance.video)[:, 8:40, 8:40].astype(float)
            video = (video - video.mean()) / video.std()
            places = np.linspace(time.start_s * 25, time.end_s * 25 - 1, 10).round().astype(int)
            found.append((time.word, video[places].reshape(10, 8, 4, 8, 4).mean((2, 4)).ravel()))
        return found

    train, test = spans("train"), spans("test_seen")
    means = {word: np.mean([x for w, x in train if w == word], axis=0) for word in {w for w, _ in train}}
    hits = [min(means, key=lambda word: np.linalg.norm(x - means[word])) == truth for truth, x in test]
    assert np.mean(hits) >= 0.6


def test_the_command_prepares_and_reports(tmp_path, capsys):
    counts = [f"--{name.replace('_', '-')}={min(value, 2)}" for name, value in COUNTS.items()]
    assert exit_status(main, ["--out", str(tmp_path / "data"), "--nj", "1", *counts]) == 0
    output = capsys.readouterr()
    assert "train: 2 clips" in output.out and "data hash" in output.out
    assert "mini_av" in output.err  # the progress bar
    assert exit_status(main, ["--out", str(tmp_path / "data"), "--nj", "1", "--seed", "9", *counts]) == 1
    assert "made with other options" in capsys.readouterr().err


def test_the_help_names_every_option_with_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        exit_status(main, ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Example: python -m espnet_vivit.bin.avsr_mini_av" in text
    for option in ("--seed", "--num-train", "--num-test-unseen", "--size", "--nj", "--video-format", "--media-dir"):
        assert option in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sede", "3"], "no option --sede: did you mean --seed?"),
        (["--video-format", "ffv2"], "Did you mean 'ffv1'?"),
    ],
)
def test_a_misspelt_option_of_the_command_is_corrected(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        exit_status(main, ["--out", "data", *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_without_espeak_the_command_says_in_one_sentence_how_to_get_it(tmp_path, monkeypatch, capsys):
    import ctypes.util

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MissingDependencyError):
        prepare(tmp_path / "a", progress=False, **COUNTS)
    assert exit_status(main, ["--out", str(tmp_path / "b")]) == 1
    message = capsys.readouterr().err
    assert "pip install espeakng-loader" in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
