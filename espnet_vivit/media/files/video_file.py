"""Video files in and out, as gray pictures.

In: any file FFmpeg can decode (through PyAV), or a `.npy` with (T, H, W) uint8. Out: (T, H, W) uint8, full range:
0 is black, 255 white.

Range is the trap here: most camera files store luma as 16..235 ("limited") and say so, or say nothing; mouth crops are
stored as 0..255 and say so. Taking one for the other shifts gray levels by several units, so the flag of each frame is
respected, an unflagged YUV frame is taken as limited (what the codecs' standards say), and gray formats as full.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import ConfigError, InputError, MediaError, unknown_name
from espnet_vivit.media.files.containers import check_is_file
from espnet_vivit.units import VIDEO_RATE_HZ

if TYPE_CHECKING:
    from av import FFmpegError

CODECS = {"ffv1": "lossless", "h264": "small; crf 14 errs by about one gray level"}
_CONTAINERS = {"ffv1": (".mkv",), "h264": (".mp4", ".mkv")}

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_GRAY_FORMATS = frozenset({"gray", "gray8"})
_YUVJ_FORMATS = frozenset({"yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"})  # old names that imply full range
_YUV8_FORMATS = frozenset({"yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p", "nv12", "nv21"})


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its pictures; `num_frames` is counted, not taken from the header."""

    num_frames: int
    height: int
    width: int
    rate_hz: float
    codec: str
    has_audio: bool


def read_video(path: str | os.PathLike) -> np.ndarray:
    """Decode every frame of a file to gray, (T >= 1, H, W) uint8. Raises MediaError, which names the file."""
    path = Path(path)
    if path.suffix == ".npy":
        return np.ascontiguousarray(open_npy(path))
    with _open_media(path) as (container, stream):
        frames = [_gray(frame) for frame in container.decode(stream)]
    if not frames:
        raise MediaError(f"{path} holds no video frame", fix="Leave the clip out or record it again.")
    if len({frame.shape for frame in frames}) > 1:
        raise MediaError(f"{path} changes its picture size on the way", fix="Encode it again at one size.")
    return np.stack(frames)


def probe_video(path: str | os.PathLike) -> VideoInfo:
    """Size, rate and counted frames, without decoding pictures. Raises MediaError, which names the file."""
    path = Path(path)
    if path.suffix == ".npy":
        num_frames, height, width = open_npy(path).shape
        return VideoInfo(num_frames, height, width, float(VIDEO_RATE_HZ), "npy", False)
    with _open_media(path) as (container, stream):
        num_frames = sum(1 for packet in container.demux(stream) if packet.size)
        rate = stream.average_rate or stream.guessed_rate
        codec = stream.codec_context
        return VideoInfo(
            num_frames, codec.height, codec.width, float(rate or 0), codec.name, bool(container.streams.audio)
        )


def write_gray_video(
    path: str | os.PathLike, frames: np.ndarray, *, codec: str = "ffv1", crf: int = 14, rate_hz: int = VIDEO_RATE_HZ
) -> None:
    """Write (T, H, W) uint8 frames; the file appears complete or not at all.

    `ffv1` is lossless and goes into .mkv; `h264` is lossy with constant quality `crf` (smaller is better) and flagged
    full range, into .mp4 or .mkv; its height and width must be even. A path that ends in .npy gets the bare array.
    """
    path = Path(path)
    frames = check_frames(frames)
    if codec not in CODECS:
        raise unknown_name("video codec", codec, CODECS)
    if path.suffix == ".npy":
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, frames)
        return
    if codec == "h264" and (frames.shape[1] % 2 or frames.shape[2] % 2):
        raise InputError(f"cannot write {path} as h264", found=f"{frames.shape[1:]} pixels", expected="even sizes")
    if path.suffix not in _CONTAINERS[codec]:
        raise ConfigError(
            f"cannot write {path} as {codec}", found=path.suffix, expected=" or ".join(_CONTAINERS[codec])
        )
    with replacing(path) as temporary:
        try:
            _encode(temporary, frames, codec=codec, crf=crf, rate_hz=rate_hz)
        except _ffmpeg_error() as error:
            raise MediaError(f"cannot write {path} ({error.strerror})", fix="Check folder and free space.") from error


def check_frames(frames: np.ndarray) -> np.ndarray:
    """The frames, contiguous, if they are (T >= 1, H, W) uint8; otherwise InputError."""
    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(
            "not a gray clip", found=f"{frames.dtype} {frames.shape}", expected="uint8 (T, H, W), none of them zero"
        )
    return np.ascontiguousarray(frames)


def open_npy(path: Path) -> np.ndarray:
    """(T, H, W) uint8 of a `.npy`, read from the disk as it is looked at. Raises MediaError."""
    check_is_file(path)
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TokenError) as error:  # NumPy reads the header as Python
        raise MediaError(f"cannot read the clip {path} ({error})", fix="Write it again.") from error
    if frames.ndim != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise MediaError(
            f"{path} is not a gray clip", found=f"{frames.dtype} {frames.shape}", expected="uint8 (T, H, W), T >= 1"
        )
    return frames


@contextmanager
def _open_media(path: Path):
    """(container, first video stream); FFmpeg's errors inside the block become MediaError."""
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    check_is_file(path)
    try:
        with av.open(f"file:{path}") as container:
            if not container.streams.video:
                raise MediaError(f"{path} has no video stream", fix="Is it an audio file?")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # measured: threads cost more than they give on clips of a few seconds
            yield container, stream
    except av.FFmpegError as error:
        raise MediaError(
            f"cannot decode {path} ({error.strerror})", fix="Check that the file exists, is complete and plays."
        ) from error


def _gray(frame) -> np.ndarray:
    """One decoded frame as (H, W) uint8, full range."""
    name = frame.format.name
    if name not in _GRAY_FORMATS | _YUVJ_FORMATS | _YUV8_FORMATS:
        return frame.to_ndarray(format="gray")  # RGB and deeper formats: swscale knows their ranges
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
    if name in _YUV8_FORMATS and frame.color_range != _FULL_RANGE:
        return _LIMITED_TO_FULL[luma]
    return luma.copy()  # the plane's memory belongs to the decoder


def _ffmpeg_error() -> type[FFmpegError]:
    import av

    return av.FFmpegError


def _encode(path: Path, frames: np.ndarray, *, codec: str, crf: int, rate_hz: int) -> None:
    import av

    pixel_format = "gray" if codec == "ffv1" else "yuv420p"
    # x264's "mbtree" reads memory that nobody wrote (with AVX-512): other bytes from run to run
    options = {} if codec == "ffv1" else {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}
    with av.open(f"file:{path}", "w") as container:
        name = "ffv1" if codec == "ffv1" else "libx264"
        stream = container.add_stream(name, rate=rate_hz, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.color_range = _FULL_RANGE
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for picture in frames:
            container.mux(stream.encode(_to_frame(picture, pixel_format)))
        container.mux(stream.encode(None))


def _to_frame(picture: np.ndarray, pixel_format: str):
    import av

    height, width = picture.shape
    if pixel_format == "gray":
        return av.VideoFrame.from_ndarray(picture, format="gray")
    chroma = np.full((height // 2, width), 128, np.uint8)  # both chroma planes, no color
    frame = av.VideoFrame.from_ndarray(np.concatenate([picture, chroma]), format="yuv420p")
    frame.color_range = _FULL_RANGE
    return frame
