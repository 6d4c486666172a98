from dataclasses import replace

import numpy as np
import pytest

from espnet_vivit.base.random_state import rng_for
from espnet_vivit.corpora.mini_av.mouth import Look, render_mouth
from espnet_vivit.corpora.mini_av.speakers import SEEN_SPEAKERS, UNSEEN_SPEAKERS, make_speaker
from espnet_vivit.corpora.mini_av.speech import Span
from espnet_vivit.corpora.mini_av.visemes import PARAMETERS, VISEMES, mouth_shapes, vary, viseme_spans, visemes_of
from espnet_vivit.errors import DataError

OPENING, WIDTH, ROUNDING, TEETH, TONGUE, TUCK = range(6)


def phonemes(*names: str, length_s: float = 0.1) -> list[Span]:
    return [Span(i * length_s, (i + 1) * length_s, name) for i, name in enumerate(names)]


def still(name: str, look: Look, *, size: int = 48) -> np.ndarray:
    """(size, size) float: one viseme's target, without the camera's noise."""
    quiet = replace(look, noise=0.0)
    return render_mouth(np.array([VISEMES[name].targets]), quiet, rng_for(0, "still"), size=size)[0].astype(float)


def test_targets_stay_in_the_ranges_of_the_parameters():
    assert len(VISEMES) == 16
    for viseme in VISEMES.values():
        assert len(viseme.targets) == len(viseme.dominance) == len(PARAMETERS)
        assert all((-1 if i == WIDTH else 0) <= value <= 1 for i, value in enumerate(viseme.targets))
        assert min(viseme.dominance) > 0 and viseme.reach_s > 0


def test_stress_marks_do_not_change_a_viseme_and_an_unknown_phoneme_is_named():
    assert visemes_of("'eI") == visemes_of(",eI") == visemes_of("eI") == ("eh", "ee")
    with pytest.raises(DataError, match="'Q9'"):
        visemes_of("Q9")


@pytest.mark.parametrize(
    ("middle", "parameter", "low", "high"),
    [
        ("b", OPENING, 0, 0.08),
        ("f", TUCK, 0.8, 1),
        ("w", ROUNDING, 0.75, 1),
        ("T", TONGUE, 0.7, 1),
        ("A:", OPENING, 0.5, 1),
    ],
)
def test_a_sound_reaches_what_makes_it_visible_between_any_neighbours(middle, parameter, low, high):
    for neighbour in ("A:", "i:", "u:", "s"):
        spans = viseme_spans(phonemes(neighbour, middle, neighbour), lead_s=0.2)
        shapes = mouth_shapes(spans, 18)
        inside = shapes[[frame for frame in range(18) if 0.3 <= (frame + 0.5) / 25 < 0.4], parameter]
        closest = inside.min() if high < 0.5 else inside.max()
        assert low - 1e-9 <= closest <= high + 1e-9, neighbour


def test_rounding_begins_before_the_rounded_vowel():
    """What Cohen and Massaro's functions are made for: the /s/ of "soon" is rounder than that of "see"."""
    frame_of_s = 6
    rounded, spread = (
        mouth_shapes(viseme_spans(phonemes("s", vowel), lead_s=0.2), 15)[frame_of_s] for vowel in ("u:", "i:")
    )
    assert rounded[ROUNDING] > spread[ROUNDING] + 0.1
    assert rounded[WIDTH] < spread[WIDTH]


def test_the_mouth_rests_before_and_after_the_speech():
    shapes = mouth_shapes(viseme_spans(phonemes("A:"), lead_s=0.4), 24)
    rest = np.array(VISEMES["rest"].targets)
    np.testing.assert_allclose(shapes[[0, 1, -1]], np.tile(rest, (3, 1)), atol=1e-3)


def test_a_later_start_moves_the_shapes_and_changes_nothing_else():
    words = phonemes("b", "aI", "T", "r", "i:")
    early, late = (mouth_shapes(viseme_spans(words, lead_s=lead_s), 30) for lead_s in (0.20, 0.28))
    np.testing.assert_allclose(late[2:], early[:-2], atol=1e-6)


def test_a_speakers_gain_scales_what_it_names():
    spans = viseme_spans(phonemes("A:"), lead_s=0.2)
    plain, wide = mouth_shapes(spans, 12), mouth_shapes(spans, 12, gain={"opening": 1.1})
    np.testing.assert_allclose(wide[:, OPENING], 1.1 * plain[:, OPENING])
    np.testing.assert_allclose(wide[:, 1:], plain[:, 1:])


def test_variation_moves_targets_and_times_by_the_stated_amounts():
    spans = viseme_spans(phonemes(*["A:"] * 2000), lead_s=0.2)
    moved, offsets = vary(spans, rng_for(0, "vary"), 0.2)
    shifts_s = np.array([after.start_s - before.start_s for before, after in zip(spans, moved, strict=True)])
    assert offsets.std() == pytest.approx(0.2, rel=0.05) and abs(offsets.mean()) < 0.01
    assert shifts_s.std() == pytest.approx(0.02, rel=0.05)
    np.testing.assert_allclose([s.end_s - s.start_s for s in moved], [s.end_s - s.start_s for s in spans])
    still_spans, none = vary(spans, rng_for(0, "vary"), 0.0)
    assert still_spans == spans and not none.any()


def test_offsets_reach_the_shapes():
    spans = viseme_spans(phonemes("A:", length_s=0.4), lead_s=0.2)
    offsets = np.zeros((len(spans), 6))
    offsets[1, TONGUE] = 0.3
    difference = mouth_shapes(spans, 20, offsets=offsets) - mouth_shapes(spans, 20)
    assert difference[9, TONGUE] == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(np.delete(difference, TONGUE, axis=1), 0)


@pytest.mark.parametrize("size", [48, 64, 96])
def test_pictures_are_gray_bytes_of_the_size_asked_for(size):
    picture = render_mouth(np.zeros((5, 6)), Look(), rng_for(0, "x"), size=size)
    assert picture.shape == (5, size, size) and picture.dtype == np.uint8
    assert 10 < picture.std() < 80


def test_the_same_mouth_is_drawn_at_every_size():
    for name in VISEMES:
        small, large = still(name, Look(), size=48), still(name, Look(), size=96)
        halved = large.reshape(48, 2, 48, 2).mean((1, 3))
        assert np.abs(halved - small).mean() < 2.5
        assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.98


def test_an_open_mouth_is_darker_inside_and_shut_lips_show_no_hole():
    for name in SEEN_SPEAKERS + UNSEEN_SPEAKERS:
        look = make_speaker(name, seed=0).look
        dark = {viseme: np.sum(still(viseme, look) < look.cavity + 25) for viseme in ("p", "uh", "ah")}
        assert dark["p"] < dark["uh"] < dark["ah"]
        assert dark["ah"] > 60


def test_teeth_are_bright_where_they_are_shown():
    look = Look()
    assert still("s", look)[18:32, 16:32].max() > still("aw", look)[18:32, 16:32].max() + 25


def test_all_visemes_differ_to_the_eye_by_more_than_the_cameras_noise():
    for speaker in ("m01", "m04", "m11"):
        look = make_speaker(speaker, seed=0).look
        pictures = {name: still(name, look) for name in VISEMES}
        for one in VISEMES:
            for other in VISEMES:
                if one < other and {one, other} != {"p", "rest"}:  # closed lips are closed lips
                    assert np.abs(pictures[one] - pictures[other]).max() > 4 * look.noise, (one, other)


def test_speakers_look_and_sound_different_and_come_from_the_seed():
    speakers = [make_speaker(name, seed=0) for name in SEEN_SPEAKERS + UNSEEN_SPEAKERS]
    assert len(SEEN_SPEAKERS) >= 8 and len(UNSEEN_SPEAKERS) >= 4
    assert not set(SEEN_SPEAKERS) & set(UNSEEN_SPEAKERS)
    assert len({speaker.voice.variant for speaker in speakers}) == len(speakers)
    assert len({speaker.look.skin for speaker in speakers}) == len(speakers)
    assert make_speaker("m03", seed=0) == speakers[2] != make_speaker("m03", seed=1)


def test_names_decide_random_numbers():
    assert rng_for(0, "a", "b").random() == rng_for(0, "a", "b").random()
    others = [rng_for(0, "ab"), rng_for(0, "b", "a"), rng_for(1, "a", "b"), rng_for(0, "a", "b", "")]
    assert len({rng.random() for rng in [rng_for(0, "a", "b"), *others]}) == 5
