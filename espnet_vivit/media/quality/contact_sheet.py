"""The contact sheet of a clip as PNG: verdict and reasons, what the detector saw, mouth crops, and a line of time.

The line of time shows every picture's state by color, and below it how fast the mouth moves and how loud the sound is,
over the same seconds: a shift between the two is seen at once. Drawn with Pillow, some 30 ms for a sheet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.media.quality.faces import found_faces
from espnet_vivit.media.quality.pictures import BLACK, FLAT, FOREIGN, FROZEN, GOOD, as_gray, judge_pictures
from espnet_vivit.media.quality.sound import levels, mouth_shapes, speed
from espnet_vivit.media.quality.verdict import VERDICT_COLORS, Quality
from espnet_vivit.units import VIDEO_RATE_HZ

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip
    from espnet_vivit.media.quality.second_look import View

NO_FACE = 9  # beside the verdicts on pictures
STATES = {  # state of a picture -> color and name on the line of time
    GOOD: ("#a5d6a7", "good"),
    NO_FACE: ("#e53935", "no face"),
    BLACK: ("#202020", "black"),
    FLAT: ("#8e8e8e", "gray"),
    FOREIGN: ("#ab47bc", "foreign"),
    FROZEN: ("#42a5f5", "frozen"),
}
MOUTH_COLOR, SOUND_COLOR = "#1565c0", "#e65100"
POINT_COLORS = ("#ffeb3b", "#ffeb3b", "#00e5ff", "#ff5252")  # right eye, left eye, nose base, mouth
WIDTH, MARGIN, GAP = 1000, 20, 6
CROPS_A_ROW, CROP_ROWS = 10, 2
VIEW_HEIGHT = 190
STRIP_PICTURES, STRIP_SIZE = 8, 64  # of the report page


def draw_sheet(
    clip: MouthClip,
    quality: Quality,
    *,
    title: str,
    facts: str = "",
    views: Sequence[View] = (),
) -> Image.Image:
    """The sheet as a PIL image: `facts` is the line below the verdict, `views` a row of pictures of the source."""
    states = picture_states(clip)
    sheet = _Sheet()
    sheet.headline(title, quality.verdict)
    for reason in quality.reasons:
        sheet.paragraph("– " + reason, color=VERDICT_COLORS[quality.verdict])
    sheet.paragraph(facts, color="#555555")
    if views:
        sheet.caption("source and landmarks")
        sheet.row([_view(view) for view in views], [f"{view.time_s:.2f} s" for view in views])
    sheet.caption("mouth crops")
    for chosen in np.array_split(evenly(len(clip.frames), CROPS_A_ROW * CROP_ROWS), CROP_ROWS):
        if not len(chosen):
            break
        crops = [_framed(clip.frames[index], STATES[int(states[index])][0]) for index in chosen]
        sheet.row(crops, [f"{index / VIDEO_RATE_HZ:.2f} s" for index in chosen])
    _draw_states(sheet, states)
    _draw_curves(sheet, clip, states)
    return sheet.finished()


def write_sheet(path: str | os.PathLike, image: Image.Image) -> None:
    """Write a sheet as PNG; the file appears complete or not at all. Raises MediaError, which names the file."""
    path = Path(path)
    make_folder(path.parent)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def picture_states(clip: MouthClip) -> np.ndarray:
    """(T,) int8: the verdict on each picture, or NO_FACE where none was found in it."""
    states = judge_pictures(as_gray(clip.frames), clip.source_change)
    if clip.detector != "centre":
        states[(states == GOOD) & ~found_faces(clip.landmarks)] = NO_FACE
    return states


def draw_strip(clip: MouthClip) -> Image.Image:
    """Some crops beside each other, small, as a PIL image: the row's picture on the report page."""
    crops = [Image.fromarray(clip.frames[index]) for index in evenly(len(clip.frames), STRIP_PICTURES)]
    strip = Image.new("RGB", (len(crops) * (STRIP_SIZE + 2) - 2, STRIP_SIZE), "white")
    for place, crop in enumerate(crops):
        strip.paste(crop.resize((STRIP_SIZE, STRIP_SIZE)), (place * (STRIP_SIZE + 2), 0))
    return strip


def evenly(total: int, wanted: int) -> np.ndarray:
    """Up to `wanted` different indices below `total`, at even distances, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(int))


@lru_cache(maxsize=8)
def _font(points: int, bold: bool = False):
    """DejaVu, which has the letters of many alphabets, from matplotlib, which is not imported: that takes longer."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None  # this package needs it
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / name, points)


class _Sheet:
    """A canvas that grows downwards: each call adds something below the last."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH, 3000), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.y = MARGIN

    def headline(self, title: str, verdict: str) -> None:
        badge = verdict.upper()
        width = self.draw.textlength(badge, font=_font(17, True)) + 24
        self.draw.rounded_rectangle(
            (MARGIN, self.y, MARGIN + width, self.y + 30), radius=6, fill=VERDICT_COLORS[verdict]
        )
        self.draw.text((MARGIN + 12, self.y + 15), badge, font=_font(17, True), fill="white", anchor="lm")
        left = MARGIN + width + 14
        title = _shortened(self.draw, one_line(title), _font(17, True), WIDTH - MARGIN - left)
        self.draw.text((left, self.y + 15), title, font=_font(17, True), fill="#202020", anchor="lm")
        self.y += 40

    def paragraph(self, text: str, *, color: str) -> None:
        for line in _wrapped(self.draw, one_line(text), _font(14), WIDTH - 2 * MARGIN):
            self.draw.text((MARGIN, self.y), line, font=_font(14), fill=color)
            self.y += 21

    def caption(self, text: str) -> None:
        self.y += 10
        self.draw.text((MARGIN, self.y), text, font=_font(12, True), fill="#555555")
        self.y += 20

    def row(self, pictures: Sequence, labels: Sequence[str]) -> None:
        """Pictures from left to right as far as they fit, a label under each."""
        x, height = MARGIN, max(picture.height for picture in pictures)
        for picture, label in zip(pictures, labels, strict=True):
            if x + picture.width > WIDTH - MARGIN:
                break
            self.image.paste(picture, (x, self.y))
            middle = x + picture.width // 2
            self.draw.text((middle, self.y + height + 9), label, font=_font(11), fill="#555555", anchor="mm")
            x += picture.width + GAP - 4
        self.y += height + 22

    def finished(self) -> Image.Image:
        return self.image.crop((0, 0, WIDTH, self.y + MARGIN))


def one_line(text: str) -> str:
    """The text with control characters shown as escapes: file names may hold newlines."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _wrapped(draw, text: str, font, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and draw.textlength(f"{lines[-1]} {word}", font=font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_shortened(draw, word, font, width))
    return lines


def _shortened(draw, text: str, font, width: float) -> str:
    """The text, its beginning left out if it is too wide: the end of a path tells more."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength("…" + text, font=font) > width:
        text = text[1:]
    return "…" + text


def _framed(crop: np.ndarray, color: str):
    """A crop, 88 pixels wide, with a border in the color of its state."""
    framed = Image.new("RGB", (94, 94), color)
    framed.paste(Image.fromarray(crop).resize((88, 88)), (3, 3))
    return framed


def _view(view: View):
    """A picture of the source, scaled, with its landmarks as dots, and a red border where none were found."""
    height, width = view.picture.shape[:2]
    scale = min(VIEW_HEIGHT / height, (WIDTH - 2 * MARGIN) / 4 / width)
    image = Image.fromarray(view.picture).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    draw = ImageDraw.Draw(image)
    if np.isfinite(view.points).all():
        for (x, y), color in zip(view.points * scale, POINT_COLORS, strict=True):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color, outline="black")
    else:
        draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=STATES[NO_FACE][0], width=4)
    return image


def _draw_states(sheet: _Sheet, states: np.ndarray) -> None:
    """A bar in which each picture is a slice in the color of its state, with the states that occur named beside."""
    sheet.caption("every picture")
    x = MARGIN + 110
    for state, (color, name) in STATES.items():
        count = int(np.sum(states == state))
        if count:
            sheet.draw.rectangle((x, sheet.y - 18, x + 11, sheet.y - 7), fill=color)
            label = f"{name}: {count}"
            sheet.draw.text((x + 16, sheet.y - 20), label, font=_font(12), fill="#202020")
            x += 16 + sheet.draw.textlength(label, font=_font(12)) + 20
    edges = np.linspace(MARGIN, WIDTH - MARGIN, len(states) + 1)
    for index, state in enumerate(states):
        fill = STATES[int(state)][0]
        sheet.draw.rectangle((edges[index], sheet.y, edges[index + 1] - 1, sheet.y + 14), fill=fill)
    sheet.y += 20


def _mouth_speed(clip: MouthClip, states: np.ndarray) -> np.ndarray | None:
    """(T,) how fast the mouth moves; a bad picture counts as the last good one, or its leap would dwarf all speech."""
    shown = np.flatnonzero(np.isin(states, (GOOD, NO_FACE, FROZEN)))
    if len(shown) < 2:
        return None
    latest = shown[np.maximum(np.searchsorted(shown, np.arange(len(states)), side="right") - 1, 0)]
    shapes = mouth_shapes(as_gray(clip.frames[latest]))
    return None if shapes is None else speed(shapes)


def _draw_curves(sheet: _Sheet, clip: MouthClip, states: np.ndarray) -> None:
    """The mouth's speed above, the loudness below, each filling its half, over the seconds of the clip."""
    pictures, half = len(clip.frames), 56
    moving = _mouth_speed(clip, states)
    loud = levels(clip.speech, pictures) if clip.speech is not None and len(clip.speech) else None
    for name, curve, color in (("motion of the mouth", moving, MOUTH_COLOR), ("sound", loud, SOUND_COLOR)):
        top, bottom = sheet.y, sheet.y + half
        sheet.draw.line((MARGIN, bottom, WIDTH - MARGIN, bottom), fill="#dddddd")
        if curve is None or not np.ptp(curve):
            sheet.draw.text((MARGIN, top + half // 2), f"no {name}", font=_font(12), fill=color, anchor="lm")
        else:
            scaled = (curve - curve.min()) / max(float(np.percentile(curve, 99) - curve.min()), 1e-6)
            x = MARGIN + (np.arange(pictures) + 0.5) * (WIDTH - 2 * MARGIN) / pictures
            y = bottom - np.clip(scaled, 0, 1) * (half - 14)
            points = list(zip(x.tolist(), y.tolist(), strict=True))
            sheet.draw.polygon([(points[0][0], bottom), *points, (points[-1][0], bottom)], fill=_pale(color))
            sheet.draw.line(points, fill=color, width=2)
            sheet.draw.text((MARGIN, top), name, font=_font(12), fill=color)
        sheet.y = bottom + 4
    seconds = pictures / VIDEO_RATE_HZ
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 3600) if seconds / step <= 12 or step == 3600)
    for tick in np.arange(0, seconds + 1e-6, step):
        x = MARGIN + tick / seconds * (WIDTH - 2 * MARGIN)
        anchor = "lt" if x < MARGIN + 20 else "rt" if x > WIDTH - MARGIN - 20 else "mt"
        sheet.draw.text((x, sheet.y), f"{tick:g} s", font=_font(11), fill="#555555", anchor=anchor)
    sheet.y += 14


def _pale(color: str) -> tuple[int, int, int]:
    """The color mixed with four parts of white."""
    channels = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    red, green, blue = (round(255 - (255 - channel) / 5) for channel in channels)
    return red, green, blue
