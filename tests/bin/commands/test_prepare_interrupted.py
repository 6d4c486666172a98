"""`espnet-vivit prepare` killed, on a full disk, and over 100,000 lines: nothing torn, nothing lost, no more memory."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet_vivit.bin import cli
from espnet_vivit.corpora.preparing.journal import ClipStore
from espnet_vivit.errors import MediaError
from tests.talking_files import write_talking

CLIPS = 5


@pytest.fixture
def videos(tmp_path):
    for n in range(CLIPS):
        path = write_talking(tmp_path / "videos" / f"clip {n}.mkv", seconds=2.0, seed=n)
        path.with_suffix(".txt").write_text(f"sentence number {n}")
    return path.parent


def prepare(videos: Path, out: Path, *options: str) -> list[str]:
    return ["prepare", "folder", str(videos), str(out), "--detector", "centre", *options]


def contents(out: Path) -> dict[str, bytes]:
    """All files but the journal, whose pages depend on the order of work."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "prepare.sqlite")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def processes_with(mark: str) -> set[int]:
    """Of those that run, the ones with this in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="looks at /proc for processes left behind")
def test_kill_9_costs_what_was_under_way_and_the_same_command_goes_on(videos, tmp_path):
    out = tmp_path / "out"
    assert cli.main(prepare(videos, out, "--nj", "0")) == 0
    undisturbed = contents(out)
    shutil.rmtree(out)

    mark = f"TEST_MARK={tmp_path}"
    command = [sys.executable, "-m", "espnet_vivit.bin.cli", *prepare(videos, out, "--nj", "1")]
    environment = dict(os.environ, TEST_MARK=str(tmp_path))
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        until = time.monotonic() + 120
        while not list(out.glob("clips/*/*.flac")):
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        assert len(processes_with(mark)) >= 2, "its worker is seen"
        running.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while processes_with(mark):
        assert time.monotonic() < until, "its workers end with it"
        time.sleep(0.1)
    made = set(out.glob("clips/*/*.mp4"))
    assert 1 <= len(made) < CLIPS and not (out / "train/text").exists()

    speaker = next(iter(made)).parent
    (speaker / f".clip_9.{running.pid}.part.mp4").write_bytes(b"torn")  # as if it had been killed while writing
    (out / f".report.{running.pid}.part.tsv").write_bytes(b"torn")
    assert cli.main(prepare(videos, out, "--nj", "0")) == 0
    assert contents(out) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 100 KiB, and how to make it larger."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs takes root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_with_room_it_goes_on(videos, tmp_path, small_disk, capsys):
    small, make_room = small_disk
    out = tmp_path / "out"
    assert cli.main(prepare(videos, out, "--nj", "0")) == 0
    capsys.readouterr()
    assert cli.main(prepare(videos, small / "out", "--nj", "0")) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and "Make room and run again" in error and "Traceback" not in error
    left = {Path(name).name for name in contents(small / "out")}
    assert left and not any(".part" in name for name in left) and "report.tsv" not in left
    make_room()
    assert cli.main(prepare(videos, small / "out", "--nj", "0")) == 0
    report, expected = ((place / "report.tsv").read_text() for place in (small / "out", out))
    assert report == expected, "no clip was rejected for the disk's sake"
    clips = {name: data for name, data in contents(out).items() if name.startswith("clips")}
    assert clips == {name: data for name, data in contents(small / "out").items() if name.startswith("clips")}


def test_a_journal_that_cannot_grow_is_an_error_of_ours(tmp_path):
    with pytest.raises(MediaError, match=r"cannot write .*journal.* full.*Make room"):
        with ClipStore(tmp_path / "journal") as store:
            (pages,) = store._db.execute("PRAGMA page_count").fetchone()
            store._db.execute(f"PRAGMA max_page_count = {pages}")
            store._db.executemany("INSERT INTO clips VALUES (?, '', '', '', '', '', 1, '', '', '')", _names(5000))
    with ClipStore(tmp_path / "journal") as store:
        assert store.counts() == {}
    with pytest.raises(sqlite3.ProgrammingError):
        store.counts()


def _names(count: int):
    return ((f"clip {number}",) for number in range(count))


MANY = """
import resource, sys
from pathlib import Path
from espnet_vivit.corpora.preparing import prepare
from espnet_vivit.corpora.preparing.make_clip import ClipOptions, Outcome
from espnet_vivit.corpora.manifests import auto_avsr_clips
from espnet_vivit.media.quality.verdict import MEASURES
root, out, count = Path(sys.argv[1]), Path(sys.argv[2]), 0

def make(clip, options):
    global count
    count += 1
    if count % 1000 == 0:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    measures = dict.fromkeys(MEASURES, 1.0)
    verdict, reasons = ("reject", ("black",)) if count % 7 == 0 else ("ok", ())
    return Outcome(clip.utt_id, verdict, reasons, measures, video=clip.video, num_frames=75, shape=(96, 96))

prepare.make_clip = make
clips = auto_avsr_clips(root, {"train": root / "train.csv", "test": root / "test.csv"}, units=["", "▁GOOD", "▁MORNING"])
how = ClipOptions(folder=str(out / "clips"), modality="video")
prepare.prepare_clips(clips, out, options=how, nj=0, progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_list_of_100_000_lines_takes_no_more_memory_than_one_of_a_thousand(tmp_path):
    """From the list to data directories, report and page; the clips themselves are not made."""
    for split, first, last in (("train", 0, 95_000), ("test", 95_000, 100_000)):
        lines = (f"lrs3,{split}/talk{number // 20:05}/{number:06}.mp4,75,1 2\n" for number in range(first, last))
        (tmp_path / f"{split}.csv").write_text("".join(lines))
    command = [sys.executable, "-c", MANY, str(tmp_path), str(tmp_path / "out")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peaks_mib = [int(line) for line in printed.split()]
    assert len(peaks_mib) == 101 and peaks_mib[-1] - peaks_mib[0] < 60, peaks_mib
    with open(tmp_path / "out/report.tsv") as report:
        assert sum(1 for _ in report) == 100_001
    with open(tmp_path / "out/train/text") as train, open(tmp_path / "out/test/text") as test:
        assert sum(1 for _ in (*train, *test)) == 100_000 - 100_000 // 7
