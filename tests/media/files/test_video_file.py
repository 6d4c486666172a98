import os
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from espnet_vivit.errors import ConfigError, InputError, MediaError
from espnet_vivit.media.files.audio_file import read_wav, write_wav
from espnet_vivit.media.files.video_file import VideoInfo, probe_video, read_video, write_gray_video
from tests.media.talking_mouth import talking


@pytest.fixture
def clip() -> np.ndarray:
    """(9, 32, 48) uint8: a slanted ramp through all gray levels that moves."""
    rows, columns = np.mgrid[:32, :48]
    ramp = (rows + columns) * (255 / 78)
    return np.stack([np.roll(ramp, shift, axis=1) for shift in range(9)]).round().astype(np.uint8)


def write_yuv(path, luma: np.ndarray, *, color_range: int) -> None:
    """An x264 file written without our code, lossless in its luma, with that range flag (0: none)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *luma.shape[1:], "yuv420p"
        if color_range:
            stream.codec_context.color_range = color_range
        for picture in luma:
            chroma = np.full((picture.shape[0] // 2, picture.shape[1]), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.concatenate([picture, chroma]), format="yuv420p")
            frame.color_range = color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def gray_by_swscale(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", ["clip.mkv", "clip.npy"])
def test_lossless_formats_return_the_same_frames(tmp_path, clip, name):
    write_gray_video(tmp_path / name, clip)
    np.testing.assert_array_equal(read_video(tmp_path / name), clip)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_h264_errs_by_a_gray_level_and_keeps_black_and_white(tmp_path, clip, name):
    write_gray_video(tmp_path / name, clip, codec="h264")
    error = read_video(tmp_path / name).astype(int) - clip
    assert np.abs(error).mean() < 2
    assert abs(error.mean()) < 0.5  # a wrong range would shift all levels


def test_h264_gives_the_same_bytes_whatever_memory_held_before(tmp_path):
    code = "import sys; from espnet_vivit.media.files.video_file import read_video, write_gray_video;"
    code += "write_gray_video(sys.argv[2], read_video(sys.argv[1]), codec='h264')"
    np.save(tmp_path / "clip.npy", talking(2.0, seed=2).frames)
    written = []
    for filled_with in ("85", "170"):  # what glibc fills fresh memory with, where it is the C library
        path = tmp_path / f"{filled_with}.mp4"
        command = [sys.executable, "-c", code, str(tmp_path / "clip.npy"), str(path)]
        subprocess.run(command, env=dict(os.environ, MALLOC_PERTURB_=filled_with), check=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_full_range_luma_is_taken_as_it_is(tmp_path, clip):
    write_yuv(tmp_path / "full.mp4", clip, color_range=2)
    np.testing.assert_array_equal(read_video(tmp_path / "full.mp4"), clip)


@pytest.mark.parametrize("color_range", [0, 1], ids=["unflagged", "limited"])
def test_limited_range_is_stretched_as_ffmpeg_does(tmp_path, clip, color_range):
    luma = (16 + clip.astype(float) * 219 / 255).round().astype(np.uint8)
    write_yuv(tmp_path / "limited.mp4", luma, color_range=color_range)
    frames = read_video(tmp_path / "limited.mp4")
    assert frames.min() == 0 and frames.max() == 255
    np.testing.assert_allclose(frames.astype(int), gray_by_swscale(tmp_path / "limited.mp4").astype(int), atol=1)


def test_color_is_turned_to_gray_as_ffmpeg_does(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "rgb.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))
    frames = read_video(tmp_path / "rgb.mkv")
    np.testing.assert_array_equal(frames, gray_by_swscale(tmp_path / "rgb.mkv"))
    np.testing.assert_allclose(frames, pictures @ [0.299, 0.587, 0.114], atol=3)


@pytest.mark.parametrize(("name", "codec"), [("c.mkv", "ffv1"), ("c.mp4", "h264"), ("c.npy", "npy")])
def test_probe_counts_frames_without_decoding(tmp_path, clip, name, codec):
    write_gray_video(tmp_path / name, clip, codec="h264" if codec == "h264" else "ffv1")
    assert probe_video(tmp_path / name) == VideoInfo(9, 32, 48, 25.0, codec, has_audio=False)


@pytest.mark.parametrize("read", [read_video, probe_video])
def test_errors_of_reading_name_the_file(tmp_path, read):
    (tmp_path / "noise.mp4").write_bytes(b"this is no video" * 100)
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "float.npy", np.zeros((3, 4, 4)))
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4), np.uint8))
    soundfile.write(tmp_path / "speech.wav", np.zeros(1600), 16000)
    for name in ("missing.mp4", "missing.npy", "noise.mp4", "empty.npy", "float.npy", "none.npy", "speech.wav"):
        with pytest.raises(MediaError, match=name.replace(".", r"\.")):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("frames", "name", "codec", "error"),
    [
        (np.zeros((2, 4, 4), np.float32), "c.mkv", "ffv1", InputError),
        (np.zeros((2, 4, 4, 3), np.uint8), "c.mkv", "ffv1", InputError),
        (np.zeros((0, 4, 4), np.uint8), "c.npy", "ffv1", InputError),
        (np.zeros((2, 5, 4), np.uint8), "c.mp4", "h264", InputError),
        (np.zeros((2, 4, 4), np.uint8), "c.mp4", "ffv1", ConfigError),
        (np.zeros((2, 4, 4), np.uint8), "c.mkv", "ffv2", ConfigError),
        (np.zeros((2, 4, 4), np.uint8), "c.xyz", "h264", ConfigError),
        (np.zeros((2, 4, 4), np.uint8), "missing/c.npy", "ffv1", MediaError),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, frames, name, codec, error):
    with pytest.raises(error):
        write_gray_video(tmp_path / name, frames, codec=codec)
    assert list(tmp_path.rglob("*")) == []


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path, clip):
    write_gray_video(tmp_path / "clip.npy", clip)
    with pytest.raises(InputError):
        write_gray_video(tmp_path / "clip.npy", clip.astype(np.float32))
    np.testing.assert_array_equal(read_video(tmp_path / "clip.npy"), clip)


def test_real_crops_decode_within_the_codecs_error(shared_dir):
    """What the crops' README states: CRF 14 errs by about one level on average; a wrong range would err by five."""
    lossless = sorted((shared_dir / "data/grid/lossless").glob("*/*.mkv"))[:4]
    assert lossless
    for path in lossless:
        coded = shared_dir / "data/grid/mouth" / path.parent.name / f"{path.stem}.mp4"
        error = read_video(coded).astype(int) - read_video(path)
        assert np.abs(error).mean() < 1.5 and abs(error.mean()) < 0.3


def test_real_faces_decode_as_ffmpeg_does(shared_dir):
    path = sorted((shared_dir / "data/grid/original").glob("*/*.mpg"))[0]
    frames = read_video(path)
    info = probe_video(path)
    assert frames.shape == (75, 288, 360) and info.num_frames == 75 and info.has_audio
    np.testing.assert_allclose(frames[::15].astype(int), gray_by_swscale(path)[::15].astype(int), atol=1)


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_audio_round_trip_errs_by_a_step_of_16_bits(tmp_path, name):
    samples = np.sin(np.arange(3200) / 9).astype(np.float32) * 0.9
    write_wav(tmp_path / name, samples)
    assert soundfile.info(tmp_path / name).samplerate == 16000
    np.testing.assert_allclose(read_wav(tmp_path / name), samples, atol=1.01 / 32768)


def test_audio_errors_name_the_file(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 8000)
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    (tmp_path / "noise.flac").write_bytes(b"no audio")
    for name in ("slow.wav", "stereo.wav", "noise.flac", "missing.flac"):
        with pytest.raises(MediaError, match=name):
            read_wav(tmp_path / name)
    with pytest.raises(MediaError, match=r"a\.flac"):
        write_wav(tmp_path / "missing" / "a.flac", np.zeros(10))


def test_a_clip_whose_header_is_damaged_is_named(tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((2, 4, 4), np.uint8))
    content = bytearray((tmp_path / "clip.npy").read_bytes())
    content[40] = 0
    (tmp_path / "clip.npy").write_bytes(content)
    with pytest.raises(MediaError, match=r"cannot read the clip .*clip\.npy"):
        read_video(tmp_path / "clip.npy")
