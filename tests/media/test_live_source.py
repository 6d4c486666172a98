"""Where live pictures and sound come from: files at their own pace, and devices, of which FFmpeg makes some up."""

import time

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media import live_source
from espnet_vivit.media.files.source import open_source, read_speech
from espnet_vivit.media.live_source import WAITING_PICTURES, Picture, Sound, open_live
from tests.talking_files import write_talking

CAMERA = "lavfi:testsrc=size=64x48:rate=30:duration=1,realtime"
MICROPHONE = "lavfi:sine=frequency=440:sample_rate=44100:duration=1,arealtime"


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_file_gives_its_pictures_and_its_sound(tmp_path):
    path = write_talking(tmp_path / "clip.mkv")
    with open_live(str(path), as_fast=True) as source:
        assert source.streams == {"video", "audio"} and source.info.height == 96
        events = list(source.events())
    with open_source(path) as whole:
        expected = list(whole.frames())
    pictures, sounds = of_kind(events, Picture), of_kind(events, Sound)
    assert all((found.picture == other).all() for found, other in zip(pictures, expected, strict=True))
    assert [event.time_s for event in pictures] == pytest.approx(np.arange(len(expected)) / 25)
    heard = np.concatenate([event.samples for event in sounds])
    assert (heard == read_speech(path)[: len(heard)]).all() and len(heard) >= 640 * (len(expected) - 1)


def test_a_file_is_read_at_its_own_pace_unless_it_may_go_fast(tmp_path):
    path = write_talking(tmp_path / "clip.mkv", seconds=0.6)
    took_s = []
    for as_fast in (False, True):
        with open_live(str(path), as_fast=as_fast) as source:
            begun_s = time.monotonic()
            list(source.events())
            took_s.append(time.monotonic() - begun_s)
    assert took_s[0] >= 0.55 and took_s[1] < took_s[0]


def test_a_camera_and_a_microphone_run_side_by_side(monkeypatch):
    monkeypatch.setattr(live_source, "WAITING_PICTURES", 100)  # none is missed, however busy the machine
    with open_live(CAMERA, microphone=MICROPHONE) as source:
        assert source.streams == {"video", "audio"} and (source.info.height, source.info.width) == (48, 64)
        events = list(source.events())
    pictures, sounds = of_kind(events, Picture), of_kind(events, Sound)
    assert len(pictures) == 30 and pictures[0].picture.shape == (48, 64, 3)
    gaps_s = np.diff([event.time_s for event in pictures])
    assert gaps_s == pytest.approx(1 / 30, abs=1e-3), "times are the camera's, not those of arrival"
    assert sum(len(event.samples) for event in sounds) == pytest.approx(16_000, abs=100)
    assert max(np.abs(event.samples).max() for event in sounds) > 0.05


def test_a_reader_that_is_too_slow_misses_pictures_and_no_sound():
    fast = CAMERA.replace("rate=30", "rate=200").replace(",realtime", "")
    with open_live(fast, microphone=MICROPHONE.replace(",arealtime", "")) as source:
        events = []
        for event in source.events():
            if not events:
                time.sleep(1.0)
            events.append(event)
    assert len(of_kind(events, Picture)) <= WAITING_PICTURES + 2
    assert sum(len(event.samples) for event in of_kind(events, Sound)) == pytest.approx(16_000, abs=100)
    assert of_kind(events, Picture)[-1].time_s > 0.9, "the newest are kept"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4l2:/dev/there_is_none", "cannot open the device v4l2:/dev/there_is_none"),
        ("dshow:video=None", "cannot open the device"),
        ("nowhere.mp4", "nowhere.mp4"),
    ],
)
def test_what_is_not_there_is_named(name, message):
    with pytest.raises(MediaError, match=message), open_live(name):
        pass


def test_a_system_without_usual_names_asks_for_one(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(MediaError, match="dshow:video="), open_live("webcam"):
        pass
