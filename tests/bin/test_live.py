"""`espnet-vivit live` on replayed files: a model that knows three clips by heart, lines, JSON and subtitles."""

import json

import numpy as np
import pytest

from espnet_vivit.bin import cli
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import read_video
from tests.experiments import write_experiment
from tests.reader import LIVE_CONFIG, live_reader
from tests.recordings import write_recording


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """(experiment folder, a file of two of its sentences with pauses, their texts)."""
    experiment, clips = live_reader()
    frames, samples = [], []
    for clip in clips[:2]:
        pictures = read_video(clip.video)
        frames += [pictures, np.repeat(pictures[-1:], 20, axis=0)]
        samples += [read_wav(clip.wav), np.zeros(20 * 640, np.float32)]
    path = write_recording(
        tmp_path_factory.mktemp("live") / "talk.mkv", np.concatenate(frames), np.concatenate(samples)
    )
    return experiment, path, [clip.text for clip in clips[:2]]


def live(*arguments):
    return cli.main(["live", *map(str, arguments), "--as_fast", "--detector", "centre"])


@pytest.mark.parametrize("modality", ["auto", "multimodal"])
def test_a_line_for_each_sentence(reader, capsys, modality):
    experiment, path, texts = reader
    assert live("--model", experiment, "--source", path, "--modality", modality, "--chunk_ms", 320) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s  ")[1] for line in lines] == texts


def test_json_tells_what_runs_and_what_is_final(reader, capsys, tmp_path):
    experiment, path, texts = reader
    subtitles = tmp_path / "talk.srt"
    assert live("--model", experiment, "--source", path, "--json", "--chunk_ms", 160, "--srt", subtitles) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sentences = [line["sentence"] for line in found if "sentence" in line]
    assert [" ".join(word["text"] for word in sentence["words"]) for sentence in sentences] == texts
    assert all(word["start_s"] < word["end_s"] for sentence in sentences for word in sentence["words"])
    running = [line for line in found if "words" in line]
    assert len(running) > 8 and all(0 <= line["settled"] <= len(line["words"]) for line in running)
    written = subtitles.read_text()
    assert all(text in written.replace("\n", " ") for text in texts)


def test_a_face_is_asked_for_and_its_absence_is_said(reader, capsys):
    experiment, path, _ = reader
    assert cli.main(["live", "--model", str(experiment), "--source", str(path), "--as_fast", "--detector", "haar"]) == 0
    assert "unclear: no face" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nowhere.mp4"], "nowhere.mp4"),
        (["--source", "v4l2:/dev/there_is_none"], "cannot open the device"),
        (["--chunk_ms", "100"], "multiple of 40"),
    ],
)
def test_what_cannot_be_is_said(reader, capsys, options, message):
    experiment, path, _ = reader
    assert live("--model", experiment, *(options if "--source" in options else ["--source", path, *options])) == 1
    assert message in capsys.readouterr().err


def test_a_model_of_whole_clips_is_refused_by_name(reader, tmp_path, capsys):
    experiment = write_experiment(tmp_path / "whole")
    assert live("--model", experiment, "--source", reader[1]) == 1
    assert "cannot stream" in capsys.readouterr().err


def test_a_model_of_lips_does_not_read_sound_alone(tmp_path, capsys):
    import soundfile

    soundfile.write(tmp_path / "talk.wav", np.zeros(16_000), 16_000)
    experiment = write_experiment(tmp_path / "lips", **{**LIVE_CONFIG, "audio_encoder": ..., "audio_encoder_conf": ...})
    assert live("--model", experiment, "--source", tmp_path / "talk.wav") == 1
    assert "there is nothing to read as video: found audio" in capsys.readouterr().err
