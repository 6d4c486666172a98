"""Any video comes out upright, at 25 pictures per second, in time with its sound; or is refused with the reason."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.frame_clock import MAX_HOLD_S, PauseError, at_video_rate, tick_of
from espnet_vivit.media.files.source import open_source, read_speech
from tests.media.videos import number_of, numbered, turn_upright_by, write_sound, write_video

LOSSLESS = {"codec": "ffv1", "pixel_format": "bgr0"}


def frames_of(path, **span) -> list[np.ndarray]:
    with open_source(path) as source:
        return list(source.frames(**span))


def numbers_of(path, **span) -> list[int]:
    return [number_of(frame) for frame in frames_of(path, **span)]


def tone(seconds: float, rate_hz: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def shown_at_ticks(times_s: list[float], ticks: int) -> list[int]:
    """The rule said in another way: at each tick the last picture that has begun, or begins within half a tick."""
    shown = []
    for tick in range(ticks):
        begun = [i for i, time_s in enumerate(times_s) if time_s <= (tick + 0.5) / 25 + 1e-9]
        same = [i for i in begun if (tick - 0.5) / 25 + 1e-9 < times_s[i]]
        shown.append(min(same, key=lambda i: abs(times_s[i] - tick / 25)) if same else begun[-1])
    return shown


@pytest.mark.parametrize("rate", [15, 24, Fraction(30000, 1001), 25, 50, 60], ids=str)
def test_any_rate_comes_out_at_25_per_second_in_time(tmp_path, rate):
    count = int(rate * 2)
    path = write_video(tmp_path / "clip.mkv", (numbered(i) for i in range(count)), rate=rate, **LOSSLESS)
    numbers = numbers_of(path)
    assert len(numbers) == round(count / rate * 25)
    shown = np.array(numbers) / float(rate)
    assert np.abs(shown - np.arange(len(numbers)) / 25).max() <= max(0.021, 1 / float(rate) - 0.019)
    with open_source(path) as source:
        assert source.info.rate_hz == pytest.approx(float(rate), rel=0.01)


def test_25_per_second_returns_each_picture_once(tmp_path):
    path = write_video(tmp_path / "clip.mp4", (numbered(i) for i in range(30)))
    assert numbers_of(path) == list(range(30))


@pytest.mark.parametrize("seed", range(3))
def test_variable_rate_follows_the_timestamps(tmp_path, seed):
    gaps = np.random.default_rng(seed).choice([7, 17, 33, 40, 41, 120, 400], 40)
    times_ms = [0, *np.cumsum(gaps)[:-1].tolist()]
    path = write_video(tmp_path / "v.mkv", (numbered(i) for i in range(40)), times_ms=times_ms, **LOSSLESS)
    numbers = numbers_of(path)
    assert numbers == shown_at_ticks([ms / 1000 for ms in times_ms], len(numbers))
    assert abs(len(numbers) / 25 - times_ms[-1] / 1000) < 0.5


def test_times_that_do_not_begin_at_zero_or_are_negative_lose_no_picture(tmp_path):
    for name, shift in (("late", 7000), ("negative", -520)):
        times_ms = [shift + 40 * i for i in range(20)]
        path = write_video(tmp_path / f"{name}.mkv", map(numbered, range(20)), times_ms=times_ms, **LOSSLESS)
        assert numbers_of(path) == list(range(20)), name


def test_a_pause_is_named_with_its_span_and_a_still_picture_is_not():
    assert len(list(at_video_rate([(0.0, 0.04, 1), (30.0, 0.04, 2)]))) == 751
    shown = []
    with pytest.raises(PauseError, match=r"from 0\.04 to 601\.00 s") as paused:
        for picture in at_video_rate([(0.0, 0.04, 1), (MAX_HOLD_S + 1, 0.04, 2)]):
            shown.append(picture)
    assert shown == [1] and (paused.value.start_s, paused.value.end_s) == (0.04, 601.0)


def test_a_time_between_two_ticks_counts_to_the_earlier_and_sums_of_fractions_do_too():
    assert [tick_of((tick + 0.5) / 25) for tick in range(500)] == list(range(500))
    assert [tick_of(0.02 + sum([0.04] * tick)) for tick in range(500)] == list(range(500))


def test_a_last_picture_that_claims_to_stand_for_days_is_held_so_long_and_no_longer():
    assert len(list(at_video_rate([(0.0, 1e6, 1)]))) == MAX_HOLD_S * 25


@pytest.mark.parametrize("span", [(0.4, None), (0.4, 1.0), (0, 0.2)])
def test_a_span_is_the_same_pictures(tmp_path, span):
    path = write_video(tmp_path / "clip.mp4", map(numbered, range(40)))
    begin, end = round(span[0] * 25), 40 if span[1] is None else round(span[1] * 25)
    assert numbers_of(path, start_s=span[0], end_s=span[1]) == list(range(begin, end))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mpg", ".avi"])
def test_a_late_span_is_found_by_seeking_and_is_the_same_pictures(tmp_path, suffix):
    codec = {".mpg": "mpeg1video", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"long{suffix}", (numbered(i % 256) for i in range(900)), codec=codec)
    assert numbers_of(path, start_s=30.0, end_s=31.0) == [i % 256 for i in range(750, 775)]


@pytest.mark.parametrize(("degrees", "rotation"), [(0, 0), (90, 270), (180, 180), (270, 90)])
def test_rotation_flags_turn_the_picture_upright(tmp_path, degrees, rotation):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :16] = 255  # top left
    path = write_video(tmp_path / "phone.mp4", [picture] * 3)
    turn_upright_by(path, degrees)
    with open_source(path) as source:
        shown = next(iter(source.frames()))
        assert shown.shape[:2] == (source.info.height, source.info.width)
        assert source.info.rotation == rotation
    expected = np.rot90(picture, -degrees // 90)  # clockwise
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 6


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix"),
    [
        ("libx264", "yuv444p", ".mp4"),
        ("libx264", "yuv420p10le", ".mkv"),
        ("ffv1", "yuva420p", ".mkv"),
        ("png", "rgba", ".mov"),
        ("ffv1", "gray", ".mkv"),
        ("mpeg4", "yuv420p", ".avi"),
        ("mpeg2video", "yuv420p", ".mpg"),
        ("libvpx-vp9", "yuv420p", ".webm"),
    ],
)
def test_pixel_formats_and_containers(tmp_path, codec, pixel_format, suffix):
    pictures = [numbered(i, 64, 96) for i in range(6)]
    path = write_video(tmp_path / f"clip{suffix}", pictures, codec=codec, pixel_format=pixel_format)
    assert numbers_of(path) == list(range(6))


@pytest.mark.parametrize(("height", "width"), [(33, 49), (17, 31), (1, 8)])
def test_odd_sizes(tmp_path, height, width):
    pictures = [numbered(i, height, width) for i in range(4)]
    path = write_video(tmp_path / "odd.mkv", pictures, **LOSSLESS)
    np.testing.assert_array_equal(np.stack(frames_of(path)), np.stack(pictures))
    subsampled = write_video(tmp_path / "odd420.mkv", pictures, codec="ffv1")
    assert frames_of(subsampled)[0].shape == (height, width, 3)


def test_an_index_that_leads_too_far_is_not_followed(tmp_path):
    """A container whose seeking lands five seconds late: what was asked for is found by reading up to it."""

    class Late:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def seek(self, offset, *, stream):
            self.container.seek(offset + int(5 / stream.time_base), stream=stream)

    path = write_video(tmp_path / "long.mkv", (numbered(i % 256) for i in range(900)), options={"g": "25"})
    with open_source(path) as source:
        source._media.container = Late(source._media.container)
        shown = [number_of(frame) for frame in source.frames(start_s=28.0, end_s=29.0)]
    assert shown == [i % 256 for i in range(700, 725)]


def test_a_single_picture_is_a_clip(tmp_path):
    assert numbers_of(write_video(tmp_path / "one.mp4", [numbered(5)])) == [5]


@pytest.mark.parametrize(
    "name", ["a b.mkv", 'it\'s "quoted".mkv', "two\nlines.mkv", "http:x.mkv", "-i.mkv", "é%03d.mkv"]
)
def test_names_are_taken_as_they_are(tmp_path, name):
    path = write_video(tmp_path / name, map(numbered, range(3)), speech=tone(0.12), **LOSSLESS)
    assert numbers_of(path) == [0, 1, 2]
    assert len(read_speech(path)) == 1920


def test_unreadable_files_are_errors_that_name_them(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", (numbered(i) for i in range(50)))
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-600])  # its index, at the end, is gone
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is a text, whatever its name says.\n" * 50)
    write_sound(tmp_path / "sound.wav", tone(0.5), rate_hz=16000)
    (tmp_path / "folder.mp4").mkdir()
    for name in ("missing.mp4", "cut.mp4", "empty.mp4", "text.mp4", "sound.wav", "folder.mp4"):
        with pytest.raises(MediaError, match=name.replace(".", r"\.")):
            frames_of(tmp_path / name)
    with pytest.raises(MediaError, match="0 bytes"):
        frames_of(tmp_path / "empty.mp4")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_truncated_file_gives_its_pictures_and_then_says_that_it_breaks_off(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (50, 48, 64, 3), np.uint8)
    faststart = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = tmp_path / f"whole{suffix}"
    import av

    with av.open(str(whole), "w", options=faststart) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(frames_of(whole)) == 50
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    got = []
    with pytest.raises(MediaError, match="breaks off"), open_source(cut) as source:
        for frame in source.frames():
            got.append(frame)
    assert 5 < len(got) < 45
    assert len(frames_of(cut, end_s=0.2)) == 5


@contextmanager
def not_as_root():
    """Root may read everything; as nobody it may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_an_error():
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in folders that only its owner may enter
        os.chmod(folder, 0o755)
        path = write_video(Path(folder) / "secret.mp4", [numbered(1)])
        with not_as_root():
            assert len(frames_of(path)) == 1
        path.chmod(0)
        with not_as_root(), pytest.raises(MediaError, match=r"secret\.mp4 \(Permission denied\).*readable"):
            frames_of(path)


def test_a_npy_is_read_as_gray_pictures(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (5, 8, 9), np.uint8)
    np.save(tmp_path / "clip.npy", clip)
    frames = np.stack(frames_of(tmp_path / "clip.npy"))
    np.testing.assert_array_equal(frames, np.repeat(clip[..., None], 3, axis=3))


@pytest.mark.parametrize(("rate_hz", "layout"), [(8000, "mono"), (44100, "stereo"), (48000, "5.1")])
def test_sound_of_any_rate_comes_out_at_16_khz_mono(tmp_path, rate_hz, layout):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    path = write_sound(tmp_path / "a.wav", np.tile(tone(1.0, rate_hz), (channels, 1)), rate_hz=rate_hz, layout=layout)
    speech = read_speech(path)
    assert speech.dtype == np.float32 and abs(len(speech) - 16000) <= 1
    spectrum = np.abs(np.fft.rfft(speech[:16000] * np.hanning(len(speech[:16000]))))
    assert spectrum.argmax() == 440
    np.testing.assert_allclose(speech[2000:14000], tone(1.0)[2000:14000] * np.abs(speech).max() / 0.5, atol=0.02)


def test_a_file_without_sound_has_none_and_one_with_nothing_is_an_error(tmp_path):
    assert read_speech(write_video(tmp_path / "silent.mp4", map(numbered, range(3)))) is None
    (tmp_path / "text.mp4").write_text("no sound here\n" * 50)
    with pytest.raises(MediaError, match=r"text\.mp4"):
        read_speech(tmp_path / "text.mp4")


@pytest.mark.parametrize("shift_ms", [-1000, -200, 0, 360])
def test_sound_is_counted_from_the_files_beginning(tmp_path, shift_ms):
    """A click 0.5 s into a track that begins `shift_ms` after the pictures; the file begins with what comes first."""
    speech = np.zeros(24000, np.float32)
    speech[8000:8016] = 0.9
    begin_ms = 1000
    path = write_video(
        tmp_path / "av.mkv",
        map(numbered, range(25)),
        times_ms=[begin_ms + 40 * i for i in range(25)],
        speech=speech,
        speech_at_ms=begin_ms + shift_ms,
        **LOSSLESS,
    )
    heard = int(np.abs(read_speech(path)).argmax()) / 16
    assert heard == pytest.approx(500 + max(0, shift_ms), abs=2)
    with open_source(path) as source:
        assert source.lead_frames == max(0, -shift_ms // 40) and len(list(source.frames())) == 25


def test_a_span_of_sound_is_the_same_samples(tmp_path):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16000 * 40).astype(np.float32)
    path = write_video(tmp_path / "av.mkv", (numbered(0) for _ in range(1000)), speech=noise)
    whole = read_speech(path)
    np.testing.assert_allclose(whole[: len(noise)], noise[: len(whole)], atol=1e-4)
    for start_s, end_s in ((1.0, 1.5), (30.0, 31.0), (39.0, None)):
        end = None if end_s is None else round(end_s * 16000)
        np.testing.assert_array_equal(
            read_speech(path, start_s=start_s, end_s=end_s), whole[round(start_s * 16000) : end]
        )


def test_the_sound_of_grid_is_that_of_its_reference(shared_dir):
    from espnet_vivit.media.files.audio_file import read_wav

    grid = shared_dir / "data/grid"
    path = sorted((grid / "original").glob("s2/*.mpg"))[0]
    reference = read_wav(grid / "audio" / path.parent.name / f"{path.stem}.flac")
    speech = read_speech(path)
    assert abs(len(speech) - len(reference)) <= 1
    size = min(len(speech), len(reference))
    assert np.corrcoef(speech[:size], reference[:size])[0, 1] > 0.999


MEMORY = """
import resource, sys
from espnet_vivit.media.files.sound_track import SpeechReader
from espnet_vivit.media.files.source import open_source
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
from pathlib import Path
count, early = 0, 0
with open_source(Path(sys.argv[1])) as source:
    speech = SpeechReader(Path(sys.argv[1]), zero_s=source.zero_s)
    for frame in source.frames():
        count += 1
        speech.take(640)
        if count == 1500: early = peak()
print(count, early, peak())
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Ten hours at one picture per second, which are 900,000 pictures at 25 and 1.1 GB of samples."""
    hours = 10
    path = write_video(
        tmp_path / "day.mkv",
        (numbered(i % 256, 16, 16) for i in range(3600 * hours)),
        rate=1,
        options={"preset": "ultrafast"},
        speech=np.zeros((1, 100), np.float32),
    )
    out = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True).stdout
    count, early, late = map(int, out.split())
    assert count == 25 * 3600 * hours
    assert late - early < 30, f"{early} MiB after a minute, {late} MiB after {hours} hours"


def test_a_short_video_under_a_long_sound_track_does_not_break_off(tmp_path):
    """FFmpeg may give a Matroska stream the length of the whole file; the stream's own tag knows better."""
    path = write_video(tmp_path / "short.mkv", [numbered(index) for index in range(3)], speech=np.zeros(160_000))
    with open_source(path) as source:
        assert len(list(source.frames())) == 3
        assert source.info.duration_s == pytest.approx(0.12, abs=0.001)
