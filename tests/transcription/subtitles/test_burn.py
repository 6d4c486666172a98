"""Burnt subtitles: seen at their times and places, the rest of picture and sound as it was."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.files.source import read_speech
from espnet_vivit.transcription.subtitles.burn import burn_subtitles, draw_text
from espnet_vivit.transcription.subtitles.burnt_sound import EncodedSound
from espnet_vivit.transcription.subtitles.fonts import choose_font
from espnet_vivit.transcription.subtitles.formats import Cue
from tests.media.videos import numbered, set_display_matrix, write_video

WIDTH, HEIGHT, RATE_HZ, SECONDS = 320, 240, 25, 2
CUES = [Cue(0.4, 1.0, "place blue at", ()), Cue(1.2, 1.6, "f two\nnow", ())]


def write_clip(path, *, size=(WIDTH, HEIGHT), rotation=0, audio="aac", irregular=False):
    """A slow gray gradient with color, and a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", RATE_HZ, options={"crf": "5"})
        video.width, video.height, video.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream(audio, 16000) if audio else None
        for index in range(RATE_HZ * SECONDS):
            picture = np.zeros((size[1] // 2 * 2, size[0] // 2 * 2, 3), np.uint8)
            picture[..., 0] = np.linspace(60, 160, picture.shape[1], dtype=np.uint8)
            picture[..., 1], picture[..., 2] = 90 + index, 120
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index * 40 + (7 if irregular and index % 2 else 0), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            tone = (8000 * np.sin(np.arange(16000 * SECONDS) / 20)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16000, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path


def read_clip(path):
    """(times, luma planes (T, H, W), RGB (T, H, W, 3), samples)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        samples = [frame.to_ndarray() for frame in container.decode(audio=0)] if container.streams.audio else []
    luma = np.stack([frame.to_ndarray(format="yuv420p")[: frame.height] for frame in frames]).astype(int)
    rgb = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(int)
    return [frame.time for frame in frames], luma, rgb, np.concatenate(samples, axis=1) if samples else None


@pytest.fixture(scope="module")
def burnt(tmp_path_factory):
    """What the clip and its burnt copy hold."""
    folder = tmp_path_factory.mktemp("burn")
    clip = write_clip(folder / "clip.mp4")
    burn_subtitles(clip, CUES, folder / "burnt.mp4")
    return read_clip(clip), read_clip(folder / "burnt.mp4")


def test_letters_are_there_while_their_subtitle_lasts_and_only_then(burnt):
    (times, luma, _, _), (burnt_times, burnt_luma, _, _) = burnt
    assert burnt_times == times
    changed = np.abs(burnt_luma - luma)[:, HEIGHT // 2 :].max(axis=(1, 2)) > 60
    expected = [any(cue.start_s <= time < cue.end_s for cue in CUES) for time in times]
    assert changed.tolist() == expected and any(expected) and not all(expected)


def test_letters_are_white_with_a_dark_edge_at_the_bottom(burnt):
    _, (times, luma, _, _) = burnt
    spoken = luma[times.index(0.6)]
    assert spoken[HEIGHT * 3 // 4 :].max() > 225 and spoken[HEIGHT * 3 // 4 :].min() < 30
    assert spoken[: HEIGHT * 3 // 4].max() < 200 and spoken[-5:].max() < 200


def test_what_no_letter_covers_keeps_its_colors(burnt):
    (_, _, rgb, _), (_, _, burnt_rgb, _) = burnt
    difference = np.abs(burnt_rgb - rgb)[:, : HEIGHT // 2]
    assert difference.mean() < 1.5 and difference.max() < 16  # encoding it again


def test_sound_is_copied(burnt):
    (_, _, _, sound), (_, _, _, burnt_sound) = burnt
    np.testing.assert_array_equal(burnt_sound, sound)


@pytest.mark.parametrize(
    ("suffix", "clip"),
    [
        (".mp4", {"audio": "mp2", "irregular": True}),  # sound that has to be encoded again; uneven times
        (".mkv", {"audio": "mp2", "size": (162, 120)}),
        (".mp4", {"audio": None}),
    ],
)
def test_other_files_keep_their_clock_and_sound(tmp_path, suffix, clip):
    path = write_clip(tmp_path / "clip.mkv", **clip)
    burn_subtitles(path, CUES, tmp_path / f"burnt{suffix}")
    times, luma, _, sound = read_clip(path)
    burnt_times, burnt_luma, _, burnt_sound = read_clip(tmp_path / f"burnt{suffix}")
    np.testing.assert_allclose(burnt_times, times, atol=0.0011)
    assert burnt_luma.shape == luma.shape
    if sound is None:
        assert burnt_sound is None
    else:
        assert abs(burnt_sound.shape[1] - sound.shape[1]) <= 2048  # a codec's frame of padding at either end


def test_a_turned_phone_video_comes_out_upright(tmp_path):
    """The track header's matrix says that players shall turn the picture; FFmpeg's decoder does not."""
    path = write_clip(tmp_path / "clip.mp4", audio=None)
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(content[:matrix] + quarter + content[matrix + 36 :])
    burn_subtitles(path, CUES, tmp_path / "burnt.mp4")
    (times, luma, _, _), (_, burnt, _, _) = read_clip(path), read_clip(tmp_path / "burnt.mp4")
    assert burnt.shape == (len(times), WIDTH, HEIGHT) and luma.shape == (len(times), HEIGHT, WIDTH)
    upright = np.rot90(luma, -1, axes=(1, 2))  # a quarter clockwise, as the matrix says
    assert np.abs(burnt - upright)[:, : WIDTH // 2].mean() < 1.5
    assert burnt[times.index(0.6), WIDTH * 3 // 4 :].max() > 225


def test_the_times_of_subtitles_count_from_the_files_beginning(shared_dir, tmp_path):
    """GRID's MPEG-1 files begin later than 0."""
    path = sorted((shared_dir / "data/grid/original/s1").glob("*.mpg"))[0]
    burn_subtitles(path, [Cue(0.0, 0.2, "bin", ())], tmp_path / "burnt.mkv")
    (times, luma, _, _), (_, burnt_luma, _, _) = read_clip(path), read_clip(tmp_path / "burnt.mkv")
    changed = np.abs(burnt_luma - luma)[:, 200:].max(axis=(1, 2)) > 80
    assert changed.tolist() == [time - times[0] < 0.1999 for time in times]


def test_a_name_may_hold_a_colon(tmp_path, monkeypatch):
    """FFmpeg takes what stands before one for a protocol."""
    monkeypatch.chdir(tmp_path)
    write_clip("file:10:30 talk.mp4")
    burn_subtitles("10:30 talk.mp4", CUES, "10:30 burnt.mp4")
    assert len(read_clip("file:10:30 burnt.mp4")[0]) == RATE_HZ * SECONDS


def test_a_long_line_is_drawn_smaller_and_stays_inside():
    letters, opacity = draw_text(
        "a line of forty-two characters, as long as\nthe longest one that a subtitle may have",
        160,
        120,
        choose_font(["a"]),
    )
    assert letters.shape == opacity.shape == (120, 160)
    rows, columns = np.nonzero(opacity > 0.5)
    assert columns.min() > 0 and columns.max() < 159 and rows.min() > 60 and rows.max() < 118
    assert (letters <= opacity + 1e-6).all()


def test_what_cannot_be_burnt_is_said(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", audio=None)
    with pytest.raises(ConfigError, match=r"found out\.avi; expected \.mp4 or \.mkv"):
        burn_subtitles(clip, CUES, tmp_path / "out.avi")
    with pytest.raises(ConfigError, match="is the video itself"):
        burn_subtitles(clip, CUES, clip)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"cannot burn subtitles into .*text\.mp4"):
        burn_subtitles(tmp_path / "text.mp4", CUES, tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*out*"))


def flat(count):
    return [np.full((64, 96, 3), 90, np.uint8)] * count


def lettered(path):
    """(times, whether letters are seen) of the pictures."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").std() > 3) for frame in container.decode(video=0)]
    times, letters = zip(*frames, strict=True)
    return times, np.array(letters)


def test_pictures_without_times_follow_each_other(tmp_path):
    """A bare H.264 stream, as cameras write it."""
    clip = tmp_path / "raw.h264"
    write_video(clip, flat(50))
    burn_subtitles(clip, [Cue(0.39, 0.99, "bin", ())], tmp_path / "burnt.mp4")
    times, letters = lettered(tmp_path / "burnt.mp4")
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=1e-4)
    assert np.flatnonzero(letters).tolist() == list(range(10, 25))


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("out", ["burnt.mp4", "burnt.mkv"])  # encodes mp2 again; copies it
def test_joined_recordings_go_on_and_their_subtitles_with_them(tmp_path, suffix, out):
    """The second one is stereo at another rate."""
    parts = []
    for layout, rate_hz in (("mono", 48_000), ("stereo", 44_100)):
        sound = np.zeros((1 if layout == "mono" else 2, 2 * rate_hz), np.float32)
        sound[:, rate_hz : rate_hz + 600] = 0.5
        how = {"codec": {".mpg": "mpeg2video"}.get(suffix, "libx264"), "sound_codec": "mp2", "layout": layout}
        parts.append(write_video(tmp_path / f"{layout}{suffix}", flat(50), speech=sound, speech_rate_hz=rate_hz, **how))
    clip = tmp_path / f"both{suffix}"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    burn_subtitles(clip, [Cue(2.6, 3.2, "blue", ())], tmp_path / out)
    times, letters = lettered(tmp_path / out)
    counted = np.array(times) - times[0]
    np.testing.assert_allclose(counted, np.arange(100) / 25, atol=0.06)  # a gap, where the sound is longer
    assert counted[letters][0] == pytest.approx(2.6, abs=0.041) and 14 <= letters.sum() <= 16
    heard, expected = np.abs(read_speech(tmp_path / out)), np.abs(read_speech(clip))
    for first in (0, 32_000):
        assert heard[first:][:32_000].argmax() == pytest.approx(expected[first:][:32_000].argmax(), abs=0.06 * 16_000)


def test_sound_without_a_decoder_is_left_out_with_a_warning(tmp_path, caplog):
    clip = write_video(tmp_path / "odd.mkv", map(numbered, range(5)), speech=np.zeros(3200, np.float32))
    clip.write_bytes(clip.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    burn_subtitles(clip, CUES, tmp_path / "burnt.mp4")
    assert len(read_clip(tmp_path / "burnt.mp4")[0]) == 5 and "odd.mkv has sound, but in a codec" in caplog.text


def test_a_rate_that_aac_has_not_is_changed(tmp_path):
    clip = write_video(tmp_path / "clip.mkv", flat(25), speech=np.zeros(30_000, np.float32), speech_rate_hz=30_000)
    burn_subtitles(clip, [], tmp_path / "burnt.mp4")
    assert read_speech(tmp_path / "burnt.mp4").shape == pytest.approx((16_000,), abs=1200)


def test_a_mirrored_video_with_another_size_on_the_way_comes_out_as_it_is_shown(tmp_path):
    from espnet_vivit.media.files.source import open_source

    pictures = [np.zeros((64, 96, 3), np.uint8) for _ in range(25)]
    for picture in pictures:
        picture[:20, :30] = 220  # stored top left
    clip = write_video(tmp_path / "flipped.mp4", pictures, options={"crf": "8"})
    set_display_matrix(clip, 1, 0, 0, -1)
    burn_subtitles(clip, [Cue(5.0, 6.0, "later", ())], tmp_path / "burnt.mp4")
    shown = []
    for path in (clip, tmp_path / "burnt.mp4"):
        with open_source(path) as source:
            shown.append(next(source.frames()).astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 4 and shown[1][50:, :25].mean() > 180

    parts = []
    for name, size in (("a", (64, 96)), ("b", (128, 192))):
        flat_pictures = [np.full((*size, 3), 90, np.uint8)] * 50
        parts.append(write_video(tmp_path / f"{name}.ts", flat_pictures))
    call = tmp_path / "call.ts"
    call.write_bytes(b"".join(part.read_bytes() for part in parts))
    burn_subtitles(call, [Cue(2.5, 3.0, "bin", ())], tmp_path / "call.mp4")
    times, letters = lettered(tmp_path / "call.mp4")
    assert len(times) == 100 and 10 <= letters.sum() <= 14


def test_subtitles_of_a_late_video_stand_where_a_player_shows_them(tmp_path):
    """Sound from 0 s, the first picture at 1.48 s: a subtitle of 2 s in the file is on the picture of 2 s."""
    times_ms = [1480 + 40 * index for index in range(50)]
    clip = write_video(tmp_path / "late.mkv", flat(50), times_ms=times_ms, speech=np.zeros(48_000))
    burn_subtitles(clip, [Cue(2.0, 2.4, "bin", ())], tmp_path / "burnt.mkv")
    times, letters = lettered(tmp_path / "burnt.mkv")
    lit = [time for time, seen in zip(times, letters, strict=True) if seen]
    assert lit[0] == pytest.approx(2.0, abs=0.041) and len(lit) == 10


def test_in_pictures_of_the_full_range_letters_are_as_white_as_white_is(tmp_path):
    clip = write_video(
        tmp_path / "full.mkv",
        [np.full((240, 320, 3), 90, np.uint8)] * 25,
        pixel_format="yuvj420p",
        options={"crf": "5"},
    )
    burn_subtitles(clip, [Cue(0.0, 1.0, "MMM", ())], tmp_path / "burnt.mkv")
    with av.open(str(tmp_path / "burnt.mkv")) as container:
        frame = list(container.decode(video=0))[10]
    assert frame.color_range == 2  # full
    luma = frame.to_ndarray()[: frame.height]
    assert luma.max() > 245 and luma.min() < 8


def test_pixels_that_are_not_square_stay_so(tmp_path):
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    burn_subtitles(tmp_path / "wide.mkv", [], tmp_path / "burnt.mkv")
    with av.open(str(tmp_path / "burnt.mkv")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_no_sample_is_lost_where_the_sound_changes_its_kind(tmp_path, monkeypatch):
    """What a resampler still holds when another one takes over is encoded as well."""
    parts = []
    for layout, rate_hz in (("mono", 48_000), ("stereo", 44_100)):
        sound = np.zeros((1 if layout == "mono" else 2, 2 * rate_hz), np.float32)
        how = {"sound_codec": "mp2", "layout": layout, "speech_rate_hz": rate_hz}
        parts.append(write_video(tmp_path / f"{rate_hz}.ts", flat(50), speech=sound, **how).read_bytes())
    clip = tmp_path / "both.ts"
    clip.write_bytes(parts[0] + parts[1] + parts[0])
    heard, encoded = [], []
    encode = EncodedSound._encode

    def count(self, frames):
        frames = list(frames)
        encoded.extend(frame.samples / frame.sample_rate for frame in frames if frame is not None)
        encode(self, frames)

    monkeypatch.setattr(EncodedSound, "_encode", count)
    with av.open(str(clip)) as container:
        heard = [frame.samples / frame.sample_rate for frame in container.decode(audio=0)]
    burn_subtitles(clip, [], tmp_path / "burnt.mp4")
    assert sum(encoded) == pytest.approx(sum(heard), abs=1e-4)
