"""Is this clip fit for lip reading? A mouth clip in; a verdict, the reasons in words, and the numbers behind them out.

    quality = assess_clip(read_mouth_clip("clip.mp4"))
    quality.verdict     # "ok", "warn" (look at it) or "reject" (leave it out)
    quality.reasons     # ("12 gray pictures: the decoder's garbage",)
    quality.measures    # {"faces_found": 84.0, …}: every name of MEASURES, NaN where it could not be measured

What is measured is in MEASURES, what is too much in LIMITS: nothing else decides, apart from sound that is asked for.
The limits were set on GRID (48 videos with faces, 817 mouth crops, 9 speakers) so that its good clips pass with room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.errors import unknown_name
from espnet_vivit.media.quality.faces import measure_faces
from espnet_vivit.media.quality.pictures import GOOD, as_gray, judge_pictures, measure_pictures
from espnet_vivit.media.quality.sound import measure_offset, measure_sound

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip

VERDICTS = ("ok", "warn", "reject")
VERDICT_COLORS = {"ok": "#2e7d32", "warn": "#b26a00", "reject": "#c62828"}
JUDGED_AS = {
    "auto": "a clip without sound is warned of",
    "video": "sound is not judged",
    "multimodal": "a clip without sound is rejected",
}
MEASURES = {  # name, also the column of report.tsv -> what it is
    "pictures": "pictures at 25 per second",
    "source_rate_hz": "pictures per second in the file",
    "broken_packets": "packets of the file that could not be decoded",
    "faces_found": "percent of the pictures in which a face was found",
    "longest_gap_s": "longest time without a face, in seconds",
    "several_faces": "percent of the pictures with more than one face",
    "eye_distance_px": "distance of the eyes in pixels of the source, median",
    "tilt_deg": "degrees by which the face is turned in the picture: 0 upright, 180 upside down",
    "face_jump": "largest move of the face from one picture to the next, in eye distances",
    "black_pictures": "number of black pictures",
    "gray_pictures": "number of pictures without contrast: a decoder's garbage, a cover before the lens",
    "foreign_pictures": "number of pictures that do not resemble the clip's typical mouth",
    "frozen_s": "longest time in which the picture stands still, in seconds, from 0.2 s on",
    "brightness": "median gray level, 0 black .. 255 white",
    "contrast": "median standard deviation of a picture's gray levels",
    "sharpness": "differences between neighbouring pixels against the contrast, median",
    "mouth_off_centre": "distance from the crop's centre of where it moves most, in percent of its side",
    "motion_below": "log of the motion below the lips over that above them; negative for a mouth upside down",
    "sound_s": "seconds of sound",
    "sound_minus_pictures_s": "sound longer (+) or shorter (-) than the pictures, in seconds",
    "level_db": "level of the loudest tenth, dB of full scale",
    "clipped": "percent of the samples at full scale",
    "av_offset_ms": "by how much the sound comes after the mouth (+) or before it (-), in milliseconds",
    "av_evidence": "how much better that offset explains the clip than none, in nats; below 12 it can be chance",
}
SILENCE_DB = -57  # level of the loudest tenth; -60 is the floor of the measurement
SURE_NATS = 12  # evidence for an offset: 1.6 % of GRID's 817 clips have as much for a wrong one
MIN_GOOD = 0.95  # share of good pictures below which the sound is not compared with them


@dataclass(frozen=True)
class Limit:
    """A measure's bounds: from `warn`, and worse from `reject`, on.

    `words` say it: {0} is the value, {1} its size, {s} the plural's letter.
    """

    measure: str
    bad: str  # "high" or "low" values
    warn: float | None
    reject: float | None
    words: str

    def verdict(self, value: float) -> str:
        """ "ok", "warn" or "reject"; what could not be measured (NaN) is ok."""
        for verdict, bound in (("reject", self.reject), ("warn", self.warn)):
            if bound is not None and (value >= bound if self.bad == "high" else value <= bound):
                return verdict
        return "ok"

    def said(self, value: float) -> str:
        return self.words.format(value, abs(value), s="" if value == 1 else "s")


LIMITS = (
    Limit("pictures", "low", 12, 4, "only {:.0f} picture{s}"),
    Limit("faces_found", "low", 95, 75, "a face is found in only {:.0f} % of the pictures"),
    Limit("broken_packets", "high", 1, None, "{:.0f} packet{s} of the file cannot be decoded"),
    Limit("longest_gap_s", "high", 0.2, 1.0, "no face for {:.2f} s"),
    Limit("gray_pictures", "high", 1, 3, "{:.0f} gray picture{s} without content (a decoder's garbage?)"),
    Limit("black_pictures", "high", 1, 5, "{:.0f} black picture{s}"),
    Limit("foreign_pictures", "high", 3, 8, "{:.0f} picture{s} unlike the rest of the clip (garbage, a cut, a hand?)"),
    Limit("frozen_s", "high", 0.4, 1.0, "the picture is frozen for {:.2f} s"),
    Limit("tilt_deg", "high", 45, 120, "the face is turned by {:.0f} degrees (upside down is 180)"),
    Limit("motion_below", "low", -0.5, None, "upside down? more motion above the lips than below (log {:.1f})"),
    Limit("several_faces", "high", 20, None, "more than one face in {:.0f} % of the pictures: is it the right one?"),
    Limit("face_jump", "high", 0.8, None, "the face jumps by {:.1f} eye distances (a cut, or another face?)"),
    Limit("eye_distance_px", "low", 24, 12, "the face is small: {:.0f} pixels between the eyes, 40 are good"),
    Limit("mouth_off_centre", "high", 16, None, "the mouth is {:.0f} % of the crop's side off its centre"),
    Limit("source_rate_hz", "low", 20, 10, "{:.3g} picture{s} per second in the file: fast movements are lost"),
    Limit("source_rate_hz", "high", 50.5, None, "{:.3g} pictures per second in the file: more than half were dropped"),
    Limit("brightness", "low", 40, None, "very dark: median gray level {:.0f} of 255"),
    Limit("contrast", "low", 14, None, "little contrast: {:.0f} gray levels"),
    Limit("sharpness", "low", 0.08, None, "blurred: sharpness {:.2f}, 0.2 is good"),
    Limit("level_db", "low", -45, None, "the sound is faint: {:.0f} dB where it is loudest"),
    Limit("clipped", "high", 1, 10, "the sound is clipped: {:.1f} % of the samples at full scale"),
    Limit("sound_minus_pictures_s", "high", 0.25, None, "the sound is {:.2f} s longer than the pictures"),
    Limit("sound_minus_pictures_s", "low", -0.25, None, "the sound is {1:.2f} s shorter than the pictures"),
    Limit("av_offset_ms", "high", 120, None, "the sound comes {:.0f} ms after the mouth"),
    Limit("av_offset_ms", "low", -120, None, "the sound comes {1:.0f} ms before the mouth"),
)
SOUND_MEASURES = {"level_db", "clipped", "sound_minus_pictures_s", "av_offset_ms"}


@dataclass(frozen=True)
class Quality:
    """The verdict on one clip, why in words (the worst first), and all MEASURES (NaN: not measured)."""

    verdict: str
    reasons: tuple[str, ...]
    measures: dict[str, float]


def assess_clip(clip: MouthClip, *, modality: str = "auto") -> Quality:
    """Measure and judge a clip. Raises ConfigError for an unknown modality; a bad clip is an answer, not an error."""
    if modality not in JUDGED_AS:
        raise unknown_name("modality", modality, JUDGED_AS)
    return judge(measure_clip(clip), modality=modality)


def with_remarks(quality: Quality, remarks: Sequence[str]) -> Quality:
    """The verdict with what is to be known about the file, which is worth a look."""
    if not remarks:
        return quality
    verdict = "warn" if quality.verdict == "ok" else quality.verdict
    return replace(quality, verdict=verdict, reasons=(*quality.reasons, *remarks))


def refused_clip(error: Exception) -> Quality:
    """The verdict on a file that could not be made a clip: reject, and what the reader said."""
    return Quality("reject", (str(error),), dict.fromkeys(MEASURES, math.nan))


def measure_clip(clip: MouthClip) -> dict[str, float]:
    """All MEASURES of a clip, in their order. Faces are not measured for `centre`, which looks for none."""
    gray = as_gray(clip.frames)
    verdicts = judge_pictures(gray, clip.source_change)
    measures = dict.fromkeys(MEASURES, math.nan)
    measures |= {"pictures": len(gray), "source_rate_hz": float(clip.source.rate_hz)}
    measures["broken_packets"] = clip.source.broken_packets
    measures |= measure_pictures(gray, verdicts) | measure_sound(clip.speech, len(gray))
    if clip.detector != "centre":
        measures |= measure_faces(clip.landmarks, clip.num_faces)
    if clip.speech is not None and np.mean(verdicts == GOOD) >= MIN_GOOD:
        measures |= measure_offset(gray, clip.speech, clip.mouth_opening)
    return measures


def judge(measures: dict[str, float], *, modality: str = "auto") -> Quality:
    """Verdict and reasons from the numbers alone."""
    found = sorted(_findings(measures, modality), key=lambda finding: -VERDICTS.index(finding[0]))
    verdict = found[0][0] if found else "ok"
    return Quality(verdict, tuple(words for _, words in found), measures)


def _findings(measures: dict[str, float], modality: str) -> Iterator[tuple[str, str]]:
    """(verdict, words) for everything that is not ok."""
    silent = math.isnan(measures["level_db"]) or measures["level_db"] <= SILENCE_DB
    sure = measures["av_evidence"] >= SURE_NATS
    for limit in LIMITS:
        if limit.measure in SOUND_MEASURES and (silent or modality == "video"):
            continue
        if limit.measure == "av_offset_ms" and not sure:
            continue
        value = measures[limit.measure]
        if (verdict := limit.verdict(value)) != "ok":
            yield verdict, limit.said(value)
    if silent and modality != "video":
        what = "no sound" if math.isnan(measures["level_db"]) else "the sound is silent"
        yield ("reject" if modality == "multimodal" else "warn"), what
