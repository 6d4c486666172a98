"""Sound alone, streamed: whole, on the file's clock, and in bounded memory."""

import tracemalloc

import av
import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.faces import face_stream
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.files import frame_clock
from espnet_vivit.transcription import reading
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.transcription.reading import (
    EARLY_SOUND,
    LATE_SOUND,
    PAUSE,
    Gap,
    is_silent,
    read_mouth_stretches,
    read_sound_stretches,
)
from tests.media.videos import write_video
from tests.recordings import write_recording


def tone(seconds, rate_hz=16000):
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.9, 20.0, 47.31])
def test_the_stretches_are_the_recording(tmp_path, seconds):
    samples, spent = tone(seconds), {}
    stretches = list(read_sound_stretches(write_recording(tmp_path / "a.mkv", None, samples), seconds=spent))
    assert [stretch.first for stretch in stretches] == [500 * index for index in range(len(stretches))]
    read = np.concatenate([stretch.speech for stretch in stretches])
    assert len(read) == -(-len(samples) // 640) * 640 and all(len(s) * 640 == len(s.speech) for s in stretches)
    np.testing.assert_allclose(read[: len(samples)], samples, atol=1e-4)
    assert not read[len(samples) :].any() and spent["audio"] > 0


def test_other_rates_and_channels_are_brought_to_ours(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", 44100, layout="stereo")
        pair = np.repeat((tone(2.0, 44100) * 32767).astype(np.int16), 2)[None]
        frame = av.AudioFrame.from_ndarray(pair, format="s16", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (stretch,) = read_sound_stretches(tmp_path / "a.wav", seconds={})
    inside = slice(400, 30000)
    assert np.corrcoef(stretch.speech[inside], tone(2.0)[inside])[0, 1] > 0.999
    assert abs(len(stretch) - 50) <= 1


def test_a_track_that_begins_later_begins_later(tmp_path):
    with av.open(str(tmp_path / "late.mkv"), "w") as container:
        video, sound = container.add_stream("ffv1", 25), container.add_stream("flac", 16000)
        video.width = video.height = 32
        video.pix_fmt, sound.layout = "gray", "mono"
        for _ in range(50):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), format="gray")))
        frame = av.AudioFrame.from_ndarray((tone(1.0) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 8000
        container.mux(sound.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    (stretch,) = read_sound_stretches(tmp_path / "late.mkv", seconds={})
    begins = int(np.abs(stretch.speech).argmax() > 0) and int(np.flatnonzero(np.abs(stretch.speech) > 1e-3)[0])
    assert abs(begins - 8000) < 100


def pictures(frames):
    return np.random.default_rng(3).integers(0, 256, (frames, 96, 96), dtype=np.uint8)


@pytest.mark.parametrize(("heard_s", "late_frames"), [(4.0, 50), (2.9, 0), (2.0, 0)])
def test_sound_that_goes_on_after_the_pictures_is_read_too(tmp_path, heard_s, late_frames):
    path = write_recording(tmp_path / "a.mkv", pictures(50), tone(heard_s))
    seen, *late = read_mouth_stretches(path, with_sound=True, seconds={}, detector="centre")
    assert len(seen) == 50 and len(seen.speech) == 50 * 640 and not seen.note
    assert [(part.first, len(part), part.clip, part.note) for part in late] == (
        [(50, late_frames, None, LATE_SOUND)] if late_frames else []
    )
    if late:
        np.testing.assert_allclose(late[0].speech[:32000], tone(heard_s)[32000:64000], atol=1e-3)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "STRETCH_S", 2.0)

    def peak(seconds):
        path = write_recording(tmp_path / f"{seconds}.mkv", None, tone(seconds))
        tracemalloc.start()
        frames = sum(len(stretch) for stretch in read_sound_stretches(path, seconds={}))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert frames == seconds * 25
        return found

    peak(4)
    assert peak(120) < 1.3 * peak(6)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(MediaError, match="no sound"):
        list(read_sound_stretches(write_recording(tmp_path / "v.mkv", np.zeros((5, 32, 32), np.uint8)), seconds={}))
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(MediaError, match="cannot decode"):
        list(read_sound_stretches(tmp_path / "text.wav", seconds={}))
    assert is_silent(np.zeros(10)) and is_silent(np.zeros(0)) and not is_silent(tone(0.1))


def write_late(path, lead_s, seen_s=2.0, heard_s=None, *, gap_s=0.0):
    """Sound from 0 s, mouth pictures from `lead_s` on, with a pause of `gap_s` in their middle."""
    frames = pictures(round(seen_s * 25))
    times_ms = [
        round(1000 * (lead_s + index / 25 + (gap_s if index >= len(frames) / 2 else 0))) for index in range(len(frames))
    ]
    return write_video(
        path, np.repeat(frames[..., None], 3, axis=3), times_ms=times_ms, codec="ffv1", pixel_format="yuv420p",
        speech=tone(lead_s + seen_s + gap_s if heard_s is None else heard_s),
    )  # fmt: skip


@pytest.mark.parametrize(("lead_s", "early_frames"), [(1.6, 40), (0.08, 0), (0.0, 0)])
def test_sound_that_comes_before_the_pictures_is_read_too(tmp_path, lead_s, early_frames):
    path, remarks = write_late(tmp_path / "late.mkv", lead_s), {}
    parts = list(read_mouth_stretches(path, with_sound=True, seconds={}, remarks=remarks, detector="centre"))
    *early, seen = parts
    assert [(part.first, len(part), part.clip, part.note) for part in early] == (
        [(0, early_frames, None, EARLY_SOUND)] if early_frames else []
    )
    assert (seen.first, len(seen)) == (round(lead_s * 25), 50)
    heard = np.concatenate([part.speech for part in parts])
    begin = 0 if early else round(lead_s * 16_000)
    np.testing.assert_allclose(heard, tone(lead_s + 2.0)[begin : begin + len(heard)], atol=2e-3)
    assert any("first picture" in remark for remark in remarks) == bool(early_frames)


def test_silence_before_the_pictures_is_no_piece(tmp_path):
    path = write_late(tmp_path / "late.mkv", 1.6, heard_s=0.0)
    parts = list(read_mouth_stretches(path, with_sound=True, seconds={}, detector="centre"))
    assert all(part.clip is not None for part in parts)


@pytest.mark.parametrize("with_sound", [True, False])
def test_a_long_pause_of_the_pictures_costs_no_sound_and_no_later_picture(tmp_path, with_sound, monkeypatch):
    monkeypatch.setattr(frame_clock, "MAX_HOLD_S", 30.0)
    path = write_late(tmp_path / "paused.mkv", 0.0, gap_s=45.0)
    parts = list(read_mouth_stretches(path, with_sound=with_sound, seconds={}, detector="centre"))
    seen = [(part.first, len(part)) for part in parts if isinstance(part, Stretch) and part.clip is not None]
    assert seen == [(0, 25), (1150, 25)]
    if with_sound:
        heard = np.concatenate([part.speech for part in parts])
        np.testing.assert_allclose(heard[: 47 * 16_000], tone(47.0)[: len(heard)], atol=2e-3)
        assert [part.note for part in parts if part.clip is None] == [PAUSE] * 3
    else:
        assert [(part.start_s, part.end_s) for part in parts if isinstance(part, Gap)] == [(1.0, 46.0)]


def test_a_picture_that_stands_still_is_looked_at_once(tmp_path, monkeypatch):
    """Half a minute without a new picture is no half a minute of looking for faces."""
    looked = []

    class Watched:
        name = "haar"

        def detect(self, picture):
            looked.append(picture)
            return [Face(np.array([[40, 40], [60, 40], [50, 55], [50, 65]], np.float32))]

        def reset(self): ...

        def close(self): ...

    monkeypatch.setattr(face_stream, "choose_detector", lambda name: name)
    monkeypatch.setattr(face_stream, "open_detector", lambda name: Watched())
    path = write_late(tmp_path / "still.mkv", 0.0, gap_s=30.0)
    parts = list(read_mouth_stretches(path, with_sound=True, seconds={}, detector="haar"))
    assert sum(len(part) for part in parts) == 32 * 25 and len(looked) == 50
