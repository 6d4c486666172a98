"""A decoded frame in; the picture that a player shows of it out: RGB, upright, in its true shape, in BT.709.

Four things that a file may say of its pictures, each heeded here and nowhere else:
the display matrix (turned by quarters, mirrored: the eight orientations of EXIF), the shape of its pixels (DV, DVD and
broadcasts store 720 columns for 1024), the transfer function (telephones record HLG, cameras PQ), and the size, which
may change on the way: later sizes are scaled into the first one, with black bars.

Transfer functions: Rec. ITU-R BT.2100-2, tables 4 (PQ) and 5 (HLG, for a display of 1000 cd/m2); reference white of
203 cd/m2: Report ITU-R BT.2408. Out again by the display gamma of BT.1886.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.video.stream import VideoStream

TRANSFERS = {16: "pq", 18: "hlg"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_WHITE_NITS, _HLG_PEAK_NITS, _PQ_PEAK_NITS = 203.0, 1000.0, 10_000.0
_GAMMA = 2.4  # BT.1886
_WIDEST_PIXEL = 4  # a pixel aspect beyond 4:1 or 1:4 cannot be true


@dataclass(frozen=True)
class Orientation:
    """How stored pictures are turned to stand upright: transposed first, then flipped left-right, then top-bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, frame: Any) -> Orientation:
        """By the frame's display matrix, three rows of int32 in 16.16 fixed point; a point (x, y) times the matrix."""
        from av.sidedata.sidedata import Type

        found = frame.side_data.get(Type.DISPLAYMATRIX)
        if found is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which pictures are turned; a reflection comes after it (`reflected`)."""
        if self.transposed:
            return 90 if self.upside_down else 270
        return 180 if self.upside_down else 0

    @property
    def reflected(self) -> bool:
        """Whether the turned picture is also mirrored left-right."""
        return self.mirrored != (self.rotation in (180, 270))

    def shape(self, height: int, width: int) -> tuple[int, int]:
        return (width, height) if self.transposed else (height, width)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, ...) or (W, H, ...), a view."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


_AS_STORED = Orientation()


def shown_size(stream: VideoStream, height: int, width: int) -> tuple[int, int]:
    """(height, width) of a stored picture with square pixels: the shorter side is stretched, so nothing is lost."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
        return height, width
    return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)


class PictureMaker:
    """`picture(frame)` -> (H, W, 3) uint8; all of the size that the first frame has when it is shown."""

    def __init__(self, stream: VideoStream, first: Any):
        from av.video.reformatter import VideoReformatter

        self._stream = stream
        self.orientation = Orientation.of(first)
        self._stored = first.height, first.width
        self._size = shown_size(stream, first.height, first.width)
        self.height, self.width = self.orientation.shape(*self._size)
        self.transfer = TRANSFERS.get(stream.codec_context.color_trc, "")
        self.interlaced = False
        self.other_size: tuple[int, int] | None = None  # the first (height, width) that is not that of the first frame
        self._converter = VideoReformatter()  # one for all: making its tables takes longer than using them

    def picture(self, frame: Any) -> np.ndarray:
        self.interlaced = self.interlaced or frame.interlaced_frame
        size = self._size
        if (frame.height, frame.width) != self._stored:
            self.other_size = self.other_size or (frame.height, frame.width)
            size = self._inside(*shown_size(self._stream, frame.height, frame.width))
        picture = self._rgb(frame, size)
        if picture.shape[:2] != self._size:
            picture = self._with_bars(picture)
        if self.orientation == _AS_STORED:
            return picture
        return np.ascontiguousarray(self.orientation.upright(picture))

    def _rgb(self, frame: Any, size: tuple[int, int]) -> np.ndarray:
        scaled: dict[str, Any] = {}
        if size != (frame.height, frame.width):
            scaled = {"height": size[0], "width": size[1], "interpolation": "BICUBIC"}
        if self.transfer:
            deep = self._converter.reformat(frame, format="rgb48le", threads=1, **scaled).to_ndarray()
            return to_sdr(deep, self.transfer)
        return self._converter.reformat(frame, format="rgb24", threads=1, **scaled).to_ndarray()

    def _inside(self, height: int, width: int) -> tuple[int, int]:
        """The size scaled to fit into that of the first frame."""
        scale = min(self._size[0] / height, self._size[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _with_bars(self, picture: np.ndarray) -> np.ndarray:
        whole = np.zeros((*self._size, 3), np.uint8)
        top, left = (self._size[0] - picture.shape[0]) // 2, (self._size[1] - picture.shape[1]) // 2
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return whole


# linear light, BT.2020 to BT.709 primaries: Rec. ITU-R BT.2407, annex 1
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020
_BITS = 7  # of each color: the result differs by at most two gray levels from that with all bits


def to_sdr(picture: np.ndarray, transfer: str) -> np.ndarray:
    """(H, W, 3) uint16 RGB in HLG or PQ with BT.2020 primaries -> uint8 in BT.709; brighter than white is white."""
    colors = (picture >> (16 - _BITS)).astype(np.int32)
    return _colors(transfer).take((colors[..., 0] << 2 * _BITS) + (colors[..., 1] << _BITS) + colors[..., 2], axis=0)


@lru_cache
def _colors(transfer: str) -> np.ndarray:
    """(2 ** 21, 3) uint8: every color of 3 x 7 bits in BT.709. Made once, in half a second."""
    signal = (np.arange(1 << _BITS) + 0.5) / (1 << _BITS)
    curve = _light(transfer, signal)
    table = []
    for red in curve:  # a slice at a time
        light = np.stack([np.broadcast_to(red, (len(curve),) * 2), *np.meshgrid(curve, curve, indexing="ij")], axis=-1)
        if transfer == "hlg":  # the display's light: the scene's times its luminance to the system gamma - 1
            light *= (light @ _LUMINANCE)[..., None] ** 0.2 * (_HLG_PEAK_NITS / _WHITE_NITS)
        table.append(np.rint(255 * np.clip(light @ _TO_BT709.T, 0, 1) ** (1 / _GAMMA)).astype(np.uint8))
    return np.concatenate([part.reshape(-1, 3) for part in table])


def _light(transfer: str, signal: np.ndarray) -> np.ndarray:
    """Of a signal in 0..1: in PQ the display's light against reference white, in HLG the scene's in 0..1."""
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = signal ** (1 / m2)
        return _PQ_PEAK_NITS / _WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
