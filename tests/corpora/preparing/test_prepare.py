"""From clips to data directories: what is kept, what the report says of the rest, stopping and going on."""

import dataclasses
import errno
import io
import os
import shutil
import sqlite3
import threading

import numpy as np
import pytest

from espnet_vivit.bin.avsr_format import format_data_dir
from espnet_vivit.corpora.preparing import make_clip as make_clip_module
from espnet_vivit.corpora.preparing import own_process
from espnet_vivit.corpora.preparing import prepare as prepared_module
from espnet_vivit.corpora.preparing.journal import ClipStore, clip_fingerprint
from espnet_vivit.corpora.preparing.make_clip import ClipOptions
from espnet_vivit.corpora.preparing.prepare import JOURNAL_NAME, prepare_clips
from espnet_vivit.corpora.preparing.source_clip import SourceClip
from espnet_vivit.data.data_dir import validate_data_dir
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError, MediaError
from espnet_vivit.media.faces.mouth_roi import center_points
from espnet_vivit.media.files.audio_file import read_wav, write_wav
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.media.mouth_clip import read_mouth_clip
from tests.media.talking_mouth import talking
from tests.media.videos import write_tracks, write_video
from tests.recordings import write_recording
from tests.talking_files import write_talking

TIMES = (WordTime(0.1, 0.4, "good"), WordTime(0.4, 0.9, "morning"))


def options_for(out, **others):
    return ClipOptions(folder=str((out / "clips").resolve()), detector="centre", codec="ffv1", **others)


def clip_of(path, split="train", **others):
    fields = {"speaker": "anna", "text": "good morning", "word_times": TIMES, **others}
    return SourceClip(utt_id=f"anna-{path.stem}", video=str(path), split=split, **fields)


@pytest.fixture
def clips(tmp_path):
    files = [write_talking(tmp_path / "videos" / f"{n}.mkv", seed=n) for n in range(3)]
    return [clip_of(path, "test" if n == 2 else "train") for n, path in enumerate(files)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out put"


def prepare(clips, out, **options):
    how = options_for(out, **options.pop("how", {}))
    return prepare_clips(iter(clips), out, options=how, nj=0, progress=False, **options)


def report_of(out):
    lines = (out / "report.tsv").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    return {row["utt_id"]: row for row in rows}


def test_data_directories_are_what_the_recipes_first_stage_expects(clips, out, tmp_path):
    prepared = prepare(clips, out)
    assert list(prepared.directories) == ["test", "train"] and prepared.made == 3
    first, second = validate_data_dir(out / "train")
    assert (first.utt_id, second.utt_id, first.text, first.num_frames) == ("anna-0", "anna-1", "good morning", 30)
    assert first.word_times == TIMES
    format_data_dir(out / "train", tmp_path / "formatted")  # stage 3 opens every file and measures it
    for name in ("video_shape", "speech_shape"):
        assert (out / "train" / name).read_bytes() == (tmp_path / "formatted" / name).read_bytes()


@pytest.mark.parametrize("how", [{"view": 64, "size": 52}, {"modality": "video"}])
def test_smaller_pictures_and_no_sound_are_options(clips, out, how):
    prepare(clips, out, how=how)
    utterance = validate_data_dir(out / "test")[0]
    assert (utterance.wav is None) == ("modality" in how)
    size = how.get("size", 96)
    assert (out / "test/video_shape").read_text() == f"anna-2 30,{size},{size}\n"


def test_every_bad_clip_is_in_the_report_and_none_in_the_data(clips, out, tmp_path):
    folder = tmp_path / "videos"
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I am no video.")
    cut = write_talking(folder / "cut.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(cut[: len(cut) // 3])
    write_talking(folder / "silent.mkv", sound=False)
    write_recording(folder / "heard.mkv", None, np.zeros(16_000, np.float32))
    write_talking(folder / "odd\nname.mkv", seed=4)
    names = ["empty.mp4", "text.mp4", "none.mp4", "silent.mkv", "heard.mkv", "cut.mkv"]
    bad = [clip_of(folder / name, word_times=None) for name in names]
    bad.append(clip_of(folder / "late.mkv", word_times=(WordTime(0.0, 9.0, "good"), WordTime(9.0, 9.5, "morning"))))
    write_talking(folder / "late.mkv", seed=5)
    bad.append(clip_of(folder / "listed.mp4", problem="no transcript"))
    good = SourceClip("anna-odd", "anna", "x", str(folder / "odd\nname.mkv"), "train")
    prepare([*clips, *bad, good], out)
    report = report_of(out)
    assert set(report) == {clip.utt_id for clip in [*clips, *bad, good]}
    assert {name for name, row in report.items() if row["verdict"] == "reject"} == {clip.utt_id for clip in bad}
    for name, word in (
        ("none", "none.mp4"),
        ("silent", "no sound"),
        ("heard", "no video stream"),
        ("listed", "no transcript"),
        ("late", "last word"),
    ):
        assert word in report[f"anna-{name}"]["reasons"]
    assert {utterance.utt_id for utterance in validate_data_dir(out / "train")} == {"anna-0", "anna-1", "anna-odd"}
    assert "no transcript" in (out / "report.html").read_text()


def test_a_frozen_clip_is_rejected_although_the_points_of_its_face_tremble(clips, out, monkeypatch):
    rng = np.random.default_rng(0)
    recording = talking(2.0, seed=8)
    frames = recording.frames.copy()
    frames[10:40] = frames[10]
    path = write_recording(out.parent / "videos/frozen.mkv", frames, recording.speech)
    landmarks = center_points(96, 96) + rng.normal(0, 0.5, (50, 4, 2))

    def read(clip, options):
        return read_mouth_clip(clip.video, landmarks=landmarks if clip.video == str(path) else None)

    monkeypatch.setattr(make_clip_module, "read_clip", read)
    prepare([*clips, clip_of(path)], out)
    row = report_of(out)["anna-frozen"]
    assert row["verdict"] == "reject" and "frozen for 1.16 s" in row["reasons"]


def count_made(monkeypatch):
    made = []

    def counted(clip, options):
        made.append(clip.utt_id)
        return make_clip_module.make_clip(clip, options)

    monkeypatch.setattr(prepared_module, "make_clip", counted)
    return made


def test_what_is_there_is_not_made_again(clips, out, monkeypatch):
    prepare(clips[:2], out)
    made = count_made(monkeypatch)
    assert prepare(clips[:2], out).made == 0 and made == []
    (out / "clips/anna/anna-1.flac").unlink()
    prepare(clips, out)
    assert made == ["anna-1", "anna-2"]  # what was lost, and what is new
    made.clear()
    write_talking(out.parent / "videos/0.mkv", seed=9)
    prepare([clips[0], clips[2]], out)
    assert made == ["anna-0"], "the file has changed"
    assert [utterance.utt_id for utterance in validate_data_dir(out / "train")] == ["anna-0"]  # 1 is gone from the list
    made.clear()
    prepare(clips, out, how={"view": 64, "size": 52})
    assert sorted(made) == ["anna-0", "anna-1", "anna-2"], "other options"


def test_a_run_that_was_stopped_goes_on(clips, out, monkeypatch):
    def stopping(clip, options):
        if clip.utt_id == "anna-1":
            raise KeyboardInterrupt
        return make_clip_module.make_clip(clip, options)

    with monkeypatch.context() as patch:
        patch.setattr(prepared_module, "make_clip", stopping)
        with pytest.raises(KeyboardInterrupt):
            prepare(clips, out)
    assert not (out / "train/text").exists()
    made = count_made(monkeypatch)
    prepare(clips, out)
    assert made == ["anna-1", "anna-2"] and len(validate_data_dir(out / "train")) == 2


def test_a_full_disk_ends_the_run_and_rejects_nothing(clips, out, monkeypatch):
    def full(path, samples):
        raise MediaError(f"cannot write {path}") from OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(make_clip_module, "write_wav", full)
        with pytest.raises(MediaError, match="Make room and run again"):
            prepare(clips, out)
    assert prepare(clips, out).made == 3


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("dask.distributed", reason="needs Dask: pip install 'espnet-vivit[cluster]'")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(processes=False, protocol="tcp", host="127.0.0.1", **options) as cluster:
        yield cluster.scheduler_address


def contents(out):
    """What is in each file; of videos their pictures, since Matroska marks each file with a number of its own."""
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".sqlite"]
    return {path: read_video(path).tobytes() if path.suffix == ".mkv" else path.read_bytes() for path in files}


def test_a_cluster_makes_the_same_clips_and_a_crash_of_its_decoder_is_a_row(clips, out, cluster, tmp_path, monkeypatch):
    prepare(clips, out)
    alone = contents(out)
    shutil.rmtree(out)
    prepare(clips, out, dask_scheduler=cluster)
    assert len(alone) > 10 and contents(out) == alone

    (tmp_path / "soundfile.py").write_text("import os; os._exit(11)")  # what the libraries do that crash
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(own_process, "_kept", threading.local())  # processes that have not loaded it yet
    write_talking(out.parent / "videos/0.mkv", seed=9)
    prepare(clips, out, dask_scheduler=cluster)
    report = report_of(out)
    assert (
        report["anna-0"]["verdict"] == "reject"
        and "0.mkv: the process that worked on it ended" in report["anna-0"]["reasons"]
    )
    assert [utterance.utt_id for utterance in validate_data_dir(out / "train")] == ["anna-1"]


def test_rejected_clips_are_tried_again_when_asked(clips, out, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the network drive was away")

    with monkeypatch.context() as patch:
        patch.setattr(make_clip_module, "read_clip", broken)
        with pytest.raises(DataError, match=r"the only clip of test is rejected.*network drive"):
            prepare(clips, out)
    with pytest.raises(DataError, match="rejected"):
        prepare(clips, out)
    assert prepare(clips, out, retry_rejected=True).made == 3


def test_of_sets_with_nothing_left_all_are_named_and_what_they_held_is_gone(clips, out):
    prepare(clips, out)
    lost = [dataclasses.replace(clip, problem=f"{clip.utt_id} is lost") for clip in clips]
    with pytest.raises(DataError) as one:
        prepare([*clips[:2], lost[2]], out)
    assert "the only clip of test is rejected, the first because: anna-2 is lost" in str(one.value)
    assert str(one.value).endswith("report.tsv; ready to be used: train.") and not (out / "test/text").exists()
    with pytest.raises(DataError) as both:
        prepare(lost, out)
    for words in ("the only clip of test", "all 2 clips of train are rejected, the first because: anna-0 is lost"):
        assert words in str(both.value)
    assert str(both.value).endswith("report.tsv; no set is left to be used.") and "ready" not in str(both.value)
    assert not list(out.glob("*/text"))


def sets_of(out):
    """Ids of each data directory that can be used."""
    return {path.parent.name: [one.utt_id for one in validate_data_dir(path.parent)] for path in out.glob("*/text")}


def test_a_set_that_the_corpus_no_longer_has_is_withdrawn_and_named(clips, out):
    assert prepare(clips, out).withdrawn == ()
    (out / "dev").mkdir()
    (out / "dev/text").write_text("not ours\n")  # no run has listed a set of this name
    joined = [dataclasses.replace(clip, split="train") for clip in clips]
    again = prepare(joined, out)
    assert again.withdrawn == ("test",) and again.made == 0 and list(again.directories) == ["train"]
    assert not (out / "test/text").exists() and (out / "dev/text").read_text() == "not ours\n"
    (out / "test/text").write_text("somebody's own by now\n")
    assert prepare(joined, out).withdrawn == () and (out / "test/text").exists()  # forgotten: left alone from now on
    (out / "dev/text").unlink()
    assert prepare(clips, out).withdrawn == ()
    assert sets_of(out) == {"train": ["anna-0", "anna-1"], "test": ["anna-2"]}


def test_sets_that_an_older_journal_does_not_name_are_withdrawn_too(clips, out):
    prepare(clips, out)
    with sqlite3.connect(out / JOURNAL_NAME) as journal:
        journal.execute("DROP TABLE sets")
    journal.close()
    joined = [dataclasses.replace(clip, split="train") for clip in clips]
    assert prepare(joined, out).withdrawn == ("test",)
    assert sets_of(out) == {"train": ["anna-0", "anna-1", "anna-2"]}


def test_no_set_of_an_earlier_run_is_left_beside_one_of_a_run_that_was_stopped(clips, out, monkeypatch):
    prepare(clips, out)
    moved = [dataclasses.replace(clips[0], split="test"), clips[1], dataclasses.replace(clips[2], split="train")]

    def write(store, split, directory, write_set=prepared_module._write_set):
        if split == "train":
            raise KeyboardInterrupt
        write_set(store, split, directory)

    with monkeypatch.context() as patch:
        patch.setattr(prepared_module, "_write_set", write)
        with pytest.raises(KeyboardInterrupt):
            prepare(moved, out)
    assert sets_of(out) == {"test": ["anna-0"]}  # which the earlier train has


def test_a_set_is_withdrawn_although_another_has_nothing_left(clips, out):
    prepare(clips, out)
    lost = [dataclasses.replace(clip, split="train", problem="lost") for clip in clips]
    with pytest.raises(DataError, match=r"no set is left to be used; no longer in this corpus, and withdrawn: test\.$"):
        prepare(lost, out)
    assert not list(out.glob("*/text"))


def test_an_id_twice_and_sets_that_overlap_are_refused(clips, out):
    with pytest.raises(DataError, match=r"two clips have the id 'anna-0': found .*0\.mkv and .*0\.mkv"):
        prepare([clips[0], clips[0]], out)
    twice = clip_of(out.parent / "videos/0.mkv", "dev")
    with pytest.raises(DataError, match="train and dev overlap: both have anna-0"):
        prepare([clips[0], twice], out)
    talk = [SourceClip(f"a-{split}", "a", "x", clips[0].video, split, recording="talk") for split in ("train", "test")]
    with pytest.raises(DataError, match="test and train overlap: both have the recording 'talk'"):
        prepare(talk, out)
    with pytest.raises(DataError, match="both have the speaker 'anna'"):
        prepare(clips, out, disjoint=("speaker",))
    assert prepare(clips, out).directories


def test_a_clip_that_is_too_long_and_a_span_of_it(clips, out):
    span = clip_of(out.parent / "videos/1.mkv", start_s=0.2, end_s=1.0, word_times=None)
    with pytest.raises(DataError, match=r"the only clip of test is.* longer than 1 s.* give start_s and end_s"):
        prepare([span, clips[2]], out, how={"max_s": 1.0})
    assert report_of(out)["anna-1"]["verdict"] != "reject"
    assert report_of(out)["anna-1"]["path"].endswith("1.mkv [0.20-1.00 s]")
    prepare([span], out, how={"max_s": 1.0})
    (utterance,) = validate_data_dir(out / "train")
    assert (utterance.num_frames, utterance.num_samples) == (20, 20 * 640)


def test_two_runs_do_not_share_a_folder(clips, out):
    prepare(clips, out)
    with ClipStore(out / JOURNAL_NAME), pytest.raises(MediaError, match="another run"):
        prepare(clips, out)


def test_an_empty_corpus_and_a_folder_that_no_list_can_hold(tmp_path):
    with pytest.raises(DataError, match="has no clip"):
        prepare([], tmp_path / "out")
    with pytest.raises(DataError, match="no list of files can hold"):
        prepare([], tmp_path / "two\nlines")
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot make the folder"):
        prepare([], tmp_path / "file/out")


def test_pictures_for_the_page_are_kept_of_some_clips_only(clips, out, monkeypatch):
    from espnet_vivit.corpora.preparing import journal as clip_store

    monkeypatch.setattr(clip_store, "PAGE_ROWS", 1)
    prepare(clips, out)
    with ClipStore(out / JOURNAL_NAME) as store:
        strips = [row.outcome.strip for row in store.rows()]
    verdicts = {row["verdict"] for row in report_of(out).values()}
    assert sum(map(bool, strips)) == len(verdicts)
    from PIL import Image

    assert Image.open(io.BytesIO(next(filter(None, strips)))).format == "JPEG"


def write_odd(folder, name, **how):
    """A talking mouth of 2 s as another kind of file."""
    clip = talking(2.0, seed=4)
    rgb = np.repeat(clip.frames[..., None], 3, axis=3)
    how = {"codec": "ffv1", "pixel_format": "bgr0", "speech": clip.speech, "sound_codec": "flac", **how}
    folder.mkdir(parents=True, exist_ok=True)
    return write_video(folder / name, rgb, **how)


def test_what_a_person_should_know_of_a_file_is_in_its_row(out, tmp_path):
    late_ms = [1000 + 40 * index for index in range(50)]
    late = write_odd(tmp_path, "late.mkv", times_ms=late_ms, speech=np.tile(talking(2.0, seed=4).speech, 2)[:48_000])
    both = np.stack([talking(2.0, seed=4).speech, -talking(2.0, seed=4).speech])
    turned = write_odd(tmp_path, "turned.mkv", speech=both, layout="stereo")
    good = write_odd(tmp_path, "good.mkv")
    prepare([clip_of(path, word_times=None) for path in (late, turned, good)], out)
    rows = report_of(out)
    assert "first picture comes 1.00 s after the beginning" in rows["anna-late"]["reasons"]
    assert "channels of the sound cancel" in rows["anna-turned"]["reasons"]
    assert rows["anna-good"]["reasons"] == "" and rows["anna-good"]["verdict"] == "ok"
    kept = {utterance.utt_id: utterance for utterance in validate_data_dir(out / "train")}
    assert {utterance.num_frames for utterance in kept.values()} == {50}
    assert np.std(read_wav(kept["anna-turned"].wav)) == pytest.approx(np.std(read_wav(kept["anna-good"].wav)), rel=0.05)


def test_word_times_count_from_the_first_picture_of_the_clip(out, tmp_path):
    """They are given in the file's time, whose first picture comes at 1 s."""
    path = write_odd(tmp_path, "late.mkv", times_ms=[1000 + 40 * index for index in range(50)], speech=np.zeros(48_000))
    spoken = (WordTime(1.1, 1.4, "good"), WordTime(1.4, 1.9, "morning"))
    early = (WordTime(0.1, 0.4, "good"), WordTime(1.4, 1.9, "morning"))
    clips = [
        clip_of(path, word_times=spoken),
        dataclasses.replace(clip_of(path, word_times=early), utt_id="anna-early"),
    ]
    prepare(clips, out, how={"modality": "video"})
    (utterance,) = validate_data_dir(out / "train")
    np.testing.assert_allclose([time[:2] for time in utterance.word_times], [time[:2] for time in TIMES], atol=1e-3)
    assert "before the first picture" in report_of(out)["anna-early"]["reasons"]


def test_a_transcript_that_nobody_says_so_fast_is_remarked_on(out, tmp_path):
    """Half a file whose format states no length."""
    path = write_odd(tmp_path, "half.mkv")
    words = "place blue with f eight soon and then bin red at two now please " * 2
    prepare([clip_of(path, text=words.strip(), word_times=None)], out)
    assert "letters for each second" in report_of(out)["anna-half"]["reasons"]


def test_a_track_may_be_chosen(out, tmp_path):
    clip = talking(2.0, seed=4)
    tracks = [np.zeros(32_000, np.float32), clip.speech]
    pictures = np.repeat(clip.frames[..., None], 3, axis=3)
    path = write_tracks(tmp_path / "two.mkv", tracks, default=0, pictures=pictures)
    prepare([clip_of(path, word_times=None)], out)
    assert "track 2 is read" in report_of(out)["anna-two"]["reasons"]
    with pytest.raises(DataError, match="left"):  # silence was asked for
        prepare([clip_of(path, word_times=None)], out, how={"audio_track": 1})
    assert "silent" in report_of(out)["anna-two"]["reasons"]


@pytest.mark.timeout(60)
def test_what_is_no_file_and_what_breaks_off_are_rejected_rows(out, tmp_path, clips):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    whole = write_odd(tmp_path, "whole.avi", codec="mpeg4", pixel_format="yuv420p", sound_codec="pcm_s16le")
    half = tmp_path / "half.avi"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    odd = [clip_of(path, word_times=None) for path in (tmp_path / "pipe.mp4", tmp_path / "loop.mp4", half)]
    prepare([*clips, *odd], out)
    reasons = {name: row["reasons"] for name, row in report_of(out).items() if row["verdict"] == "reject"}
    assert "is a pipe" in reasons["anna-pipe"] and "leads to itself" in reasons["anna-loop"]
    assert "breaks off" in reasons["anna-half"] and len(reasons) == 3


def test_what_was_made_and_lost_its_end_is_made_again(clips, out, monkeypatch):
    prepare(clips, out)
    made = count_made(monkeypatch)
    path = out / "clips/anna/anna-1.flac"
    path.write_bytes(path.read_bytes()[:-100])
    prepare(clips, out)
    assert made == ["anna-1"]


def test_another_sound_beside_the_pictures_is_another_clip(clips, tmp_path):
    sound = tmp_path / "sound.wav"
    write_wav(sound, np.zeros(16_000, np.float32))
    clip = dataclasses.replace(clips[0], audio=str(sound))
    before = clip_fingerprint(clip, "options")
    assert clip_fingerprint(clip, "options") == before
    write_wav(sound, np.zeros(17_000, np.float32))
    assert clip_fingerprint(clip, "options") != before
