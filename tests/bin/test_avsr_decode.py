"""Planning, sharing out and joining a decoding; a stand-in for the recognizer writes what it was asked."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_vivit.bin.avsr_decode import decode_part, join_parts, main, plan_jobs, read_jobs
from espnet_vivit.data.data_dir import Utterance, read_scp, write_data_dir
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.decode_timing import TIMING, read_timing, write_timing

UTTERANCES = [f"s1_{number}" for number in range(5)]


@pytest.fixture
def sets(tmp_path) -> dict[str, Path]:
    (tmp_path / "clips").mkdir()
    clips = []
    for number, utt_id in enumerate(UTTERANCES):
        frames = 10 + number
        np.save(tmp_path / f"clips/{utt_id}.npy", np.full((frames, 8, 8), 50 + number, np.uint8))
        soundfile.write(tmp_path / f"clips/{utt_id}.wav", np.zeros(640 * frames), 16000)
        wav, video = (str(tmp_path / f"clips/{utt_id}{suffix}") for suffix in (".wav", ".npy"))
        clips.append(Utterance(utt_id, "s1", f"word{number}", wav, video, frames, 640 * frames))
    names = ("test", "test_babble_0db")
    for name in names:
        write_data_dir(tmp_path / name, clips)
    return {name: tmp_path / name for name in names}


def fake_decode(arguments, files=("text", "token", "token_int", "score")):
    """Writes what ESPnet's inference writes: for each key of --key_file a line in 1best_recog/*."""
    assert "--data_path_and_name_and_type" in arguments
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    folder = Path(options["--output_dir"]) / "1best_recog"
    folder.mkdir(parents=True)
    for file in files:
        lines = [f"{key} {file} of {key}\n" for key in read_scp(options["--key_file"])]
        (folder / file).write_text("".join(lines))


def test_every_modality_that_the_model_serves_and_controls_where_asked(sets, tmp_path):
    jobs = plan_jobs("multimodal", list(sets.values()), [sets["test"]], modalities=[])
    assert [job.name for job in jobs] == [
        "test_video",
        "test_audio",
        "test_multimodal",
        "test_video_zero",
        "test_video_shuffle",
        "test_babble_0db_audio",  # and no test_babble_0db_video: its videos are those of test
        "test_babble_0db_multimodal",
    ]
    assert jobs[2].options[1::2] == (f"{sets['test']}/wav.scp,speech,sound", f"{sets['test']}/video.scp,video,video")
    assert jobs[4].options[1::2] == (f"{sets['test']}/video.scp,video,video", "shuffle")


def test_a_lip_reader_is_decoded_from_video_alone(sets, tmp_path):
    jobs = plan_jobs("video", [sets["test"]], [], modalities=[])
    assert [job.name for job in jobs] == ["test_video"]
    with pytest.raises(ConfigError, match="modality for a video model"):
        plan_jobs("video", [sets["test"]], [], modalities=["audio"])


def test_the_times_of_all_shares_are_added_up_if_each_has_one(sets, tmp_path):
    jobs = plan_jobs("video", [sets["test"]], [], modalities=[])
    for part in (1, 2):
        decode_part(jobs, tmp_path / "out", [], part=part, parts=2, decode=fake_decode, report=print)
    logs = tmp_path / "out/test_video/logdir"
    write_timing(logs / "output.1" / TIMING, 1.5, 6.0)
    join_parts(jobs[0], tmp_path / "out")
    assert read_timing(tmp_path / "out/test_video" / TIMING) is None
    write_timing(logs / "output.2" / TIMING, 0.5, 4.0)
    join_parts(jobs[0], tmp_path / "out")
    timing = read_timing(tmp_path / "out/test_video" / TIMING)
    assert (timing.spent_s, timing.clip_s, timing.real_time_factor) == (2.0, 10.0, 0.2)


@pytest.mark.parametrize("parts", [1, 2, 7])  # more parts than utterances, too
def test_the_shares_together_are_the_whole_set_in_its_order(sets, tmp_path, parts):
    jobs = plan_jobs("multimodal", [sets["test"]], [], modalities=["video", "audio"])
    for part in range(1, parts + 1):
        decode_part(jobs, tmp_path / "decode", [], part=part, parts=parts, decode=fake_decode, report=print)
    for job in jobs:
        assert join_parts(job, tmp_path / "decode") == len(UTTERANCES)
        lines = (tmp_path / "decode" / job.name / "1best_recog/text").read_text().splitlines()
        assert lines == [f"{utt_id} text of {utt_id}" for utt_id in UTTERANCES]


def test_word_times_and_confidences_are_joined_where_they_were_asked_for(sets, tmp_path):
    def timed(arguments):
        fake_decode(arguments, files=("text", "token", "token_int", "score", "word_times", "confidence"))

    (job,) = plan_jobs("video", [sets["test"]], [], modalities=[])
    for part in (1, 2):
        decode_part([job], tmp_path / "decode", [], part=part, parts=2, decode=timed, report=print)
    join_parts(job, tmp_path / "decode")
    for file in ("word_times", "confidence"):
        lines = (tmp_path / "decode/test_video/1best_recog" / file).read_text().splitlines()
        assert lines == [f"{utt_id} {file} of {utt_id}" for utt_id in UTTERANCES]


def test_a_share_that_is_missing_is_an_error_and_no_result_appears(sets, tmp_path):
    (job,) = plan_jobs("video", [sets["test"]], [], modalities=[])
    decode_part([job], tmp_path / "decode", [], part=2, parts=2, decode=fake_decode, report=print)
    with pytest.raises(DataError, match="3 of 5 utterances have no text, as s1_0"):
        join_parts(job, tmp_path / "decode")
    assert not (tmp_path / "decode/test_video/1best_recog").exists()


def test_an_empty_hypothesis_is_kept(sets, tmp_path):
    def silent(arguments):
        fake_decode(arguments)
        for path in Path(arguments[1]).glob("*/text"):
            path.write_text("".join(f"{line.split()[0]} \n" for line in path.read_text().splitlines()))

    (job,) = plan_jobs("video", [sets["test"]], [], modalities=[])
    decode_part([job], tmp_path / "decode", [], part=1, parts=1, decode=silent, report=print)
    join_parts(job, tmp_path / "decode")
    assert (tmp_path / "decode/test_video/1best_recog/text").read_text().splitlines() == UTTERANCES


def test_planning_again_removes_results_of_another_model(sets, tmp_path):
    experiment, out = tmp_path / "an experiment", tmp_path / "an experiment/decode"
    experiment.mkdir()
    (experiment / "config.yaml").write_text("modality: video\n")
    model = experiment / "model.pth"

    def plan(set_name):
        arguments = ["--config", experiment / "config.yaml", "--model", model, "--out", out, "--sets", sets[set_name]]
        main(["plan", *map(str, arguments)])
        decode_part(read_jobs(out), out, [], part=1, parts=1, decode=fake_decode, report=print)
        for job in read_jobs(out):
            join_parts(job, out)

    with pytest.raises(ConfigError, match="no trained model"):
        plan("test")
    model.write_bytes(b"first")
    plan("test")
    plan("test_babble_0db")
    assert (out / "test_video/1best_recog/text").is_file()  # another set of the same model stays
    model.write_bytes(b"second")
    plan("test_babble_0db")
    assert not (out / "test_video").exists()
    assert (out / "test_babble_0db_video/1best_recog/text").is_file()
