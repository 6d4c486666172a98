"""Cutting: pieces are bounded, every frame is decoded, and cuts lie in pauses where there are any."""

import dataclasses
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.media.quality.verdict import LIMITS
from espnet_vivit.transcription.activity import activity, mouth_motion
from espnet_vivit.transcription.cutting import FORCED_OVERLAP_S, FREEZE_S, Stretch, cut_into_pieces

RATE_HZ, SAMPLES = 25, 640


@dataclass(frozen=True)
class Clip:
    """What cutting looks at of a MouthClip."""

    frames: np.ndarray
    landmarks: np.ndarray
    mouth_opening: np.ndarray
    num_faces: np.ndarray
    source_change: np.ndarray
    speech: None = None


def clip_of(frames, first=0):
    count, opening = len(frames), np.arange(first, first + len(frames), dtype=np.float32)
    return Clip(frames, np.zeros((count, 4, 2), np.float32), opening, np.ones(count, np.int16), opening)


def sound(spoken):
    """(640 T,) float32: noise where a frame is spoken, faint noise elsewhere."""
    level = np.where(np.asarray(spoken, bool), 0.1, 0.001).repeat(SAMPLES)
    return (level * np.random.default_rng(0).standard_normal(len(level))).astype(np.float32)


def mouth(spoken, face=60):
    """(T, 24, 24) uint8: a picture that changes where a frame is spoken, camera noise elsewhere."""
    rng = np.random.default_rng(1)
    moved = np.cumsum(np.asarray(spoken, int))[:, None, None] % 2 * 9
    return (face + moved + rng.integers(0, 3, (len(spoken), 24, 24))).astype(np.uint8)


def sentences(*lengths, pause=10):
    """True where a frame is spoken: sentences of so many frames with pauses around them."""
    spoken = [False] * pause
    for length in lengths:
        spoken += [True] * length + [False] * pause
    return np.array(spoken)


def stretches(spoken, *, streams=("video", "speech"), step=100):
    frames = mouth(spoken) if "video" in streams else None
    speech = sound(spoken) if "speech" in streams else None
    for begin in range(0, len(spoken), step):
        end = min(begin + step, len(spoken))
        yield Stretch(
            begin,
            None if frames is None else clip_of(frames[begin:end], begin),
            None if speech is None else speech[begin * SAMPLES : end * SAMPLES],
        )


STREAMS = pytest.mark.parametrize("streams", [("video",), ("speech",), ("video", "speech")])


@STREAMS
def test_cuts_lie_in_the_pauses(streams):
    spoken = sentences(60, 45, 70, 52, 66, 40, 58)
    pieces = list(cut_into_pieces(stretches(spoken, streams=streams), longest_s=6.0))
    assert len(pieces) > 3
    for piece in pieces[1:]:
        at = round(piece.start_s * RATE_HZ)
        assert not spoken[at - 1 : at + 1].any()
    shared = sum(len(piece.stretch) for piece in pieces) - len(spoken)
    assert 0 < shared <= 10 * (len(pieces) - 1)  # the pauses alone are decoded twice


@STREAMS
@pytest.mark.parametrize("step", [30, 100, 1000])
def test_every_frame_is_decoded_once_owned_and_pieces_are_bounded(streams, step):
    spoken = sentences(60, 200, 31, 400, 17, 90, 5)
    whole = next(stretches(spoken, streams=streams, step=10_000))
    pieces = list(cut_into_pieces(stretches(spoken, streams=streams, step=step), longest_s=4.0))
    assert pieces[0].start_s == 0 and pieces[-1].end_s == len(spoken) / RATE_HZ
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        begin, end = piece.stretch.first, piece.stretch.first + len(piece.stretch)
        assert end - begin <= 100 and begin / RATE_HZ <= piece.start_s < piece.end_s <= end / RATE_HZ
        if following is not None:
            assert piece.end_s == following.start_s
        if "speech" in streams:
            np.testing.assert_array_equal(piece.stretch.speech, whole.speech[begin * SAMPLES : end * SAMPLES])
        if "video" in streams:
            for name in ("frames", "mouth_opening", "source_change"):
                np.testing.assert_array_equal(
                    getattr(piece.stretch.clip, name), getattr(whole.clip, name)[begin:end], err_msg=name
                )


def test_a_piece_ends_where_another_face_begins():
    spoken = sentences(30, 25)
    frames = np.concatenate([mouth(spoken), mouth(spoken, face=120)])
    stretch = Stretch(0, clip_of(frames), sound(np.tile(spoken, 2)))
    first, second = cut_into_pieces([stretch], longest_s=8.0)
    assert first.end_s == second.start_s == len(spoken) / RATE_HZ
    garbage = np.concatenate([mouth(spoken), mouth(spoken[:5], face=120), mouth(spoken)])  # no piece of its own
    pieces = list(cut_into_pieces([Stretch(0, clip_of(garbage), None)], longest_s=8.0))
    assert min(piece.end_s - piece.start_s for piece in pieces) >= 12 / RATE_HZ


def frozen_between(spoken, still, *, known, step=1000):
    """Stretches of `spoken`, its last picture `still` times more, and `spoken` again; `frozen` marks the repetitions.

    known: whether the source's changes were measured; else they are those of the pictures.
    """
    frames = mouth(spoken)
    frames = np.concatenate([frames, frames[-1:].repeat(still, axis=0), frames])
    frozen = np.repeat([False, True, False], [len(spoken), still, len(spoken)])
    change = np.where(frozen, 0.0, 0.05) if known else np.full(len(frames), np.nan)
    clip = dataclasses.replace(clip_of(frames), source_change=change.astype(np.float32))
    return [Stretch(0, clip, None)[begin : begin + step] for begin in range(0, len(frames), step)], frozen


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("step", [40, 1000])
def test_a_frozen_picture_takes_no_sentence_along(known, step):
    for length, still in [*((55, still) for still in range(25, 330, 13)), (55, 25), (30, 26), (97, 60)]:
        made, frozen = frozen_between(sentences(length), still, known=known, step=step)
        pieces = list(cut_into_pieces(made, longest_s=4.8))
        ends = [round(piece.end_s * RATE_HZ) for piece in pieces]
        assert {length + 20, length + 20 + still} < set(ends), (length, still)
        for piece, end in zip(pieces, ends, strict=True):
            own = frozen[round(piece.start_s * RATE_HZ) : end]
            assert own.all() or not own.any()
            assert len(own) >= 12 and len(piece.stretch) <= 120


@pytest.mark.parametrize("known", [True, False])
def test_a_moment_without_change_is_no_boundary(known):
    made, _ = frozen_between(sentences(50), 23, known=known)
    moving = [dataclasses.replace(part, clip=clip_of(part.clip.frames)) for part in made]
    pieces, before = (list(cut_into_pieces(parts, longest_s=4.0)) for parts in (made, moving))
    assert [(p.start_s, p.end_s, len(p.stretch)) for p in pieces] == [
        (p.start_s, p.end_s, len(p.stretch)) for p in before
    ]


def test_a_slide_show_is_one_long_freeze():
    shown = np.random.default_rng(2).integers(80, 100, (20, 24, 24), dtype=np.uint8).repeat(50, axis=0)
    spoken = np.resize(sentences(60, 45), 1000)
    change = np.where(np.arange(1000) % 50, 0.0, 0.05).astype(np.float32)
    clip = clip_of(shown)
    slides, film = (
        list(cut_into_pieces([Stretch(0, each, sound(spoken))], longest_s=6.0))
        for each in (dataclasses.replace(clip, source_change=change), clip)
    )
    assert [piece.end_s for piece in slides] == [piece.end_s for piece in film]


def test_what_counts_as_a_freeze_is_what_would_be_rejected():
    assert [limit.reject for limit in LIMITS if limit.measure == "frozen_s"] == [FREEZE_S]


def test_speech_without_a_pause_is_cut_with_an_overlap():
    spoken = np.ones(400, bool)
    first, second, *_ = cut_into_pieces(stretches(spoken), longest_s=5.0)
    shared_s = (first.stretch.first + len(first.stretch) - second.stretch.first) / RATE_HZ
    assert shared_s == pytest.approx(FORCED_OVERLAP_S, abs=0.05)
    assert first.end_s - second.stretch.first / RATE_HZ == pytest.approx(FORCED_OVERLAP_S / 2, abs=0.03)


def test_what_fits_is_one_piece():
    (piece,) = cut_into_pieces(stretches(sentences(50)), longest_s=5.0)
    assert (piece.start_s, piece.end_s, len(piece.stretch)) == (0.0, 70 / RATE_HZ, 70)
    assert list(cut_into_pieces([], longest_s=5.0)) == []


def test_no_crumb_is_left_at_the_end():
    for extra in range(1, 30):
        pieces = list(cut_into_pieces(stretches(np.ones(100 + extra, bool)), longest_s=4.0))
        assert min(len(piece.stretch) for piece in pieces) >= 12


def test_the_look_decides_where_the_sound_is_noise():
    spoken = sentences(60, 45, 70)
    noise = sound(np.ones_like(spoken))
    stretch = Stretch(0, clip_of(mouth(spoken)), noise)
    cut = next(cut_into_pieces([stretch], longest_s=6.0))
    assert not spoken[round(cut.end_s * RATE_HZ)]


def test_a_still_recording_counts_as_active_all_along():
    still = np.full((50, 24, 24), 90, np.uint8)
    assert activity(still, None).tolist() == [1.0] * 50
    assert mouth_motion(still[:1]).tolist() == [0.0]


def test_a_limit_that_holds_no_words_is_refused():
    with pytest.raises(ConfigError, match=r"found 1.0 s; expected >= 2.0 s"):
        next(cut_into_pieces([], longest_s=1.0))


def test_memory_does_not_grow_with_the_recording():
    def peak(seconds):
        spoken = np.resize(sentences(60, 45, 70), 100)
        tracemalloc.start()
        made = (Stretch(i * 100, None, sound(spoken)) for i in range(seconds // 4))
        count = sum(1 for _ in cut_into_pieces(made, longest_s=8.0))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count > seconds / 9
        return found

    peak(12)
    assert peak(600) < 1.5 * peak(24)
