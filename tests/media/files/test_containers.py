"""What is opened: files and nothing else; where their time begins; names that do no harm."""

import os
import socket

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.containers import stated_duration_s, streams_of
from espnet_vivit.media.files.source import open_source, read_speech
from espnet_vivit.media.files.video_file import probe_video, read_video
from tests.media.videos import number_of, numbered, write_video


def open_pictures(path):
    with open_source(path) as source:
        return list(source.frames())


DOORS = [(door, ".mp4") for door in (open_pictures, read_speech, streams_of, read_video, probe_video, read_wav)]
DOORS += [(door, ".npy") for door in (open_pictures, read_video, probe_video)]
LOSSLESS = {"codec": "ffv1", "pixel_format": "yuv420p"}


def make_pipe(path):
    os.mkfifo(path)
    return path


def make_loop(path):
    path.symlink_to(path.name)
    return path


def make_round_trip(path):
    other = path.with_name("other")
    path.symlink_to(other.name)
    other.symlink_to(path.name)
    return path


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's whole path may be too long
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("door", "suffix"), DOORS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_pipe, "is a pipe: expected a file"),
        (make_loop, "symbolic link that leads to itself"),
        (make_round_trip, "symbolic link that leads to itself"),
        (make_socket, "is a socket"),
        (lambda path: path.symlink_to("/dev/zero") or path, "is a device"),
        (lambda path: path.mkdir() or path, "is a folder"),
        (lambda path: path, "there is no file"),
    ],
    ids=["pipe", "loop", "round trip", "socket", "device", "folder", "nothing"],
)
def test_what_is_not_a_file_is_refused_in_words_at_every_door(tmp_path, door, suffix, make, words):
    with pytest.raises(MediaError, match=words):
        door(make(tmp_path / f"talk{suffix}"))


def test_how_long_it_says_to_last_is_asked_without_an_error(tmp_path):
    assert stated_duration_s(make_pipe(tmp_path / "pipe.mp4")) is None
    assert stated_duration_s(tmp_path / "missing.mp4") is None


def click(at_s: float, seconds: float) -> np.ndarray:
    speech = np.zeros(round(seconds * 16_000), np.float32)
    speech[round(at_s * 16_000) :][:16] = 0.9
    return speech


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
@pytest.mark.parametrize("lead_ms", [0, 40, 1500])
def test_time_zero_is_a_players_for_pictures_and_sound(tmp_path, suffix, lead_ms):
    """Sound from 0 s with a click at 0.8 s; the first picture comes later, and is number 0 of a count."""
    how = LOSSLESS if suffix == ".mkv" else {"options": {"crf": "10", "bf": "0"}}
    times_ms = [lead_ms + 40 * index for index in range(25)]
    path = write_video(
        tmp_path / f"late{suffix}", map(numbered, range(25)), times_ms=times_ms,
        speech=click(0.8, 3), sound_codec="pcm_s16le" if suffix == ".mkv" else "aac", **how,
    )  # fmt: skip
    heard_s = np.abs(read_speech(path)).argmax() / 16_000
    with open_source(path) as source:
        lead_s = source.lead_frames / 25
        assert len(list(source.frames())) == 25
    assert lead_s == pytest.approx(lead_ms / 1000, abs=0.085)  # an encoder's delay may come before the sound
    assert heard_s - lead_s == pytest.approx(0.8 - lead_ms / 1000, abs=0.025)  # they stay together
    with open_source(path) as source:
        assert any("only sound lies before it" in remark for remark in source.info.remarks) == (lead_ms == 1500)


def test_a_span_is_that_of_a_player(tmp_path):
    times_ms = [1480 + 40 * index for index in range(50)]
    path = write_video(
        tmp_path / "late.mkv", map(numbered, range(50)), times_ms=times_ms, speech=click(2.0, 4), **LOSSLESS
    )
    with open_source(path) as source:
        assert [number_of(picture) for picture in source.frames(start_s=2.0, end_s=2.2)] == [13, 14, 15, 16, 17]
    assert np.abs(read_speech(path, start_s=1.9, end_s=2.1)).argmax() == pytest.approx(1600, abs=16)


def test_field_case_late_video(shared_dir):
    path = shared_dir / "cases/field/late_video/late_video.mkv"
    assert len(read_speech(path)) == pytest.approx(3 * 16_000, abs=1600)
    with open_source(path) as source:
        assert source.lead_frames == 39 and len(list(source.frames())) == 37
