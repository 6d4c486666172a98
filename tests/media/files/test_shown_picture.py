"""Pictures are read as a player shows them: shape of the pixels, mirror, transfer function, size, all heeded."""

from fractions import Fraction

import av
import numpy as np
import pytest

from espnet_vivit.media.files.source import open_source
from tests.media.videos import numbered, set_display_matrix, write_video

GRAY = np.array([0.299, 0.587, 0.114])


def read(path):
    with open_source(path) as source:
        return np.stack(list(source.frames())), source.info


def write_shaped(path, picture, aspect: Fraction, count: int = 3):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def ramp(height, width):
    row = np.linspace(20, 230, width)[None, :] * np.linspace(0.5, 1, height)[:, None]
    return np.repeat(row[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(64, 45), (72, 128)),  # PAL 16:9, an eighth of it
        (Fraction(4, 3), (72, 120)),  # HDV
        (Fraction(8, 9), (81, 90)),  # NTSC: narrow pixels are made higher, so nothing is lost
        (Fraction(1, 1), (72, 90)),
        (Fraction(5, 1), (72, 90)),  # cannot be true
        (Fraction(1, 9), (72, 90)),
    ],
)
def test_pixels_that_are_not_square_are_shown_as_they_are(tmp_path, aspect, shape):
    stored = ramp(72, 90)
    frames, info = read(write_shaped(tmp_path / "dv.mkv", stored, aspect))
    assert frames.shape[1:3] == shape == (info.height, info.width)
    assert np.abs(frames[0].astype(float) - ramp(*shape)).mean() < 3


def test_a_turned_picture_is_stretched_as_it_is_stored(tmp_path):
    path = write_shaped(tmp_path / "turned.mp4", ramp(72, 90), Fraction(4, 3))
    set_display_matrix(path, 0, 1, -1, 0)
    frames, _ = read(path)
    assert frames.shape[1:3] == (120, 72)


CORNER = np.zeros((32, 64, 3), np.uint8)
CORNER[:16, :16], CORNER[:16, -16:] = 255, 120  # top left, top right


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [  # the eight orientations of EXIF
        ((1, 0, 0, 1), lambda p: p),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)),
        ((0, -1, 1, 0), lambda p: np.rot90(p)),
    ],
)
def test_pictures_are_turned_and_mirrored_as_their_matrix_says(tmp_path, matrix, shown):
    path = write_video(tmp_path / "phone.mp4", [CORNER] * 3)
    set_display_matrix(path, *matrix)
    frames, info = read(path)
    expected = shown(CORNER)
    assert frames.shape[1:] == expected.shape and (info.height, info.width) == expected.shape[:2]
    assert np.abs(frames[0].astype(int) - expected).mean() < 6
    said = np.rot90(CORNER, info.rotation // 90)
    np.testing.assert_array_equal(said[:, ::-1] if info.reflected else said, expected)


def signal_of(light: np.ndarray, transfer: str) -> np.ndarray:
    """What a camera writes for light against reference white, as gray (BT.2100's equations, the other way round)."""
    nits = 203 * light
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = (nits / 10_000) ** m1
        return ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    scene = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def write_hdr(path, gray: np.ndarray, transfer: str | None):
    """(H, W) gray levels of BT.709 as 10-bit video with that transfer function; None: the same numbers, untagged."""
    signal = signal_of((gray / 255) ** 2.4, transfer) if transfer else gray / 255
    planes = [64 + 876 * signal, np.full((gray.shape[0] // 2, gray.shape[1] // 2), 512.0)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *gray.shape, "yuv420p10le"
        if transfer:
            context = stream.codec_context
            context.color_primaries, context.colorspace = 9, 9
            context.color_trc = {"pq": 16, "hlg": 18}[transfer]
        for _ in range(3):
            frame = av.VideoFrame(gray.shape[1], gray.shape[0], "yuv420p10le")
            for plane, values in zip(frame.planes, [planes[0], planes[1], planes[1]], strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                rows[:, : plane.width] = np.rint(values)
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", ["hlg", "pq", None])
def test_high_dynamic_range_is_brought_to_bt709(tmp_path, transfer):
    gray = np.rint(ramp(64, 96)[..., 0].astype(float))
    frames, info = read(write_hdr(tmp_path / "hdr.mkv", gray, transfer))
    assert info.transfer == (transfer or "")
    assert np.abs(frames[0] @ GRAY - gray).max() < 6 and np.abs(frames[0] @ GRAY - gray).mean() < 2


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "libx264"), (".webm", "libvpx-vp9"), (".mpg", "mpeg2video")])
def test_another_size_on_the_way_is_scaled_into_the_first_one(tmp_path, suffix, codec):
    parts = []
    for name, (height, width) in (("a", (64, 96)), ("b", (128, 192)), ("c", (64, 64))):
        pictures = [numbered(200 + index, height, width) for index in range(50)]
        parts.append(write_video(tmp_path / f"{name}{suffix}", pictures, codec=codec, options={"crf": "10"}))
    if suffix == ".webm":
        path = resized_stream(tmp_path / "call.webm", parts)
    else:
        path = tmp_path / f"call{suffix}"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, info = read(path)
    assert frames.shape == (150, 64, 96, 3)
    assert any("size changes from 96x64 (to 192x128)" in remark for remark in info.remarks)
    assert np.abs(frames[55].astype(int) - numbered(205, 64, 96)).mean() < 30
    assert frames[110, :, :14].max() < 20 and frames[110, :, -14:].max() < 20  # black bars beside the square one
    assert np.abs(frames[110, :, 16:80].astype(int) - numbered(210, 64, 64)).mean() < 30


def resized_stream(path, parts):
    """Packets of several files as one stream, as WebRTC writes them."""
    with av.open(str(path), "w") as target:
        stream, at = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts = packet.dts = at
                        at += 40
                        packet.stream, packet.time_base = stream, Fraction(1, 1000)
                        target.mux(packet)
    return path


def test_interlaced_pictures_are_remarked_on(tmp_path):
    options = {"flags": "+ildct+ilme", "top": "1"}
    with av.open(str(tmp_path / "tv.mpg"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(numbered(index, 64, 96), format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames, info = read(tmp_path / "tv.mpg")
    assert len(frames) == 10 and any("interlaced" in remark for remark in info.remarks)
    assert not read(write_video(tmp_path / "film.mpg", map(numbered, range(5)), codec="mpeg2video"))[1].remarks


class TestFieldCases:
    def test_anamorphic(self, shared_dir):
        folder = shared_dir / "cases/field/anamorphic"
        (square, _), (wide, info) = read(folder / "square.mp4"), read(folder / "anamorphic.mp4")
        assert wide.shape == square.shape and info.width == 1024
        assert np.abs(wide[::5] @ GRAY - square[::5] @ GRAY).mean() < 2

    def test_hdr(self, shared_dir):
        folder = shared_dir / "cases/field/hdr"
        (plain, _), (deep, info) = read(folder / "sdr.mp4"), read(folder / "hlg.mov")
        assert info.transfer == "hlg" and np.abs(deep[::5] @ GRAY - plain[::5] @ GRAY).mean() < 3

    @pytest.mark.parametrize("name", ["vflip", "transpose"])
    def test_flipped_flag(self, shared_dir, name):
        upright, _ = read(shared_dir / "cases/field/hdr/sdr.mp4")  # the same clip
        shown, _ = read(shared_dir / f"cases/field/flipped_flag/{name}.mp4")
        assert np.abs(shown @ GRAY - upright @ GRAY).mean() < 3

    def test_resize_midway(self, shared_dir):
        frames, info = read(shared_dir / "cases/field/resize_midway/resize_midway.ts")
        assert frames.shape == (73, 288, 360, 3) and info.remarks
