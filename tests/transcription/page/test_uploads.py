"""What the page refuses before it reads a file, whatever the file's header says, and while it reads it."""

import av
import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.files.containers import stated_duration_s
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.transcription.page.uploads import check_read, check_upload
from espnet_vivit.transcription.reading import read_mouth_stretches
from tests.recordings import write_recording

BOUNDS = {"max_mb": 1, "max_s": 5.0}
TOO_LONG = "too long for this page: found {}; expected at most 5 s. espnet-vivit transcribe takes any length"


def write_live(path, seconds):
    """A WebM as browsers record it, a picture a second: the header does not know how long it will be."""
    with av.open(str(path), "w", format="webm", container_options={"live": "1"}) as container:
        video = container.add_stream("libvpx", rate=1)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        for _ in range(seconds):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode(None))
    assert stated_duration_s(path) is None
    return path


def write_stream(path, seconds):
    """A transport stream whose clock is at an hour when it begins, as broadcasts' are."""
    with av.open(str(path), "w", format="mpegts", container_options={"output_ts_offset": "3600"}) as container:
        sound = container.add_stream("mp2", 16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000 * seconds), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_a_recording_that_does_not_say_how_long_it_is_is_measured(tmp_path):
    check_upload(write_live(tmp_path / "short.webm", 4), **BOUNDS)
    with pytest.raises(ConfigError, match=TOO_LONG.format("more than 5 s")):
        check_upload(write_live(tmp_path / "long.webm", 7), **BOUNDS)


def test_bare_pictures_are_counted(tmp_path):
    for frames in (125, 175):
        np.save(tmp_path / f"{frames}.npy", np.zeros((frames, 8, 8), np.uint8))
    check_upload(tmp_path / "125.npy", **BOUNDS)
    with pytest.raises(ConfigError, match=TOO_LONG.format("7 s")):
        check_upload(tmp_path / "175.npy", **BOUNDS)


def test_joined_recordings_are_as_long_as_all_of_them(tmp_path):
    """The header tells of one, the clock begins anew with each."""
    one = write_stream(tmp_path / "one.ts", 4)
    check_upload(one, **BOUNDS)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() * 2)
    with pytest.raises(ConfigError, match=TOO_LONG.format("more than 5 s")):
        check_upload(joined, **BOUNDS)


def test_pictures_and_sound_of_the_same_length_pass_at_the_bound(tmp_path):
    path = write_recording(tmp_path / "a.mkv", np.zeros((125, 16, 16), np.uint8), np.zeros(5 * 16000))
    check_upload(path, **BOUNDS)


def test_what_is_not_there_or_no_media_is_our_error(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "broken.npy").write_text("no array")
    (tmp_path / "large.mp4").write_bytes(bytes(1_600_000))
    for name, what in [
        ("gone.mp4", "there is no file .*gone"),
        (".", "is a folder"),
        ("text.mp4", "cannot decode .*text"),
        ("broken.npy", "cannot read the clip"),
    ]:
        with pytest.raises(MediaError, match=what):
            check_upload(tmp_path / name, **BOUNDS)
    with pytest.raises(ConfigError, match="too large: found 2 MB; expected at most 1 MB"):
        check_upload(tmp_path / "large.mp4", **BOUNDS)


def test_what_has_nothing_to_see_or_hear_is_left_to_the_reader(tmp_path):
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:02,000\nno video either\n")
    check_upload(words, **BOUNDS)
    with pytest.raises(MediaError, match=r"words\.srt"):
        next(read_mouth_stretches(words, with_sound=False, seconds={}, detector="centre"))


def test_reading_stops_where_packets_did_not_say_their_times():
    sound = np.zeros(100 * 640, np.float32)
    for first in (0, 45, 50):
        check_read(Stretch(first, None, sound), max_s=5.0)
    with pytest.raises(ConfigError, match=TOO_LONG.format("more than 5 s")):
        check_read(Stretch(51, None, sound), max_s=5.0)
