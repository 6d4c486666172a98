"""From a file to mouth crops: against reference crops, in pieces as in one, with gaps, several faces and bad input."""

import dataclasses
import os
import shutil
import subprocess

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, InputError, MediaError
from espnet_vivit.media.faces.detectors import haar, mediapipe
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.faces.landmarks import SMOOTHED_FRAMES, LandmarkStream, NoFaceError
from espnet_vivit.media.faces.mouth_roi import REFERENCE, center_points, crop_matrix, crop_mouth, similarity
from espnet_vivit.media.faces.tracking import FORGET_S, FaceTracker, same_face
from espnet_vivit.media.files.video_file import read_video, write_gray_video
from espnet_vivit.media.mouth_clip import read_mouth_clip, stream_mouth_clips
from espnet_vivit.media.quality.verdict import assess_clip
from tests.media.videos import numbered, write_video

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'espnet-vivit[media]'")
NOWHERE = np.full((4, 2), np.nan)


@pytest.fixture(scope="session")
def grid(shared_dir):
    return shared_dir / "data/grid"


@pytest.fixture
def face_video(tmp_path):
    """40 pictures of 96×128 with noise, and landmarks that wander and turn."""
    random = np.random.default_rng(3)
    picture = random.integers(0, 256, (96, 128, 3), np.uint8)
    pictures = [np.roll(picture, shift, axis=1) for shift in range(40)]
    path = write_video(tmp_path / "face.mkv", pictures, codec="ffv1", pixel_format="bgr0", speech=np.zeros(25600))
    points = (REFERENCE - 128) * 0.2 + [64, 48]
    return path, (points + random.normal(0, 1.5, (40, 1, 2)) + random.normal(0, 0.2, (40, 4, 2))).astype(np.float32)


def mean_windows(landmarks: np.ndarray) -> np.ndarray:
    """The definition, picture by picture."""
    out = []
    for index in range(len(landmarks)):
        reach = min(SMOOTHED_FRAMES // 2, index, len(landmarks) - 1 - index)
        out.append(landmarks[index - reach : index + reach + 1].astype(np.float64).mean(axis=0))
    return np.stack(out)


def test_crops_match_the_reference_within_a_gray_level(grid):
    """All twelve: mean ≤ 1.0 and 99th percentile ≤ 4 gray levels. The mouth of the reference would err by more."""
    paths = sorted((grid / "lossless").glob("*/*.mkv"))
    assert len(paths) == 12
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        reference = read_video(path)
        clip = read_mouth_clip(grid / f"original/{name}.mpg", landmarks=grid / f"landmarks/{name}.npy")
        assert clip.detector == "precomputed" and len(clip.frames) == len(reference)
        error = np.abs(clip.frames.astype(int) - reference)
        assert error.mean() <= 1.0 and np.percentile(error, 99) <= 4, name
        shifted = np.abs(np.roll(clip.frames, 1, axis=2).astype(int) - reference)
        assert shifted.mean() > 1.0  # so the bound tells one pixel


@pytest.mark.parametrize("frames", [1, 2, 12, 13, 14, 40])
def test_smoothing_is_the_mean_over_a_window_that_shrinks_on_both_sides(frames):
    landmarks = np.random.default_rng(0).normal(size=(frames, 4, 2))
    stream = LandmarkStream(max_gap_s=0.0, fallback=landmarks[0])
    steps = [step for points in landmarks for step in stream.push(None, points, track=0)]
    smoothed = np.stack([points for _, points in (*steps, *stream.finish())])
    np.testing.assert_allclose(smoothed, mean_windows(landmarks), atol=1e-12)


def test_similarity_is_the_least_squares_one():
    """Against a general solver of the four linear unknowns."""
    points = REFERENCE * 0.7 + np.random.default_rng(0).normal(0, 3, (4, 2))
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, x, y = np.linalg.lstsq(np.array(rows), REFERENCE.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(points), [[a, -b, x], [b, a, y]], atol=1e-9)


@pytest.mark.parametrize("size", [48, 96, 128])
def test_the_mouth_is_in_the_middle_of_the_crop(size):
    points = (REFERENCE - 128) * 0.8 + [150, 130]
    matrix = crop_matrix(points, size)
    np.testing.assert_allclose(matrix[:, :2] @ points[3] + matrix[:, 2], [size / 2, size / 2])
    picture = np.zeros((300, 300, 3), np.uint8)
    cv2.circle(picture, tuple(int(v) for v in points[3].round()), 4, (255, 255, 255), -1)
    crop = crop_mouth(picture, points, size=size)
    where = np.argwhere(crop > 128).mean(axis=0)
    assert np.abs(where - size / 2).max() < 1.5
    assert crop_mouth(picture, points, size=size, color="rgb").shape == (size, size, 3)


def gaps_bridged(landmarks, **options):
    stream = LandmarkStream(**({"max_gap_s": 1.0, "fallback": center_points(100, 100)} | options))
    done = [step for i, points in enumerate(landmarks) for step in stream.push(i, points, track=0)]
    done += stream.finish()
    assert [item for item, _ in done] == list(range(len(done)))
    return np.array([points for _, points in done]), stream


def test_gaps_are_bridged_by_straight_lines_and_held_at_the_ends():
    line = np.arange(60)[:, None, None] * np.ones((4, 2))
    holed = line.copy()
    holed[:5], holed[20:40], holed[-4:] = np.nan, np.nan, np.nan
    expected = line.copy()
    expected[:5], expected[-4:] = 5, 55
    bridged, _ = gaps_bridged(holed)
    np.testing.assert_allclose(bridged, mean_windows(expected))


def test_a_gap_that_is_too_long_gives_what_lies_before_and_refuses():
    landmarks = np.ones((80, 4, 2))
    landmarks[30:] = np.nan
    stream = LandmarkStream(max_gap_s=1.0, fallback=center_points(100, 100))
    done = []
    for index, points in enumerate(landmarks):
        done += stream.push(index, points, track=0)
        if stream.refused:
            break
    assert index == 30 + 25 and stream.gap == 26
    assert [item for item, _ in (*done, *stream.finish())] == list(range(30))


def test_with_an_infinite_gap_nothing_is_refused_and_the_last_place_holds():
    landmarks = np.ones((300, 4, 2))
    landmarks[30:290] = np.nan
    landmarks[290:] = 3
    bridged, _ = gaps_bridged(landmarks, max_gap_s=float("inf"))
    assert len(bridged) == 300 and (bridged[:280] == 1).all() and (bridged[299] == 3).all()
    nothing, _ = gaps_bridged(np.full((200, 4, 2), np.nan), max_gap_s=float("inf"))
    np.testing.assert_allclose(nothing, np.broadcast_to(center_points(100, 100), (200, 4, 2)))


def test_no_line_leads_from_one_face_to_another():
    """Seen for 10 pictures, missing for 5, then another face: until it comes, the first one's place holds."""
    stream = LandmarkStream(max_gap_s=1.0, fallback=center_points(100, 100))
    landmarks = np.repeat([10.0, np.nan, 90.0], [10, 5, 20])[:, None, None] * np.ones((4, 2))
    done = [step for i, points in enumerate(landmarks) for step in stream.push(i, points, track=int(i >= 15))]
    expected = np.repeat([10.0, 90.0], [15, 20])[:, None, None] * np.ones((4, 2))
    np.testing.assert_allclose([points for _, points in (*done, *stream.finish())], expected)


def test_nothing_is_smoothed_across_a_change_of_face():
    stream = LandmarkStream(max_gap_s=1.0, fallback=center_points(100, 100))
    landmarks = np.repeat([10.0, 90.0], 20)[:, None, None] * np.ones((4, 2))
    done = [step for i, points in enumerate(landmarks) for step in stream.push(i, points, track=i // 20)]
    np.testing.assert_allclose([points for _, points in (*done, *stream.finish())], landmarks)


@pytest.mark.parametrize("chunk_s", [0.04, 0.28, 1.0, 1.6, 9.0])
def test_pieces_put_together_are_the_whole(face_video, chunk_s):
    path, landmarks = face_video
    landmarks[10:14] = np.nan
    whole = read_mouth_clip(path, landmarks=landmarks)
    pieces = list(stream_mouth_clips(path, landmarks=landmarks, chunk_s=chunk_s))
    assert len(pieces) == -(-40 // round(chunk_s * 25))
    for name in ("frames", "landmarks", "mouth_opening", "num_faces", "speech"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in pieces]), getattr(whole, name), name)
    np.testing.assert_array_equal(whole.landmarks, landmarks)
    assert whole.num_faces.tolist() == [1] * 10 + [0] * 4 + [1] * 26
    assert whole.frames.shape == (40, 96, 96) and len(whole.speech) == 25600
    assert set(whole.seconds) == {"decode", "detect", "crop", "audio"}


def test_crops_are_those_of_opencvs_warp_of_each_picture(face_video):
    path, landmarks = face_video
    clip = read_mouth_clip(path, landmarks=landmarks, color="rgb", size=64)
    assert clip.frames.shape == (40, 64, 64, 3)
    from espnet_vivit.media.files.source import open_source

    with open_source(path) as source:
        pictures = list(source.frames())
    for index, points in enumerate(mean_windows(landmarks)):
        np.testing.assert_array_equal(clip.frames[index], crop_mouth(pictures[index], points, size=64, color="rgb"))


def test_nothing_is_smoothed_across_a_cut(tmp_path):
    """One face in two shots, 12 pixels apart: each shot's crops are those of the shot alone."""
    rng = np.random.default_rng(3)
    blurred = [cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), (0, 0), 3) for _ in range(2)]
    noise = rng.integers(-3, 4, (40, 96, 128, 3))
    pictures = np.stack([np.clip(blurred[i // 20].astype(int) + noise[i], 0, 255).astype(np.uint8) for i in range(40)])
    here = (REFERENCE - 128) * 0.2 + [58, 48] + rng.normal(0, 0.3, (40, 1, 2))
    landmarks = (here + np.repeat([0, 12], 20)[:, None, None]).astype(np.float32)
    path = write_video(tmp_path / "cut.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    clip = read_mouth_clip(path, landmarks=landmarks)
    for shot in (slice(0, 20), slice(20, 40)):
        expected = [
            crop_mouth(picture, points)
            for picture, points in zip(pictures[shot], mean_windows(landmarks[shot]), strict=True)
        ]
        np.testing.assert_array_equal(clip.frames[shot], expected)
    still = write_video(tmp_path / "still.mkv", pictures[:20].repeat(2, axis=0), codec="ffv1", pixel_format="bgr0")
    moved = read_mouth_clip(still, landmarks=landmarks)  # a leap of the detector, or a nod: not a cut
    expected = [crop_mouth(p, m) for p, m in zip(pictures[:20].repeat(2, axis=0), mean_windows(landmarks), strict=True)]
    np.testing.assert_array_equal(moved.frames, expected)


def test_a_frozen_source_shows_although_the_points_tremble(tmp_path):
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    pictures[15:35] = pictures[15]
    write_video(tmp_path / "frozen.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    landmarks = (center_points(96, 128) + rng.normal(0, 0.5, (40, 4, 2))).astype(np.float32)
    landmarks[20] = np.nan
    clip = read_mouth_clip(tmp_path / "frozen.mkv", landmarks=landmarks)
    still = np.zeros(40, bool)
    still[16:35] = True
    assert np.isnan(clip.source_change[0]) and (clip.source_change[still] == 0).all()
    assert (clip.source_change[1:][~still[1:]] > 0.5).all()
    assert "frozen for 0.76 s" in "; ".join(assess_clip(clip).reasons)
    unseen = dataclasses.replace(clip, source_change=np.full(40, np.nan))
    assert "frozen" not in "; ".join(assess_clip(unseen).reasons), "the crops alone would not tell"
    pieces = list(stream_mouth_clips(tmp_path / "frozen.mkv", landmarks=landmarks, chunk_s=0.4))
    np.testing.assert_array_equal(np.concatenate([piece.source_change for piece in pieces]), clip.source_change)


def test_no_face_is_an_error_with_its_span(face_video):
    path, landmarks = face_video
    landmarks[6:16] = np.nan
    with pytest.raises(NoFaceError, match=r"face\.mkv shows no face from 0\.24 to 0\.64 s") as caught:
        read_mouth_clip(path, landmarks=landmarks, max_gap_s=0.2)
    assert (caught.value.start_s, caught.value.end_s) == (0.24, 0.64)
    pieces = []
    with pytest.raises(NoFaceError):
        for piece in stream_mouth_clips(path, landmarks=landmarks, max_gap_s=0.2, chunk_s=0.16):
            pieces.append(piece)
    assert sum(len(piece.frames) for piece in pieces) == 6
    rest = read_mouth_clip(path, landmarks=landmarks, max_gap_s=0.2, start_s=caught.value.end_s)
    assert len(rest.frames) == 24
    import pickle

    assert pickle.loads(pickle.dumps(caught.value)).end_s == 0.64


@pytest.mark.parametrize("size", [96, 60])
def test_centre_takes_mouths_as_they_are(tmp_path, size):
    clip = np.random.default_rng(0).integers(0, 256, (5, 96, 96), np.uint8)
    write_gray_video(tmp_path / "mouth.mkv", clip)
    read = read_mouth_clip(tmp_path / "mouth.mkv", detector="centre", size=size)
    assert read.frames.shape == (5, size, size) and np.isnan(read.landmarks).all() and read.speech is None
    if size == 96:
        np.testing.assert_array_equal(read.frames, clip)


@pytest.mark.parametrize(("shape", "detector"), [((96, 96), "centre"), ((128, 128), "centre"), ((96, 128), None)])
def test_auto_takes_small_squares_for_mouths(tmp_path, shape, detector):
    write_gray_video(tmp_path / "clip.mkv", np.full((30, *shape), 90, np.uint8))
    if detector is None:  # a face is looked for, and there is none
        with pytest.raises(NoFaceError):
            read_mouth_clip(tmp_path / "clip.mkv")
    else:
        assert read_mouth_clip(tmp_path / "clip.mkv").detector == detector


def test_centre_reads_real_crops_exactly(grid):
    path = sorted((grid / "mouth").glob("s31/*.mp4"))[0]
    np.testing.assert_array_equal(read_mouth_clip(path, detector="centre").frames, read_video(path))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"detector": "har"}, ConfigError, "haar"),
        ({"face": "bigest"}, ConfigError, "face"),
        ({"color": "grey"}, ConfigError, "gray"),
        ({"detector": "precomputed"}, ConfigError, "landmarks"),
        ({"detect_every": 0}, ConfigError, "detect_every"),
        ({"max_gap_s": float("nan")}, ConfigError, "max_gap_s"),
        ({"start_s": 5.0, "detector": "centre"}, MediaError, "no picture from 5 s"),
        ({"start_s": 1.0, "end_s": 0.5}, ConfigError, "end_s"),
        ({"landmarks": np.zeros((40, 3, 2))}, InputError, "landmarks"),
        ({"landmarks": np.zeros((39, 4, 2))}, InputError, "length"),
        ({"landmarks": np.zeros((41, 4, 2))}, InputError, "length"),
        ({"landmarks": "missing.npy"}, MediaError, "missing"),
    ],
    ids=str,
)
def test_bad_options_are_refused(face_video, options, error, words):
    with pytest.raises(error, match=words):
        read_mouth_clip(face_video[0], **options)


def face_at(x: float, y: float = 100.0, size: float = 0.5) -> Face:
    return Face(((REFERENCE - 128) * size + [x, y]).astype(np.float32))


def test_the_largest_most_central_face_is_followed_and_kept():
    tracker = FaceTracker(200, 400)
    assert tracker.follow([face_at(60), face_at(200), face_at(340)]).centre[0] == pytest.approx(198.8, abs=3)
    for step in range(30):  # it walks out of the centre while another comes in
        found = tracker.follow([face_at(200 - 4 * step), face_at(330 - 4 * step, size=0.6)])
        assert found.centre[0] < 203 - 4 * step
    assert tracker.track == 1
    assert tracker.follow([face_at(300)]) is None  # gone for a moment: nobody else is taken for it
    for _ in range(20):
        found = tracker.follow([face_at(300)])
    assert found is not None and tracker.track == 2
    assert FaceTracker(200, 400, face="left").follow([face_at(60), face_at(200)]).centre[0] < 100
    assert FaceTracker(200, 400, face="right").follow([face_at(330), face_at(200)]).centre[0] > 300


def test_of_several_faces_that_could_be_the_last_one_the_nearest_is():
    faces = [face_at(205), face_at(215), face_at(190)]
    for order in (faces, faces[::-1]):
        assert same_face(order, face_at(200)) is faces[0]


def test_left_and_right_are_told_along_the_picture_and_not_down_it():
    low_left, high_right = face_at(60, 150), face_at(300, 50)
    assert FaceTracker(200, 400, face="left").follow([low_left, high_right]) is low_left
    assert FaceTracker(200, 400, face="right").follow([low_left, high_right]) is high_right


def test_a_face_that_is_further_away_than_one_walks_is_another():
    last = face_at(200)
    for sizes, same in ((1.1, True), (1.3, False)):
        face = face_at(200 + sizes * last.size)
        assert (same_face([face], last) is face) == same


def test_a_face_is_forgotten_when_it_has_been_missing_for_so_long_and_no_later():
    tracker, missing = FaceTracker(200, 400), round(FORGET_S * 25)
    tracker.follow([face_at(60)])
    assert [tracker.follow([face_at(300)]) for _ in range(missing)] == [None] * missing
    assert tracker.follow([face_at(300)]) is not None and tracker.track == 2


def test_a_switch_to_another_face_begins_another_track():
    tracker = FaceTracker(200, 400)
    tracker.follow([face_at(60)])
    other = face_at(300)
    assert tracker.switch_to(other) is other and tracker.track == 2
    assert tracker.follow([face_at(62), face_at(302)]).centre[0] > 250


def detectors_here():
    return [name for name, missing in (("haar", haar.missing()), ("mediapipe", mediapipe.missing())) if not missing]


@pytest.mark.parametrize("detector", ["haar", "mediapipe"])
@pytest.mark.parametrize("detect_every", [1, 5])
def test_detectors_find_grids_mouths(grid, detector, detect_every):
    if detector not in detectors_here():
        pytest.skip(f"{detector} is not installed here: make faces, or pip install 'espnet-vivit[media]'")
    landmarks = np.load(path := sorted((grid / "landmarks").glob("s20/*.npy"))[0])
    original = grid / "original" / path.parent.name / f"{path.stem}.mpg"
    clip = read_mouth_clip(original, detector=detector, detect_every=detect_every)
    assert clip.detector == detector and (clip.num_faces == 1).all()
    error = np.linalg.norm(clip.landmarks - landmarks, axis=2)
    assert np.median(error[:, 3]) < (5 if detector == "haar" else 1.5)
    if detector == "mediapipe" and detect_every == 1:
        assert np.percentile(error[:, 3], 95) < 2  # pixels; the landmarks are those of MediaPipe's older model
        assert 0 < np.nanmax(clip.mouth_opening) < 1
    if detect_every > 1:
        assert np.isfinite(clip.landmarks).all()


def test_auto_takes_what_is_here_and_says_so(grid):
    if not detectors_here():
        pytest.skip("no detector is installed here")
    path = sorted((grid / "original").glob("s2/*.mpg"))[0]
    assert read_mouth_clip(path, end_s=0.2).detector == detectors_here()[-1]


def test_a_video_without_faces_is_refused(tmp_path):
    if haar.missing():
        pytest.skip(haar.missing())
    path = write_video(tmp_path / "stripes.mp4", (numbered(i, 96, 128) for i in range(60)))
    with pytest.raises(NoFaceError, match=r"0\.00 to 2\.40") as caught:
        read_mouth_clip(path, detector="haar")
    assert caught.value.end_s == pytest.approx(2.4)
    clip = read_mouth_clip(path, detector="haar", max_gap_s=float("inf"))
    assert len(clip.frames) == 60 and np.isnan(clip.landmarks).all() and not clip.num_faces.any()


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs takes root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (60, 96, 96), np.uint8)
        for name, codec in (("a.mkv", "ffv1"), ("a.mp4", "h264"), ("a.npy", "ffv1")):
            with pytest.raises(MediaError, match=name.replace(".", r"\.")):
                write_gray_video(small / name, noise, codec=codec)
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
