"""What a camera and a microphone give, put in step: replayed with other rates, drops, drifts and faces that leave."""

import numpy as np
import pytest

from espnet_vivit.media.faces.face_stream import MouthsOnly, Sighting
from espnet_vivit.media.faces.landmarks import LandmarkStream
from espnet_vivit.media.faces.mouth_roi import center_points, crop_mouth
from espnet_vivit.media.files.frame_clock import at_video_rate
from espnet_vivit.media.live_clip import LATE_S, LOOK_AHEAD_S, LiveClip, LiveGap, LiveMouths

FACE = np.array([[101, 94], [155, 94], [128, 135], [128, 158]], np.float32)
NOBODY = np.full((4, 2), np.nan, np.float32)


class Faces:
    """Points for each picture by its index; those of `MouthsOnly` look at nothing."""

    name, sees_mouths_only = "scripted", False

    def __init__(self, points):
        self.points = points

    def look(self, picture, index):
        here = self.points(index)
        return Sighting(here, num_faces=int(np.isfinite(here).all()))


def pictures_at(rate_hz, seconds, start_s=0.0):
    """(time_s, picture): gray that tells which picture it is."""
    count = round(rate_hz * seconds)
    return [(start_s + i / rate_hz, np.full((96, 96, 3), i % 256, np.uint8)) for i in range(count)]


def sound_in(seconds, *, start_s=0.0, piece=1024, rate=1.0):
    """(time_s, samples) of a ramp that says which sample it is; `rate`: of its clock against the pictures'."""
    samples = np.arange(round(seconds * 16_000), dtype=np.float32)
    return [
        (start_s + first / 16_000 / rate, samples[first : first + piece]) for first in range(0, len(samples), piece)
    ]


def replay(mouths, pictures, sound=()):
    """All that comes out, with pictures and sound in the order of their times."""
    events = sorted([*((t, 0, x) for t, x in pictures), *((t, 1, x) for t, x in sound)], key=lambda event: event[:2])
    found = []
    for time_s, kind, value in events:
        found += mouths.sound(time_s, value) if kind else mouths.picture(time_s, value)
    return [*found, *mouths.finish()]


def frames_of(found):
    return np.concatenate([item.frames for item in found if isinstance(item, LiveClip)])


def speech_of(found):
    return np.concatenate([item.speech for item in found if isinstance(item, LiveClip)])


@pytest.mark.parametrize("rate_hz", [15, 25, 29.97, 30, 60])
def test_pictures_of_any_rate_come_as_from_a_file_of_that_rate(rate_hz):
    pictures = pictures_at(rate_hz, 4.0, start_s=7.3)
    found = replay(LiveMouths(MouthsOnly(), with_sound=False), pictures)
    first = round(7.3 * 25 - 1e-6)
    expected = list(at_video_rate([(t, 0.04, x) for t, x in pictures], first=first))
    assert frames_of(found)[:, 0, 0].tolist() == [picture[0, 0, 0] for picture in expected]
    assert abs(len(expected) - 100) <= 2


def test_dropped_frames_are_held_and_time_goes_on():
    pictures = [item for i, item in enumerate(pictures_at(25, 4.0)) if not 30 <= i < 45 and i % 7]
    found = replay(LiveMouths(MouthsOnly(), with_sound=True), pictures, sound_in(4.0))
    frames = frames_of(found)[:, 0, 0]
    assert len(frames) == 99 and frames[40] == 29 and frames[45] == 46  # the first one is dropped, too
    assert speech_of(found)[:3].tolist() == [640, 641, 642], "sound stays with its pictures"


def test_each_picture_gets_the_samples_of_its_time():
    found = replay(LiveMouths(MouthsOnly(), with_sound=True), pictures_at(25, 3.0, start_s=0.2), sound_in(4.0))
    speech = speech_of(found)
    assert len(frames_of(found)) * 640 == len(speech)
    assert (speech == np.arange(3200, 3200 + len(speech))).all()


def test_sound_that_begins_later_has_silence_before_it():
    found = replay(LiveMouths(MouthsOnly(), with_sound=True), pictures_at(25, 3.0), sound_in(2.5, start_s=0.5))
    speech = speech_of(found)
    assert not speech[:8000].any() and speech[8001] == 1 and len(speech) == 75 * 640


@pytest.mark.parametrize("rate", [0.995, 1.005])
def test_sound_that_drifts_stays_within_a_fraction_of_a_frame(rate):
    """Its clock gains or loses 5 ms in each second; a minute makes 0.3 s, which no lip reader would bear."""
    found = replay(LiveMouths(MouthsOnly(), with_sound=True), pictures_at(25, 60.0), sound_in(61.0, rate=rate))
    speech = speech_of(found)
    true = np.arange(len(speech)) * rate
    heard = speech > 0
    assert np.abs(speech - true)[heard].max() <= 0.04 * 16_000 and heard.mean() > 0.99


def test_sound_that_stops_does_not_stop_the_pictures():
    found = replay(LiveMouths(MouthsOnly(), with_sound=True), pictures_at(25, 10.0), sound_in(3.0))
    assert len(frames_of(found)) == 250
    speech = speech_of(found)
    assert (speech[:48_000] == np.arange(48_000)).all() and not speech[48_000:].any()
    assert LATE_S <= 1.0


def test_mouths_are_those_of_files():
    """Oracle: `LandmarkStream` over the whole clip at once, as mouth_clip.py reads files."""
    rng = np.random.default_rng(0)
    points = [FACE + rng.normal(0, 2, (4, 2)).astype(np.float32) for _ in range(60)]
    pictures = [(i / 25, rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)) for i in range(60)]
    found = replay(LiveMouths(Faces(points.__getitem__), with_sound=False), pictures)
    smoother = LandmarkStream(max_gap_s=1.0, fallback=center_points(256, 256))
    expected = [done for (_, x), p in zip(pictures, points, strict=True) for done in smoother.push(x, p, track=0)]
    expected += smoother.finish()
    assert (frames_of(found) == np.stack([crop_mouth(*done) for done in expected])).all()


def test_a_mouth_is_there_as_soon_as_the_look_ahead_is_over():
    mouths = LiveMouths(Faces(lambda index: FACE), with_sound=False)
    given = []
    for time_s, picture in pictures_at(25, 2.0):
        given.append(sum(len(item.frames) for item in mouths.picture(time_s, picture)))
    # The clock waits for the next picture, smoothing for six more.
    assert given.index(1) == 1 + round(LOOK_AHEAD_S * 25) and set(given[7:]) == {1}


def test_a_face_that_leaves_and_comes_back_is_a_gap_and_nothing_is_lost():
    away = range(50, 120)
    faces = Faces(lambda index: NOBODY if index in away else FACE)
    found = replay(LiveMouths(faces, with_sound=True), pictures_at(25, 8.0), sound_in(8.0))
    gaps = [item for item in found if isinstance(item, LiveGap)]
    assert [(gap.frames, gap.reason) for gap in gaps] == [(70, "no face")] and gaps[0].seconds == 2.8
    before, behind = found[: found.index(gaps[0])], found[found.index(gaps[0]) + 1 :]
    assert len(frames_of(before)) == 50 and len(frames_of(behind)) == 80
    assert speech_of(behind)[0] == 120 * 640


def test_a_face_that_is_missed_for_a_moment_is_bridged():
    faces = Faces(lambda index: NOBODY if 20 <= index < 40 else FACE)
    found = replay(LiveMouths(faces, with_sound=False), pictures_at(25, 4.0))
    assert all(isinstance(item, LiveClip) for item in found) and len(frames_of(found)) == 100


def test_nobody_at_all_is_one_gap():
    found = replay(LiveMouths(Faces(lambda index: NOBODY), with_sound=True), pictures_at(25, 4.0), sound_in(4.0))
    assert [item.frames for item in found] == [100]


def test_an_hour_of_pictures_is_not_kept():
    mouths = LiveMouths(MouthsOnly(), with_sound=True)
    for time_s, picture in pictures_at(25, 40.0):
        for _ in [*mouths.picture(time_s, picture), *mouths.sound(time_s, np.zeros(640, np.float32))]:
            pass
    assert len(mouths._ready) <= 2 and len(mouths._sound._held) <= 2 * 640
