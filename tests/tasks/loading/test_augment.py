"""Crops and augmentation do what they say to pixels, samples and word times."""

import numpy as np
import pytest

from espnet_vivit.data.data_dir import WordTime
from espnet_vivit.errors import InputError
from espnet_vivit.frontend.presets import visual_preset
from espnet_vivit.tasks.loading.augment import Streams, change_speed, crop, crop_to_words, flip, join, mask_time

RESNET, LINEAR = visual_preset("resnet", {}), visual_preset("linear", {"image_size": 44})
VIVIT = visual_preset("vivit", {"image_size": 96})


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def coordinates(frames, height, width):
    """A clip whose pixels say where they come from: their row in the first half of the frames, their column after."""
    rows = np.broadcast_to(np.arange(height)[:, None], (height, width))
    columns = np.broadcast_to(np.arange(width)[None, :], (height, width))
    return np.stack([rows if t < frames // 2 else columns for t in range(frames)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("preset", "pixels", "expected"),
    [(RESNET, 96, slice(4, 92)), (RESNET, 48, slice(2, 46)), (LINEAR, 48, slice(2, 46))],
)
def test_evaluation_takes_the_centre(preset, pixels, expected):
    clip = coordinates(4, pixels, pixels)
    np.testing.assert_array_equal(crop(clip, preset, rng=None), clip[:, expected, expected])


def test_training_takes_every_place_of_a_larger_clip_the_same_in_all_frames(rng):
    clip = coordinates(4, 96, 96)
    places = set()
    for _ in range(400):
        cut = crop(clip, RESNET, rng=rng)
        assert cut.shape == (4, 88, 88)
        np.testing.assert_array_equal(cut[0], cut[1])
        places.add((int(cut[0, 0, 0]), int(cut[2, 0, 0])))
    assert {row for row, _ in places} == {column for _, column in places} == set(range(9))


def test_a_clip_of_the_vivits_own_size_is_shifted_by_four_pixels_at_most_with_its_edge_repeated(rng):
    clip = coordinates(2, 96, 96)
    np.testing.assert_array_equal(crop(clip, VIVIT, rng=None), clip)
    shifts = set()
    for _ in range(300):
        rows = crop(clip, VIVIT, rng=rng)[0, :, 0].astype(int)
        shift = rows[48] - 48
        np.testing.assert_array_equal(rows, np.clip(np.arange(96) + shift, 0, 95))
        shifts.add(shift)
    assert shifts == set(range(-4, 5))


def test_a_clip_that_is_too_small_is_an_error_with_both_sizes():
    with pytest.raises(InputError, match=r"found 48 x 48 pixels; expected at least 96 x 96"):
        crop(coordinates(2, 48, 48), VIVIT, rng=None)


def test_a_crop_need_not_be_square(rng):
    wide = visual_preset("vivit", {"image_size": [48, 96]})
    centre = crop(coordinates(2, 96, 96), wide, rng=None)
    np.testing.assert_array_equal(centre, coordinates(2, 96, 96)[:, 24:72])
    places = {tuple(crop(coordinates(4, 96, 100), wide, rng=rng)[[0, 2], 0, 0].tolist()) for _ in range(300)}
    assert {row for row, _ in places} == set(range(49)) and {column for _, column in places} == set(range(5))
    shifted = {tuple(crop(coordinates(4, 48, 96), wide, rng=rng)[[0, 2], 24, 48].tolist()) for _ in range(300)}
    assert {row - 24 for row, _ in shifted} == set(range(-2, 3)) and len({column for _, column in shifted}) == 9
    with pytest.raises(InputError, match="found 96 x 48 pixels; expected at least 48 x 96"):
        crop(coordinates(2, 96, 48), wide, rng=None)


def test_flip_mirrors_columns_only():
    clip = coordinates(4, 6, 8)
    np.testing.assert_array_equal(flip(clip)[0], clip[0])
    np.testing.assert_array_equal(flip(clip)[3][0], np.arange(8)[::-1])


def test_time_masks_hold_the_mean_picture_and_are_as_long_as_promised(rng):
    clip = rng.integers(0, 256, (75, 6, 6), dtype=np.uint8)
    mean = np.rint(clip.mean(axis=0))
    counts = []
    for _ in range(200):
        masked = mask_time(clip, masks_per_s=1.0, max_s=0.4, rng=rng)
        changed = (masked != clip).any(axis=(1, 2))
        np.testing.assert_array_equal(masked[changed], np.broadcast_to(mean, (changed.sum(), 6, 6)))
        counts.append(changed.sum())
    assert max(counts) <= 30  # three masks of at most ten frames
    assert 10 < np.mean(counts) < 18  # they may overlap


@pytest.mark.parametrize("samples", [-640, -352, 640])
def test_sound_up_to_a_frame_off_does_not_drift_further_off_with_the_speed(samples):
    video, speech = np.zeros((50, 2, 2), np.uint8), np.ones(50 * 640 + samples, np.float32)
    slow, heard, _ = change_speed(video, speech, None, speed=0.8)
    assert len(heard) == 640 * len(slow) and heard.dtype == np.float32


@pytest.mark.parametrize(("masks_per_s", "max_s"), [(0, 0.4), (1.0, 0)])
def test_time_masks_can_be_switched_off(rng, masks_per_s, max_s):
    clip = rng.integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(mask_time(clip, masks_per_s=masks_per_s, max_s=max_s, rng=rng), clip)


@pytest.mark.parametrize("speed", [0.8, 0.93, 1.1, 1.25])
def test_a_change_of_speed_keeps_sight_sound_and_words_together(speed):
    frames, event = 60, 40  # in frame 40 the picture turns white and a click is heard
    video = np.zeros((frames, 2, 2), np.uint8)
    video[event] = 255
    speech = np.zeros(frames * 640, np.float32)
    speech[event * 640 : (event + 1) * 640] = np.hanning(640)
    times = [WordTime(event / 25, (event + 1) / 25, "click")]
    fast, heard, words = change_speed(video, speech, times, speed=speed)
    assert len(fast) == round(frames / speed)
    assert len(heard) == len(fast) * 640
    centre = (np.abs(heard).argmax()) / 16000
    assert abs(centre - (words[0].start_s + words[0].end_s) / 2) < 0.002
    if speed < 1:  # nothing is skipped, so the white frame must be there
        seen = np.flatnonzero(fast[:, 0, 0] == 255)
        assert abs((seen.mean() + 0.5) / 25 - centre) <= 0.02


def test_a_faster_clip_has_a_higher_pitch():
    seconds = np.arange(16000 * 2) / 16000
    tone = np.sin(2 * np.pi * 400 * seconds).astype(np.float32)
    _, heard, _ = change_speed(None, tone, None, speed=1.25)
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(spectrum.argmax() * 16000 / len(heard) - 500) < 2


def test_words_are_cut_out_with_their_sound_and_sight(rng):
    times = [WordTime(0.2, 0.5, "a"), WordTime(0.6, 0.9, "b"), WordTime(1.3, 1.5, "c"), WordTime(1.5, 1.9, "d")]
    video = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None], (50, 2, 2))
    speech = np.repeat(np.arange(50, dtype=np.float32), 640)
    seen = set()
    for _ in range(100):
        cut, heard, kept = crop_to_words(video, speech, times, min_words=2, rng=rng)
        assert len(heard) == 640 * len(cut)
        np.testing.assert_array_equal(heard[::640], cut[:, 0, 0])
        offset = cut[0, 0, 0] / 25
        for time in kept:
            (original,) = (t for t in times if t.word == time.word)
            assert time.start_s + offset == pytest.approx(original.start_s)
            assert time.start_s >= -0.021 and time.end_s <= len(cut) / 25 + 0.021  # cut on the nearest frame
        seen.add("".join(time.word for time in kept))
    assert seen == {"ab", "bc", "cd", "abc", "bcd", "abcd"}


@pytest.mark.parametrize("off", [-300, 0, 300], ids=lambda n: f"{n} samples")
def test_what_is_joined_stays_in_step(rng, off):
    """A mark in picture, sound and word times of the second clip: at one and the same time in both, then and now."""
    frames, mark = 30, 12
    streams = []
    for length in (frames, frames + 5):
        video = np.zeros((length, 4, 4), dtype=np.uint8)
        video[mark] = 255
        speech = np.zeros(length * 640 + off, dtype=np.float32)
        speech[mark * 640] = 1
        streams.append(Streams(video, speech, [WordTime(mark / 25, (mark + 1) / 25, f"w{length}")]))
    joined = join(*streams)
    assert joined.frames == 2 * frames + 5
    np.testing.assert_array_equal(joined.video.max(axis=(1, 2)).nonzero()[0], [mark, frames + mark])
    np.testing.assert_array_equal(joined.speech.nonzero()[0], [mark * 640, (frames + mark) * 640])
    assert len(joined.speech) == joined.frames * 640 + off and joined.speech.dtype == np.float32
    assert [(round(t.start_s * 25), t.word) for t in joined.times] == [(mark, "w30"), (frames + mark, "w35")]


@pytest.mark.parametrize("missing", ["video", "speech", "times"])
def test_a_stream_that_neither_has_is_not_invented(missing):
    one = Streams(np.ones((3, 4, 4), np.uint8), np.ones(1920, np.float32), [WordTime(0, 0.1, "bin")])
    one = one._replace(**{missing: None})
    joined = join(one, one)
    assert getattr(joined, missing) is None
    assert [field for field in Streams._fields if getattr(joined, field) is not None] == [
        field for field in Streams._fields if field != missing
    ]
