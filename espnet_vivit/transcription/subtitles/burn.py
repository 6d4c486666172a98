"""A video and its subtitles in, the same video with the subtitles in its pictures out.

The FFmpeg that PyAV's wheels carry has no `subtitles` filter (no libass), so Pillow draws each subtitle once, white
with a dark edge, in a font that has its letters (fonts.py). It is blended into the decoded YUV pictures: what no
letter covers is not converted, only encoded again. Times are those that transcribing goes by (media/containers.py).
Memory does not grow with the length.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.files.containers import MediaFile, open_container, open_file
from espnet_vivit.media.files.shown_picture import Orientation
from espnet_vivit.media.files.timed_frames import TimedDecoder, decode_timed
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.transcription.subtitles.burnt_sound import copied_or_encoded
from espnet_vivit.transcription.subtitles.fonts import choose_font
from espnet_vivit.transcription.subtitles.formats import Cue

if TYPE_CHECKING:
    from av import VideoFrame

SUFFIXES = (".mp4", ".mkv")
_TEXT_HEIGHT, _MARGIN = 1 / 16, 1 / 20  # shares of the picture's height
_EDGE = 1 / 12  # share of the text's height
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_GRAY = 128  # chroma without color
_CRF = "18"  # of x264: visually lossless


def burn_subtitles(
    video: str | os.PathLike,
    subtitles: Sequence[Cue],
    out: str | os.PathLike,
    *,
    font: str | os.PathLike | None = None,
    progress: bool = False,
    tracks: Tracks = AS_PLAYERS,
) -> None:
    """Write `out` (.mp4 or .mkv, H.264), complete or not at all.

    Times of the subtitles count from the file's beginning, as in a player. `font`: a font file; None: one that has the
    letters. Sound that FFmpeg cannot decode is left out, with a warning.
    Raises ConfigError for another kind of file, or where no font has the letters; MediaError.
    """
    import av  # late: loading FFmpeg's libraries takes a tenth of a second

    video, out = Path(video), Path(out)
    if out.suffix not in SUFFIXES:
        raise ConfigError("cannot burn subtitles into this file", found=out.name, expected=" or ".join(SUFFIXES))
    if out.exists() and out.samefile(video):
        raise ConfigError(f"{out} is the video itself", fix="Name another file")
    font = choose_font((cue.text for cue in subtitles), font)
    try:
        with replacing(out) as temporary, ExitStack() as stack:
            source = MediaFile(video, stack.enter_context(open_file(video)), tracks)
            if source.video is None:
                raise MediaError(f"{video} has no picture to burn subtitles into")
            target = stack.enter_context(av.open(f"file:{temporary}", "w"))
            _copy_with_subtitles(source, target, subtitles, tracks, font, progress)
    except av.FFmpegError as error:
        raise MediaError(f"cannot burn subtitles into {video} ({error.strerror})", fix="Does it play?") from error


def _copy_with_subtitles(
    source: MediaFile, target, subtitles: Sequence[Cue], tracks: Tracks, font: str, progress: bool
) -> None:
    seen, heard = source.video, source.sound
    assert seen is not None  # it was looked at
    seen.thread_type = "AUTO"
    zero_s, first = _first_frame(source.path, tracks)
    orientation = Orientation.of(first)
    picture = _add_picture(target, seen, first, orientation)
    sound = None
    if heard is not None:
        sound = copied_or_encoded(target, heard)
    elif source.undecodable_sound:
        logging.warning("%s has sound, but in a codec that FFmpeg has no decoder for: it is left out", source.path)
    size = _even(first.width), _even(first.height)
    painter, decoder = _Painter(subtitles, zero_s, orientation, size, font), TimedDecoder(seen, _counts())
    with tqdm(desc="burn", unit="frame", file=sys.stderr, disable=not progress, total=seen.frames or None) as bar:
        for packet in source.packets():
            if packet.stream.index != seen.index:
                assert sound is not None  # steady packets are of these two streams
                sound.add(packet)
                continue
            for time_s, _, frame in decoder.decode(packet):
                painted = painter.painted(frame, time_s)
                painted.pts, painted.time_base = round(time_s / seen.time_base), seen.time_base
                target.mux(picture.encode(painted))
                bar.update()
    target.mux(picture.encode(None))
    if sound is not None:
        sound.end()


def _first_frame(video: Path, tracks: Tracks):
    """(the file's time zero in seconds of its own clock, frame)"""
    with open_container(video, tracks) as media:
        assert media.video is not None  # there was one a moment ago
        for time_s, _, frame in decode_timed(media, media.video, _counts()):
            return media.clock(time_s)[0], frame
    raise MediaError(f"{video} holds no video frame")


def _counts() -> dict[str, int]:
    return {"frames": 0, "broken": 0}


def _add_picture(target, seen, first, orientation: Orientation):
    """An H.264 stream with the source's clock, colors and pixel shape, upright."""
    picture = target.add_stream("libx264", rate=seen.average_rate or 25, options={"crf": _CRF, "preset": "veryfast"})
    height, width = orientation.shape(_even(first.height), _even(first.width))
    picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
    context, given = picture.codec_context, seen.codec_context
    context.time_base = seen.time_base
    context.color_range, context.colorspace = given.color_range, given.colorspace
    context.color_primaries, context.color_trc = given.color_primaries, given.color_trc
    aspect = seen.sample_aspect_ratio or given.sample_aspect_ratio
    if aspect:
        context.sample_aspect_ratio = 1 / aspect if orientation.transposed else aspect
    return picture


def _even(pixels: int) -> int:
    return max(2, pixels // 2 * 2)  # 4:2:0 halves the chroma


class _Painter:
    """Decoded frames in, upright yuv420p frames with the subtitle of their time out."""

    def __init__(
        self, subtitles: Sequence[Cue], start_s: float, orientation: Orientation, size: tuple[int, int], font: str
    ):
        self.subtitles, self.next = sorted(subtitles, key=lambda cue: cue.start_s), 0
        self.start_s, self.orientation, self.font = start_s, orientation, font
        self.width, self.height = size  # of all pictures, as they are stored; a file may change its own
        self.drawn: tuple[Cue, tuple[np.ndarray, np.ndarray]] | None = None  # the cue last shown, and its picture

    def painted(self, frame: "VideoFrame", time_s: float) -> "VideoFrame":
        import av

        even = frame.reformat(self.width, self.height, format="yuv420p")
        height, width = even.height, even.width
        planes = even.to_ndarray().astype(
            np.uint8, copy=False
        )  # (H * 3 / 2, W) uint8, a copy: the decoder may still need its own
        luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
        if self.orientation != Orientation():
            luma = self.orientation.upright(luma).copy()
            chroma = np.stack([self.orientation.upright(plane) for plane in chroma])
        cue = self._cue_at(time_s - self.start_s)
        if cue is not None:
            self._blend(luma, chroma, cue, full_range=frame.color_range == _FULL_RANGE)
        joined = np.concatenate([luma.reshape(-1), chroma.reshape(-1)]).reshape(-1, luma.shape[1])
        painted = av.VideoFrame.from_ndarray(joined, format="yuv420p")
        painted.color_range, painted.colorspace = frame.color_range, frame.colorspace
        return painted

    def _cue_at(self, time_s: float) -> Cue | None:
        while self.next < len(self.subtitles) and self.subtitles[self.next].end_s <= time_s:
            self.next += 1
        if self.next < len(self.subtitles) and self.subtitles[self.next].start_s <= time_s:
            return self.subtitles[self.next]
        return None

    def _blend(self, luma: np.ndarray, chroma: np.ndarray, cue: Cue, *, full_range: bool) -> None:
        if self.drawn is None or self.drawn[0] is not cue:
            self.drawn = (cue, draw_text(cue.text, luma.shape[1], luma.shape[0], self.font))
        letters, opacity = self.drawn[1]
        top = int(opacity.any(axis=1).argmax()) // 2 * 2  # rows above it have no letter
        luma, letters, opacity, chroma = luma[top:], letters[top:], opacity[top:], chroma[:, top // 2 :]
        black, white = (0, 255) if full_range else (16, 235)
        luma[:] = luma + (black + letters * (white - black) - luma) * opacity + 0.5
        thin = opacity[::2, ::2]
        chroma[:] = chroma + (_GRAY - chroma.astype(np.float32)) * thin + 0.5


def draw_text(text: str, width: int, height: int, font_file: str) -> tuple[np.ndarray, np.ndarray]:
    """(brightness, opacity), each (H, W) float32 in 0..1: the lines centred at the bottom, smaller if too wide."""
    from PIL import Image, ImageDraw, ImageFont

    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    size = max(6, round(height * _TEXT_HEIGHT))
    while True:
        font, edge = ImageFont.truetype(font_file, size), max(1, round(size * _EDGE))
        place = {"font": font, "anchor": "md", "align": "center", "stroke_width": edge}
        at = (width / 2, height - round(height * _MARGIN))
        box = pen.textbbox(at, text, **place)
        if size <= 6 or (box[0] >= 0 and box[1] >= 0):
            break
        size -= 1
    layers = []
    for fill, edge_fill in ((255, 0), (255, 255)):  # what is white; what is covered
        layer = Image.new("L", (width, height))
        ImageDraw.Draw(layer).text(at, text, fill=fill, stroke_fill=edge_fill, **place)
        layers.append(np.asarray(layer, dtype=np.float32) / 255)
    return layers[0], layers[1]
