"""A file that is shorter than its header says is never taken for whole; one that is whole is never doubted."""

import logging

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.source import open_source, read_speech
from tests.media.videos import write_sound, write_video

NOISE = np.random.default_rng(0)
PICTURES = NOISE.integers(0, 256, (75, 48, 64, 3), np.uint8)
SOUND = NOISE.uniform(-0.3, 0.3, 3 * 48_000).astype(np.float32)
STATED_SOUND = {  # suffix -> codec
    ".wav": "pcm_s16le", ".flac": "flac", ".aiff": "pcm_s16be", ".au": "pcm_s16be", ".caf": "pcm_s16le",
    ".w64": "pcm_s16le", ".wv": "wavpack", ".tta": "tta", ".mka": "flac", ".mp3": "libmp3lame",
}  # fmt: skip
STATED_VIDEO = {
    ".avi": "mpeg4", ".mkv": "libx264", ".webm": "libvpx-vp9", ".flv": "flv1", ".wmv": "wmv2", ".mxf": "mpeg2video",
    ".ivf": "libvpx-vp9",
}  # fmt: skip
SPOKEN = {".avi": "libmp3lame", ".webm": "libopus", ".mkv": "aac", ".flv": "libmp3lame", ".mxf": "pcm_s16le"}


def cut(path, share: float):
    target = path.with_name(f"cut{path.suffix}")
    target.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return target


def pictures_of(path) -> tuple[int, str]:
    """(how many were given, what was said then)"""
    count = 0
    try:
        with open_source(path) as source:
            for _ in source.frames():
                count += 1
            return count, "; ".join(source.info.remarks)
    except MediaError as error:
        return count, str(error)


@pytest.mark.parametrize("suffix", STATED_SOUND)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_sound_that_breaks_off_is_an_error(tmp_path, suffix, share):
    path = write_sound(tmp_path / f"a{suffix}", SOUND, rate_hz=48_000, codec=STATED_SOUND[suffix])
    assert abs(len(read_speech(path)) - 48_000) < 1200
    words = r"cut\.\w+ breaks off: found .* expected .* as its header says"
    with pytest.raises(MediaError, match=r"cannot decode .*cut\.wv" if suffix == ".wv" else words):
        read_speech(cut(path, share))


def test_the_part_before_the_break_can_be_read(tmp_path):
    path = cut(write_sound(tmp_path / "a.wav", SOUND, rate_hz=48_000), 0.5)
    assert len(read_speech(path, end_s=1.2)) == 19_200


@pytest.mark.parametrize(
    ("suffix", "sound"), [(suffix, False) for suffix in STATED_VIDEO] + [(suffix, True) for suffix in SPOKEN]
)
def test_pictures_that_break_off_are_an_error_after_them(tmp_path, suffix, sound):
    how = {"speech": SOUND, "speech_rate_hz": 48_000, "sound_codec": SPOKEN[suffix]} if sound else {}
    path = write_video(tmp_path / f"v{suffix}", PICTURES, codec=STATED_VIDEO[suffix], **how)
    count, said = pictures_of(path)
    assert 75 <= count <= 76 and not said
    count, said = pictures_of(cut(path, 0.5))
    assert 20 < count < 60 and "breaks off" in said and "as its header says" in said


def test_fragments_of_an_mp4_that_end_within_one_are_an_error(tmp_path):
    import av

    path = tmp_path / "live.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in PICTURES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert pictures_of(path) == (75, "")
    assert "breaks off" in pictures_of(cut(path, 0.5))[1]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_whose_header_knows_no_length_is_whole(tmp_path, size):
    path = write_sound(tmp_path / "a.wav", SOUND, rate_hz=48_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    if size:
        assert len(read_speech(path)) == 48_000
    else:
        assert len(read_speech(path)) in (0, 48_000)  # as FFmpeg reads it


@pytest.mark.parametrize("suffix", [".mpg", ".ogg"])
def test_where_no_length_is_stated_a_torn_end_is_remarked_on(tmp_path, suffix, caplog):
    if suffix == ".mpg":
        path = write_video(tmp_path / "v.mpg", PICTURES, codec="mpeg1video")
        assert pictures_of(path) == (75, "")
        count, said = pictures_of(cut(path, 0.5))
        assert 20 < count < 60 and "is it whole?" in said
        return
    path = write_sound(tmp_path / "a.ogg", SOUND, rate_hz=48_000, codec="libopus")
    with caplog.at_level(logging.WARNING):
        read_speech(path)
        assert "is it whole?" not in caplog.text
        read_speech(cut(path, 0.5))
    assert "is it whole?" in caplog.text


def test_transport_streams_that_end_within_a_packet_are_remarked_on(tmp_path):
    path = write_video(tmp_path / "v.ts", PICTURES)
    assert pictures_of(path) == (75, "")
    torn = tmp_path / "torn.ts"
    torn.write_bytes(path.read_bytes()[: path.stat().st_size // 376 * 188 + 100])
    assert "is it whole?" in pictures_of(torn)[1]


def test_grids_files_are_whole_and_their_halves_are_not(shared_dir, tmp_path):
    """Cut within a packet; at a packet's end there is nothing to see."""
    for number, path in enumerate(sorted((shared_dir / "data/grid/original").glob("*/*.mpg"))[::10]):
        assert pictures_of(path)[1] == ""
        half = tmp_path / f"{number}.mpg"
        half.write_bytes(path.read_bytes()[: path.stat().st_size // 4096 * 2048 + 1000])
        assert "is it whole?" in pictures_of(half)[1]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_training_data_that_break_off_or_are_no_numbers_are_errors(tmp_path, suffix):
    import soundfile

    path = tmp_path / f"a{suffix}"
    soundfile.write(path, SOUND[:32_000], 16_000)
    assert len(read_wav(path)) == 32_000
    with pytest.raises(MediaError, match=r"cut\.\w+"):
        read_wav(cut(path, 0.5))
    if suffix == ".wav":
        spoilt = SOUND[:32_000].copy()
        spoilt[777] = np.nan
        soundfile.write(path, spoilt, 16_000, subtype="FLOAT")
        with pytest.raises(MediaError, match=r"a\.wav has samples that are not numbers"):
            read_wav(path)
