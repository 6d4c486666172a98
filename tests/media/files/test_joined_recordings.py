"""Recordings strung together as files: pictures and sound go on, stay together, and late spans are the right ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files import joined_recordings as one_clock
from espnet_vivit.media.files import timed_frames
from espnet_vivit.media.files.joined_recordings import packets_on_one_clock
from espnet_vivit.media.files.source import open_source, read_speech
from tests.media.videos import number_of, numbered, write_sound, write_video

RATE_HZ = 48_000
MPEG = {".ts": {"codec": "libx264", "sound_codec": "mp2"}, ".mpg": {"codec": "mpeg2video", "sound_codec": "mp2"}}


def numbers_of(path, **span) -> list[int]:
    with open_source(path) as opened:
        return [number_of(picture) for picture in opened.frames(**span)]


def hertz_of(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


def tone(seconds: float, hertz: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def join(path, parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.fixture(scope="module", params=MPEG)
def tape(request, tmp_path_factory):
    """Two recordings of 26 s: pictures 0..127 in turn and 300 Hz, then pictures 128..255 and 1000 Hz."""
    folder, kind = tmp_path_factory.mktemp("tape"), MPEG[request.param]
    parts = [
        write_video(
            folder / f"{base}{request.param}",
            (numbered(base + index % 128) for index in range(650)),
            speech=tone(26.0, hertz),
            speech_rate_hz=RATE_HZ,
            **kind,
        )
        for base, hertz in ((0, 300), (128, 1000))
    ]
    return join(folder / f"tape{request.param}", parts)


@pytest.mark.parametrize(("start_s", "hertz"), [(22.0, 300), (24.0, 300), (30.0, 1000), (48.0, 1000)])
def test_a_late_span_lies_in_the_recording_that_it_counts_to(tape, start_s, hertz):
    whole = numbers_of(tape)
    assert len(whole) in (1300, 1301)  # the sound of the first ends a moment after its pictures
    first = round(start_s * 25)
    assert numbers_of(tape, start_s=start_s, end_s=start_s + 1) == whole[first : first + 25]
    assert (whole[first] >= 128) == (hertz == 1000)
    heard = read_speech(tape, start_s=start_s, end_s=start_s + 1)
    assert len(heard) == 16_000 and hertz_of(heard) == hertz


def test_to_a_late_span_little_is_decoded(tape):
    """What lies before its key picture is read, but not decoded: minutes on a long tape."""
    with open_source(tape) as opened:
        assert len(list(opened.frames(start_s=48.0, end_s=49.0))) == 25
        assert opened.info.num_source_frames < 330  # x264 sets a key picture each 250


@pytest.mark.parametrize("suffix", MPEG)
@pytest.mark.parametrize("sound_s", [1.8, 2.2])
def test_sound_and_pictures_stay_together_over_many_joints(tmp_path, suffix, sound_s):
    """A white picture and a click 1 s into each copy, whose sound is shorter or longer than its pictures."""
    sound = np.zeros(round(sound_s * RATE_HZ), np.float32)
    sound[RATE_HZ : RATE_HZ + 480] = 0.9
    flash = [np.full((32, 48, 3), 235 if index == 25 else 16, np.uint8) for index in range(50)]
    clip = write_video(tmp_path / f"clip{suffix}", flash, speech=sound, speech_rate_hz=RATE_HZ, **MPEG[suffix])
    long = join(tmp_path / f"long{suffix}", [clip] * 6)
    with open_source(long) as opened:
        seen = [index / 25 for index, picture in enumerate(opened.frames()) if picture.mean() > 128]
    speech = np.abs(read_speech(long))
    heard = [int(speech[round(at * 16_000) :][:16_000].argmax()) / 16_000 + at for at in np.array(seen) - 0.5]
    assert len(seen) >= 6 and np.diff(seen)[np.diff(seen) > 0.5] == pytest.approx(max(2.0, sound_s), abs=0.081)
    # 50 ms is what a sound track may be off before it is put where its times say (sound_track.py), 40 ms a picture
    assert np.abs(np.array(heard) - seen).max() < 0.095


def packet(stream: int, ms: int, *, dts: int | None = -1, length: int = 40, size: int = 100):
    dts = ms if dts == -1 else dts
    owner = SimpleNamespace(index=stream)
    fields = {"pts": ms, "dts": dts, "duration": length, "size": size, "is_keyframe": True}
    return SimpleNamespace(stream=owner, **fields)


def times(packets, streams=(0, 1)):
    done = list(packets_on_one_clock(packets, dict.fromkeys(streams, 0.001)))
    return [[one.pts for one in done if one.stream.index == stream] for stream in streams]


def test_all_streams_are_moved_by_the_same():
    old = [packet(0, ms) for ms in range(0, 4000, 40)] + [packet(1, ms) for ms in range(0, 3600, 40)]
    new = [packet(1, 100), packet(0, 160), packet(1, 140), packet(0, 200)]
    pictures, sound = times([*old, *new])
    assert pictures[-2:] == [4060, 4100] and sound[-2:] == [4000, 4040]  # 100 becomes 4000, where the pictures ended


def test_a_stream_that_begins_anew_later_has_the_same_shift():
    """The pictures' new recording begins before the sound's old one has ended."""
    old = [packet(index, ms) for ms in range(0, 4000, 40) for index in (0, 1)]
    late = [packet(1, ms) for ms in range(4000, 4400, 40)]
    pictures, sound = times([*old, packet(0, 0), packet(0, 40), *late, packet(1, 0), packet(0, 80)])
    assert pictures[-3:] == [4400, 4440, 4480] and sound[-2:] == [4360, 4400]


def test_a_second_recording_without_sound_is_waited_for_so_long_and_no_longer(monkeypatch):
    monkeypatch.setattr(one_clock, "_HELD_BYTES", 1000)
    old = [packet(index, ms) for ms in range(0, 4000, 40) for index in (0, 1)]
    taken = []

    def counted():
        for one in [*old, *(packet(0, ms) for ms in range(0, 4000, 40))]:
            taken.append(one)
            yield one

    done = packets_on_one_clock(counted(), {0: 0.001, 1: 0.001})
    moved = [next(done) for _ in range(len(old) + 1)]
    assert moved[-1].pts == 4000 and len(taken) == len(old) + 11


def test_a_joint_whose_first_packet_still_has_the_old_clock_in_its_dts():
    """So FFmpeg's MPEG parser gives it out: pts of the new recording, dts of the old one."""
    old = [packet(0, ms) for ms in range(0, 4000, 40)]
    first = packet(0, 0, dts=4000)
    (pictures,) = times([*old, first, packet(0, 40)], streams=(0,))
    assert pictures[-2:] == [4000, 4040] and first.dts == 4000


def test_times_that_only_rise_are_left_alone():
    ms = [0, 120, 40, 80, 5000, 4900, 90_000]  # pictures in the order of decoding
    decoded = [0, 10, 20, 30, 40, 4950, 4990]
    packets = [packet(0, shown, dts=dts) for shown, dts in zip(ms, decoded, strict=True)]
    assert times(packets, streams=(0,)) == [ms]


def test_sound_that_changes_its_kind_on_the_way(tmp_path):
    """Mono at 48 kHz, then stereo at 44.1 kHz."""
    parts = [
        write_video(
            tmp_path / f"{layout}.ts",
            map(numbered, range(50)),
            speech=np.tile(tone(2.0, hertz, rate_hz), (channels, 1)),
            speech_rate_hz=rate_hz,
            layout=layout,
            sound_codec="mp2",
        )
        for layout, channels, rate_hz, hertz in (("mono", 1, 48_000, 300), ("stereo", 2, 44_100, 1000))
    ]
    speech = read_speech(join(tmp_path / "both.ts", parts))
    assert len(speech) == pytest.approx(4 * 16_000, abs=2000)
    assert hertz_of(speech[8_000:24_000]) == 300 and hertz_of(speech[40_000:56_000]) == 1000


def test_a_late_span_of_a_file_without_pictures(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 30).astype(np.float32)
    for name in ("long.wav", "long.mkv"):
        path = write_sound(tmp_path / name, noise, rate_hz=16_000)
        late = read_speech(path, start_s=25.0, end_s=26.0)
        np.testing.assert_allclose(late, noise[25 * 16_000 : 26 * 16_000], atol=1e-4)


def without_decoder(path, codec: bytes, other: bytes):
    content = path.read_bytes()
    assert content.count(codec) == 1 and len(codec) == len(other)
    path.write_bytes(content.replace(codec, other))
    return path


def test_sound_without_a_decoder_is_no_sound_and_is_warned_of_where_it_is_asked_for(tmp_path, caplog):
    path = write_video(tmp_path / "odd.mkv", map(numbered, range(5)), speech=tone(0.2, 300, 16_000))
    without_decoder(path, b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT")
    with open_source(path) as opened:
        assert opened.info.audio_codec is None and opened.info.audio_rate_hz is None
        assert len(list(opened.frames())) == 5
    assert not caplog.records
    assert read_speech(path) is None
    assert "odd.mkv has sound, but in a codec that FFmpeg has no decoder for" in caplog.text


def test_pictures_without_a_decoder_are_an_error(tmp_path):
    path = write_video(tmp_path / "odd.mkv", map(numbered, range(5)), speech=tone(0.2, 300, 16_000))
    without_decoder(path, b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ")
    with pytest.raises(MediaError, match=r"odd\.mkv has no video stream that can be decoded"), open_source(path):
        pass
    assert len(read_speech(path)) == 3200


def test_where_the_clock_cannot_begin_anew_the_index_is_used(tmp_path, monkeypatch):
    """Hours of a film need not be read for its last minute."""
    walked, walk = [], timed_frames._from_key_frame
    monkeypatch.setattr(
        timed_frames, "_from_key_frame", lambda *given, **how: walked.append(given) or walk(*given, **how)
    )
    for suffix in (".mp4", ".ts"):
        path = write_video(tmp_path / f"film{suffix}", (numbered(index % 256) for index in range(800)))
        assert numbers_of(path, start_s=30.0, end_s=30.4) == list(range(750 - 512, 760 - 512))
        assert bool(walked) == (suffix == ".ts")
