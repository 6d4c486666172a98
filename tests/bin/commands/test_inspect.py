"""`espnet-vivit inspect`: what it writes and says, its exit codes, and that no file can stop it."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.bin.commands import inspect as inspect_video
from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.audio_file import write_wav
from espnet_vivit.media.files.video_file import read_video, write_gray_video
from espnet_vivit.media.quality import inspect_files as quality_folder
from espnet_vivit.media.quality.inspect_files import How, Video, find_videos, inspect_files
from espnet_vivit.media.quality.report import read_report
from tests.media.talking_mouth import talking
from tests.media.videos import write_video

CROPS = ("--detector", "centre", "--modality", "video", "--nj", "1")


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in read_report(out / "report.tsv")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Good and bad mouth crops, and files that are no videos."""
    folder = tmp_path_factory.mktemp("clips")
    clip = talking(seed=3)
    spoilt = clip.frames.copy()
    spoilt[:12] = 128
    (folder / "sub").mkdir()
    write_gray_video(folder / "good.mkv", clip.frames)
    write_gray_video(folder / "sub" / "gray.mkv", spoilt)
    write_gray_video(folder / "sub" / "a 'b' \"c\"\nd.mkv", clip.frames)
    (folder / "text.mp4").write_text("no video\n")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mkv").write_bytes((folder / "good.mkv").read_bytes()[:2000])
    (folder / "notes.txt").write_text("left alone\n")
    return folder


def test_a_folder_gets_a_row_for_every_video_whatever_it_is(folder, tmp_path, capsys):
    assert inspect_video.main([str(folder), "--out", str(tmp_path), *CROPS]) == inspect_video.SOME_REJECTED
    verdicts = {path: row["verdict"] for path, row in rows_of(tmp_path).items()}
    assert verdicts == {
        "cut.mkv": "reject",
        "empty.mp4": "reject",
        "good.mkv": "ok",
        "sub/a 'b' \"c\"\\nd.mkv": "ok",
        "sub/gray.mkv": "reject",
        "text.mp4": "reject",
    }
    assert rows_of(tmp_path)["sub/gray.mkv"]["reasons"].startswith("12 gray pictures")
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [
        "a 'b' \"c\"\\nd.mkv.png",
        "good.mkv.png",
        "gray.mkv.png",
    ]
    printed = capsys.readouterr().out
    assert "6 clips: 2 ok, 0 warn, 4 reject" in printed and "12 gray pictures" in printed


def test_good_videos_are_described_and_the_exit_code_is_0(folder, tmp_path, capsys):
    assert inspect_video.main([str(folder / "good.mkv"), "--out", str(tmp_path), *CROPS]) == 0
    printed = capsys.readouterr().out
    for words in ("OK      good.mkv", "100 pictures, 4.00 s", "96×96 ffv1", "detector centre", "sheets/good.mkv.png"):
        assert words in printed


def test_json_is_a_line_for_each_clip_with_all_numbers(folder, tmp_path, capsys):
    inputs = [str(folder / "good.mkv"), str(folder / "sub" / "gray.mkv")]
    assert inspect_video.main([*inputs, "--out", str(tmp_path), "--json", *CROPS]) == inspect_video.SOME_REJECTED
    good, gray = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (good["verdict"], gray["verdict"]) == ("ok", "reject")
    assert good["pictures"] == 100 and good["width"] == 96 and good["faces_found"] is None
    assert gray["reasons"][0].startswith("12 gray pictures") and gray["gray_pictures"] == 12
    assert Path(good["contact_sheet"]).is_file()


def test_what_is_not_the_clips_fault_is_an_error_and_leaves_no_report(folder, tmp_path, capsys):
    for arguments, words in (
        ([str(tmp_path / "absent.mp4")], "does not exist"),
        ([str(tmp_path)], "no video"),
        ([str(folder), "--detector", "harr"], "Did you mean 'haar'"),
    ):
        assert exit_status(inspect_video.main, [*arguments, "--out", str(tmp_path / "out")]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sheets_can_be_left_out_or_be_of_the_bad_ones_only(folder, tmp_path):
    for sheets, expected in (("none", []), ("bad", ["gray.mkv.png"])):
        out = tmp_path / sheets
        inspect_video.main([str(folder), "--out", str(out), "--sheets", sheets, *CROPS])
        assert [path.name for path in out.rglob("*.png")] == expected


def test_the_sound_of_silent_videos_is_found_beside_them(folder, tmp_path):
    late = talking(seed=3, lag=5)
    (tmp_path / "audio").mkdir()
    write_wav(tmp_path / "audio" / "good.flac", late.speech)
    arguments = ["--audio", str(tmp_path / "audio"), "--detector", "centre", "--nj", "1"]
    inspect_video.main([str(folder / "good.mkv"), "--out", str(tmp_path / "out"), *arguments])
    assert rows_of(tmp_path / "out")["good.mkv"]["reasons"] == "the sound comes 200 ms after the mouth"


def test_a_long_recording_has_a_row_for_each_piece(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(quality_folder, "PIECE_S", 1.6)
    assert inspect_video.main([str(folder / "sub" / "gray.mkv"), "--out", str(tmp_path), *CROPS]) == 3
    rows = rows_of(tmp_path)
    assert [row["pictures"] for row in rows.values()] == ["40", "40", "20"]
    assert [row["verdict"] for row in rows.values()][:2] == ["reject", "ok"]
    assert next(iter(rows)) == "gray.mkv [0-2 s]"


def test_equal_names_in_two_folders_are_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").write_bytes(b"")
    names = [video.name for video in find_videos([tmp_path / "one", tmp_path / "two"])]
    assert len(set(names)) == 2 and all(name.endswith("clip.mp4") for name in names)


def test_videos_behind_a_link_are_inspected_and_loops_end(tmp_path):
    for name in ("corpus/one.mp4", "store/two.vob", "store/three.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "corpus/more").symlink_to(tmp_path / "store")
    (tmp_path / "store/back").symlink_to(tmp_path / "corpus")
    assert [video.name for video in find_videos([tmp_path / "corpus"])] == ["more/three.npy", "more/two.vob", "one.mp4"]


def end_at_the_second(video: Video) -> list[str]:
    if video.name == "2":
        os._exit(1)
    return [video.name]


def test_a_video_that_ends_its_process_is_a_row_and_the_rest_go_on():
    videos = [Video(Path(str(number)), str(number)) for number in range(6)]
    done = list(quality_folder._each(end_at_the_second, videos, 2))
    assert [rows for rows in done if rows[0] != done[2][0]] == [["0"], ["1"], ["3"], ["4"], ["5"]]
    assert "2: the process that worked on it ended" in done[2][0].quality.reasons[0]


def test_an_unexpected_error_is_the_row_of_its_file(folder, tmp_path, monkeypatch):
    def breaks(*arguments, **options):
        raise ZeroDivisionError("in a decoder")

    monkeypatch.setattr(quality_folder, "stream_mouth_clips", breaks)
    counts = inspect_files(find_videos([folder / "good.mkv"]), How(tmp_path, detector="centre"))
    assert counts["reject"] == 1
    assert rows_of(tmp_path)["good.mkv"]["reasons"] == "cannot be inspected (ZeroDivisionError: in a decoder)"


def test_a_report_that_cannot_be_written_is_an_error(folder, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(MediaError):
        inspect_files(find_videos([folder / "good.mkv"]), How(tmp_path / "out", detector="centre"))


# Real clips


@pytest.fixture(scope="module")
def grid(shared_dir) -> Path:
    return shared_dir / "data" / "grid"


def manifest(grid: Path) -> list[dict[str, str]]:
    header, *lines = (grid / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_gray_pictures_put_into_good_crops_reject_them(grid, tmp_path):
    good = [row["video"] for row in manifest(grid) if row["split"] == "test_seen"][:8]
    for number, name in enumerate(good):
        frames = read_video(grid / name)
        first = 8 * number  # at the beginning, in the middle, at the end
        frames[first : first + 8] = 126
        (tmp_path / "clips").mkdir(exist_ok=True)
        write_gray_video(tmp_path / "clips" / f"{number}.npy", frames)
    assert inspect_video.main([str(tmp_path / "clips"), "--out", str(tmp_path / "out"), *CROPS]) == 3
    assert [row["verdict"] for row in rows_of(tmp_path / "out").values()] == ["reject"] * 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_the_originals_exactly_the_corrupt_ones_are_rejected(grid, tmp_path):
    pytest.importorskip("cv2")
    corrupt = {row["original"] for row in manifest(grid) if row["split"] == "corrupt"}
    assert inspect_video.main([str(grid / "original"), "--out", str(tmp_path), "--nj", "1", "--sheets", "none"]) == 3
    rejected = {f"original/{path}" for path, row in rows_of(tmp_path).items() if row["verdict"] == "reject"}
    assert len(rows_of(tmp_path)) == 48 and len(corrupt) == 8
    assert rejected == corrupt


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_the_mouth_crops_none_is_rejected(grid, tmp_path):
    arguments = ["--audio", str(grid / "audio"), "--detector", "centre", "--nj", "1", "--sheets", "none"]
    assert inspect_video.main([str(grid / "mouth"), "--out", str(tmp_path), *arguments]) == 0
    rows = rows_of(tmp_path).values()
    assert len(rows) == 817
    warned = sum(row["verdict"] == "warn" for row in rows)
    assert warned <= 0.03 * 817, f"{warned} good crops are warned of"


# Faults put into a real face video


def write_faulty(path: Path, pictures: list[np.ndarray], speech: np.ndarray, *, rate_hz: int = 25) -> Path:
    """RGB pictures and sound at 16 kHz, as H.264 and PCM."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate_hz, options={"crf": "16", "preset": "veryfast"})
        video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = np.rint(32_767 * np.clip(speech, -1, 1)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def shifted(speech: np.ndarray, seconds: float) -> np.ndarray:
    """Later (or earlier) by silence at one end."""
    samples = round(16_000 * seconds)
    quiet = np.zeros(abs(samples), np.float32)
    return np.append(quiet, speech[:-samples]) if samples > 0 else np.append(speech[-samples:], quiet)


FAULTS = {
    "none": ("ok", "", lambda pictures, speech: (pictures, speech, 25)),
    "late": ("warn", "after the mouth", lambda pictures, speech: (pictures, shifted(speech, 0.2), 25)),
    "early": ("warn", "before the mouth", lambda pictures, speech: (pictures, shifted(speech, -0.2), 25)),
    "black": ("reject", "black pictures", lambda pictures, speech: (blackened(pictures), speech, 25)),
    "frozen": ("reject", "frozen for", lambda pictures, speech: (frozen(pictures), speech, 25)),
    "upside down": ("reject", "it is upside down", lambda pictures, speech: ([p[::-1] for p in pictures], speech, 25)),
    "two faces": ("warn", "more than one face", lambda pictures, speech: (doubled(pictures), speech, 25)),
    "15 per second": ("warn", "15 pictures per second", lambda pictures, speech: (at_rate(pictures, 15), speech, 15)),
    "60 per second": ("warn", "60 pictures per second", lambda pictures, speech: (at_rate(pictures, 60), speech, 60)),
}


def blackened(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [*pictures[:30], *(np.zeros_like(pictures[0]) for _ in range(10)), *pictures[40:]]


def frozen(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [*pictures[:30], *[pictures[30]] * 30, *pictures[60:]]


def doubled(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate([picture, picture[:, ::-1]], axis=1) for picture in pictures]


def at_rate(pictures: list[np.ndarray], rate_hz: int) -> list[np.ndarray]:
    return [pictures[int(index * 25 / rate_hz)] for index in range(len(pictures) * rate_hz // 25)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_put_into_a_face_video_is_found(grid, tmp_path, fault):
    pytest.importorskip("cv2")
    from espnet_vivit.media.files.source import open_source, read_speech

    original = grid / "original" / "s1" / "s1_swio2p.mpg"
    with open_source(original) as source:
        pictures = list(source.frames())
    verdict, words, spoil = FAULTS[fault]
    frames, speech, rate_hz = spoil(pictures, read_speech(original) / 2)
    video = Video(write_faulty(tmp_path / "clip.mkv", frames, speech, rate_hz=rate_hz), "clip.mkv")
    (row,) = quality_folder.inspect_video(video, How(tmp_path, detector="haar", sheets="none"))
    assert words in "; ".join(row.quality.reasons), row.quality
    assert row.quality.verdict == verdict, row.quality.reasons


def test_what_a_person_should_know_of_a_file_is_said_and_a_pause_ends_nothing(tmp_path, monkeypatch, capsys):
    """Sound from 0 s, pictures from 1 s on, and a long pause in their midst."""
    from espnet_vivit.media.files import frame_clock

    monkeypatch.setattr(frame_clock, "MAX_HOLD_S", 20.0)
    clip = talking(4.0, seed=3)
    rgb = np.repeat(clip.frames[..., None], 3, axis=3)
    times_ms = [1000 + 40 * index + (30_000 if index >= 50 else 0) for index in range(100)]
    how = {"codec": "ffv1", "pixel_format": "bgr0", "times_ms": times_ms}
    path = write_video(tmp_path / "odd.mkv", rgb, speech=np.tile(clip.speech, 9)[: 35 * 16_000], **how)
    status = inspect_video.main([str(path), "--out", str(tmp_path / "out"), "--detector", "centre", "--nj", "1"])
    assert status == inspect_video.SOME_REJECTED
    rows = rows_of(tmp_path / "out")
    assert list(rows) == ["odd.mkv [1-3 s]", "odd.mkv [from 3 s]", "odd.mkv [33-35 s]"]
    assert "the first picture comes 1.00 s after" in rows["odd.mkv [1-3 s]"]["reasons"]
    assert "no picture from 3.00 to 33.00 s" in rows["odd.mkv [from 3 s]"]["reasons"]
    assert rows["odd.mkv [33-35 s]"]["pictures"] == "50" and rows["odd.mkv [1-3 s]"]["transfer"] == ""
    assert "first picture comes" in capsys.readouterr().out
