"""Each fault that is put into a good clip is found, named with its size, and nothing else is said; no good clip is."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.quality.verdict import LIMITS, MEASURES, assess_clip, judge, measure_clip, refused_clip
from tests.media.talking_mouth import Clip, talking


@pytest.fixture(scope="module")
def good() -> Clip:
    return talking(seed=3)


@pytest.mark.parametrize("seed", range(4))
def test_a_good_clip_is_ok_and_fully_measured(seed):
    quality = assess_clip(talking(seed=seed))
    assert (quality.verdict, quality.reasons) == ("ok", ())
    assert list(quality.measures) == list(MEASURES)
    assert not any(math.isnan(value) for value in quality.measures.values())


@pytest.fixture(scope="module")
def good_measures(good) -> dict[str, float]:
    return measure_clip(good)


def with_pictures(clip: Clip, first: int, last: int, pictures) -> Clip:
    frames = clip.frames.copy()
    frames[first:last] = pictures
    return replace(clip, frames=frames)


def without_face(clip: Clip, first: int, last: int) -> Clip:
    landmarks = clip.landmarks.copy()
    landmarks[first:last] = np.nan
    return replace(clip, landmarks=landmarks)


def from_source(clip: Clip, **known) -> Clip:
    return replace(clip, source=SimpleNamespace(**{**vars(clip.source), **known}))


def moved(clip: Clip, x: int) -> Clip:
    return replace(clip, frames=np.pad(clip.frames, ((0, 0), (0, 0), (x, 0)), mode="edge")[:, :, :96])


def noise(clip: Clip, pictures: int) -> np.ndarray:
    return np.random.default_rng(5).integers(60, 200, (pictures, 96, 96))


PICTURE_FAULTS = {
    "12 gray pictures": ("reject", lambda clip: with_pictures(clip, 0, 12, 128)),
    "1 gray picture without content": ("warn", lambda clip: with_pictures(clip, 50, 51, 128)),
    "10 black pictures": ("reject", lambda clip: with_pictures(clip, 40, 50, 2)),
    "1 black picture": ("warn", lambda clip: with_pictures(clip, 0, 1, 2)),
    "9 pictures unlike the rest": ("reject", lambda clip: with_pictures(clip, 30, 39, noise(clip, 9))),
    "4 pictures unlike the rest": ("warn", lambda clip: with_pictures(clip, 30, 34, noise(clip, 4))),
    "frozen for 0.60 s": ("warn", lambda clip: with_pictures(clip, 41, 56, clip.frames[40])),
    "frozen for 1.20 s": ("reject", lambda clip: with_pictures(clip, 41, 71, clip.frames[40])),
    "upside down?": ("warn", lambda clip: replace(clip, frames=clip.frames[:, ::-1])),
    "% of the crop's side off its centre": ("warn", lambda clip: moved(clip, 24)),
    "blurred": ("warn", lambda clip: replace(clip, frames=blurred(clip.frames))),
    "very dark": ("warn", lambda clip: replace(clip, frames=(clip.frames // 4))),
    "little contrast": ("warn", lambda clip: replace(clip, frames=100 + clip.frames // 3 * 2)),
    "only 3 pictures": ("reject", lambda clip: cut(clip, 3)),
}
FACE_FAULTS = {
    "no face for 0.40 s": ("warn", lambda clip: without_face(clip, 20, 30)),
    "a face is found in only 50 % of the pictures": ("reject", lambda clip: without_face(clip, 50, 100)),
    "turned by 180 degrees": ("reject", lambda clip: replace(clip, landmarks=300 - clip.landmarks)),
    "turned by 90 degrees": ("warn", lambda clip: replace(clip, landmarks=300 - clip.landmarks[:, :, ::-1] * [-1, 1])),
    "more than one face in 60 % of the pictures": ("warn", lambda clip: two_faces(clip, 60)),
    "the face jumps": ("warn", lambda clip: replace(clip, landmarks=jumping(clip.landmarks))),
    "the face is small: 18 pixels": ("warn", lambda clip: replace(clip, landmarks=clip.landmarks / 3)),
    "the face is small: 9 pixels": ("reject", lambda clip: replace(clip, landmarks=clip.landmarks / 6)),
    "15 pictures per second": ("warn", lambda clip: from_source(clip, rate_hz=15.0)),
    "8 pictures per second": ("reject", lambda clip: from_source(clip, rate_hz=8.0)),
    "2 packets of the file cannot be decoded": ("warn", lambda clip: from_source(clip, broken_packets=2)),
    "60 pictures per second": ("warn", lambda clip: from_source(clip, rate_hz=60.0)),
}
SOUND_FAULTS = {
    "the sound comes 200 ms after the mouth": ("warn", lambda clip: talking(seed=3, lag=5)),
    "the sound comes 200 ms before the mouth": ("warn", lambda clip: talking(seed=3, lag=-5)),
    "no sound": ("warn", lambda clip: replace(clip, speech=None)),
    "the sound is silent": ("warn", lambda clip: replace(clip, speech=clip.speech * 1e-5)),
    "the sound is faint": ("warn", lambda clip: replace(clip, speech=clip.speech / 50)),
    "the sound is clipped": ("warn", lambda clip: replace(clip, speech=np.clip(clip.speech * 6, -1, 1))),
    "the sound is 0.50 s shorter": ("warn", lambda clip: replace(clip, speech=clip.speech[:-8000])),
    "the sound is 0.50 s longer": ("warn", lambda clip: replace(clip, speech=np.append(clip.speech, np.zeros(8000)))),
}


def blurred(frames: np.ndarray) -> np.ndarray:
    """Out of focus; the sensor's noise stays."""
    soft = gaussian_filter(frames.astype(np.float32), (0, 3, 3))
    return np.clip(np.rint(soft + np.random.default_rng(0).normal(0, 1, frames.shape)), 0, 255).astype(np.uint8)


def cut(clip: Clip, pictures: int) -> Clip:
    names = ("frames", "landmarks", "num_faces", "mouth_opening", "source_change")
    short = {name: getattr(clip, name)[:pictures] for name in names}
    return replace(clip, **short, speech=clip.speech[: 640 * pictures])


def two_faces(clip: Clip, pictures: int) -> Clip:
    num_faces = clip.num_faces.copy()
    num_faces[:pictures] = 2
    return replace(clip, num_faces=num_faces)


def jumping(landmarks: np.ndarray) -> np.ndarray:
    """To another face, one eye distance and more to the right, from the middle on."""
    landmarks = landmarks.copy()
    landmarks[len(landmarks) // 2 :, :, 0] += 80
    return landmarks


@pytest.mark.parametrize("words", PICTURE_FAULTS | FACE_FAULTS | SOUND_FAULTS)
def test_a_fault_is_found_and_named_with_its_size(good, words):
    verdict, spoil = (PICTURE_FAULTS | FACE_FAULTS | SOUND_FAULTS)[words]
    quality = assess_clip(spoil(good))
    assert words in "; ".join(quality.reasons)
    assert quality.verdict == verdict
    if words not in PICTURE_FAULTS:  # what spoils pictures can well spoil two measures; these leave the others alone
        both = ("a face is found in only 50 % of the pictures", "no face for 0.40 s")  # each is the other, too
        assert len(quality.reasons) == (2 if words in both else 1)


def test_the_worst_reason_stands_first(good):
    spoilt = replace(with_pictures(good, 0, 12, 128), speech=None)
    assert [reason[:8] for reason in assess_clip(spoilt).reasons] == ["12 gray ", "no sound"]


def test_the_modality_decides_on_missing_sound(good):
    silent = replace(good, speech=None)
    verdicts = {
        modality: assess_clip(silent, modality=modality).verdict for modality in ("auto", "video", "multimodal")
    }
    assert verdicts == {"auto": "warn", "video": "ok", "multimodal": "reject"}
    late = talking(seed=3, lag=5)
    assert assess_clip(late).verdict == "warn" and assess_clip(late, modality="video").verdict == "ok"


def test_a_misspelt_modality_is_corrected(good):
    with pytest.raises(ConfigError, match="Did you mean 'video'"):
        assess_clip(good, modality="vidoe")


def test_mouth_crops_have_no_faces_to_miss(good):
    crops = replace(
        good, detector="centre", landmarks=np.full_like(good.landmarks, np.nan), num_faces=good.num_faces * 0
    )
    quality = assess_clip(crops)
    assert quality.verdict == "ok" and math.isnan(quality.measures["faces_found"])


def test_color_is_judged_as_its_gray(good, good_measures):
    color = replace(good, frames=np.repeat(good.frames[..., None], 3, axis=3))
    assert measure_clip(color) == pytest.approx(good_measures, rel=1e-6)


def test_a_file_that_cannot_be_read_is_rejected_with_the_readers_words():
    quality = refused_clip(MediaError("clip.mp4 holds no video frame"))
    assert (quality.verdict, quality.reasons) == ("reject", ("clip.mp4 holds no video frame",))
    assert list(quality.measures) == list(MEASURES)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.measure}-{limit.bad}")
def test_limits_hold_from_their_value_on(good_measures, limit):
    """At a limit the verdict is given, just inside it is not; what was not measured is no fault."""
    assert limit.measure in MEASURES
    measures = good_measures | {"av_evidence": 100.0}
    inwards = -1e-6 if limit.bad == "high" else 1e-6
    for verdict, bound in (("warn", limit.warn), ("reject", limit.reject)):
        if bound is not None:
            assert judge(measures | {limit.measure: bound}).verdict == verdict
            assert judge(measures | {limit.measure: bound + inwards}).verdict != verdict
    assert judge(measures | {limit.measure: math.nan}).verdict in ("ok", "warn")


@pytest.mark.parametrize(("pictures", "words"), [(1, "only 1 picture"), (2, "only 2 pictures"), (5, "only 5 pictures")])
def test_the_shortest_clips_are_judged_not_refused(good, pictures, words):
    assert words in assess_clip(cut(good, pictures)).reasons


@pytest.mark.parametrize("limit", [limit for limit in LIMITS if "{s}" in limit.words], ids=lambda limit: limit.measure)
def test_one_of_a_thing_is_said_in_the_singular(limit):
    assert not re.search(r"\b1 (gray |black )?(pictures|packets)", limit.said(1.0))
    assert re.search(r"\b2 (gray |black )?(pictures|packets)", limit.said(2.0))


def test_a_clip_of_nothing_but_black_has_a_verdict(good):
    quality = assess_clip(with_pictures(good, 0, len(good.frames), 0))
    assert quality.verdict == "reject" and "100 black pictures" in quality.reasons
