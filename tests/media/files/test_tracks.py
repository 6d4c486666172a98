"""Which tracks are read: those that players take, unless that one is silent or a still; or those that are named."""

from types import SimpleNamespace

import av
import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.files.source import open_source, read_speech
from tests.media.videos import numbered, write_tracks, write_video

SILENCE = np.zeros(32_000, np.float32)


def tone(hertz: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(32_000) / 16_000)).astype(np.float32)


def heard_hertz(path, **options) -> float:
    speech = read_speech(path, **options)
    if np.abs(speech).max() < 1e-3:
        return 0.0
    return float(np.abs(np.fft.rfft(speech)).argmax()) * 16_000 / len(speech)


@pytest.mark.parametrize(
    ("sounds", "default", "hertz"),
    [
        ([tone(300), tone(500)], None, 300),  # the first
        ([tone(300), tone(500)], 1, 500),  # the one with the flag
        ([SILENCE, tone(500)], None, 500),  # not the silent one ...
        ([SILENCE, tone(500)], 0, 500),  # ... though it has the flag
        ([SILENCE, tone(500), tone(700)], 2, 700),
        ([tone(300, 3e-4), tone(500)], 0, 500),  # hum counts as silence beside speech
        ([SILENCE, SILENCE], None, 0),
        ([tone(300, 0.01), tone(500)], 0, 300),  # faint, but it may be the speech
    ],
)
def test_the_sound_that_a_player_takes_unless_it_is_silent(tmp_path, sounds, default, hertz):
    path = write_tracks(tmp_path / "tracks.mkv", sounds, default=default)
    assert heard_hertz(path) == pytest.approx(hertz, abs=2)


def test_another_track_than_players_take_is_remarked_on(tmp_path):
    pictures = [numbered(index) for index in range(50)]
    path = write_tracks(tmp_path / "obs.mkv", [SILENCE, tone(500)], default=0, pictures=pictures)
    with open_source(path) as source:
        assert [remark for remark in source.info.remarks if "track 2 is read" in remark]
    usual = write_tracks(tmp_path / "usual.mkv", [tone(300), tone(500)], default=0, pictures=pictures)
    with open_source(usual) as source:
        assert not source.info.remarks


def test_a_track_that_is_named_is_read_though_it_is_silent(tmp_path):
    from espnet_vivit.media.files.tracks import Tracks

    path = write_tracks(tmp_path / "tracks.mkv", [SILENCE, tone(500), tone(700)], default=1)
    for number, hertz in ((1, 0), (2, 500), (3, 700)):
        assert heard_hertz(path, tracks=Tracks(audio=number)) == pytest.approx(hertz, abs=2)
    with pytest.raises(MediaError, match=r"has no audio track 4: found 1: flac; 2: flac, .*default; 3: flac"):
        read_speech(path, tracks=Tracks(audio=4))
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ConfigError, match="audio_track"):
            Tracks(audio=wrong)


def test_moving_pictures_go_before_a_still_that_is_not_marked_as_one(tmp_path):
    cover, pictures = np.full((64, 64, 3), 200, np.uint8), [numbered(index) for index in range(20)]
    path = write_tracks(tmp_path / "cover.mkv", [], pictures=pictures, cover=cover)
    with open_source(path) as source:
        shown = list(source.frames())
    assert len(shown) == 20 and shown[0].shape == (32, 48, 3)


def test_a_video_track_that_is_named_is_read(tmp_path):
    from espnet_vivit.media.files.tracks import Tracks

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams, 1):
            stream.height = stream.width = 32 * number
            stream.pix_fmt = "gray"
        for _ in range(5):
            for stream in streams:
                picture = np.zeros((stream.height, stream.width), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        for stream in streams:
            container.mux(stream.encode(None))
    for tracks, height in ((Tracks(), 32), (Tracks(video=1), 32), (Tracks(video=2), 64)):
        with open_source(path, tracks=tracks) as source:
            assert source.info.height == height and next(source.frames()).shape[0] == height


def test_one_track_is_decoded_no_earlier_than_it_is_read(tmp_path, monkeypatch):
    """To choose among tracks they are listened to; a usual file costs nothing more."""
    from espnet_vivit.media.files import tracks

    monkeypatch.setattr(tracks, "_peaks", lambda *_: pytest.fail("listened"))
    monkeypatch.setattr(tracks, "_moving", lambda *_: pytest.fail("looked"))
    path = write_video(tmp_path / "usual.mkv", map(numbered, range(50)), speech=tone(300))
    assert heard_hertz(path) == pytest.approx(300, abs=2)


def test_field_case_silent_first_track(shared_dir):
    speech = read_speech(shared_dir / "cases/field/silent_first_track/silent_first_track.mkv")
    assert np.abs(speech).max() > 0.1


def test_a_stream_that_appears_on_the_way_is_passed_over(tmp_path):
    """As in FLV and transport streams: PyAV 18 knows of no such stream, and stopped there with an IndexError."""
    from espnet_vivit.media.files.tracks import packets_of

    class Container:
        """Reads on where it stopped, as FFmpeg's own context does."""

        left = [SimpleNamespace(size=size) if size is not None else None for size in (5, 6, None, 7, 0, None, 8)]

        def demux(self, streams):
            assert streams == ["video"]
            while self.left:
                packet = self.left.pop(0)
                if packet is None:
                    raise IndexError("list index out of range")
                yield packet

    assert [packet.size for packet in packets_of(Container(), ["video"])] == [5, 6, 7, 0]  # the last ends the stream
