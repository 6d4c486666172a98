"""GRID: sentences and file names, word times, shrunken clips; the folder of real clips where it is present."""

import csv

import numpy as np
import pytest
import soundfile

from espnet_vivit.bin.avsr_grid_crops import main
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.corpora.grid_crops import COLUMNS, SPLITS, middle, prepare, sentence_of_code, shrink
from espnet_vivit.data.data_dir import read_data_dir
from espnet_vivit.errors import ConfigError, DataError, InputError
from espnet_vivit.media.files.video_file import read_video, write_gray_video

CLIPS = {"s1_bbaf2n": "train", "s1_lgiz9s": "dev", "s1_prwazp": "test_seen", "s2_swbv7a": "test_unseen"}
FRAMES, SAMPLES = 75, 47648  # 3 s of video, sound 22 ms shorter: as the corpus is


@pytest.fixture
def root(tmp_path):
    """Four clips in the layout of the real folder, one per split."""
    root = tmp_path / "grid crops"
    root.mkdir()
    rows, times = [], []
    for number, (utt_id, split) in enumerate(CLIPS.items()):
        picture = np.arange(96 * 96, dtype=np.uint32).reshape(96, 96) // (40 + number)
        write_gray_video(root / f"{utt_id}.mkv", np.repeat(picture.astype(np.uint8)[None], FRAMES, axis=0))
        soundfile.write(root / f"{utt_id}.flac", np.zeros(SAMPLES), 16000)
        text = sentence_of_code(utt_id.partition("_")[2])
        speaker = utt_id.partition("_")[0]
        rows.append([utt_id, speaker, split, FRAMES, SAMPLES, text, f"{utt_id}.mkv", f"{utt_id}.flac"])
        times += [[utt_id, "0.000", "0.500", "sil"]]
        times += [[utt_id, f"{0.5 + 0.2 * n:.3f}", f"{0.7 + 0.2 * n:.3f}", word] for n, word in enumerate(text.split())]
    rows.append(["s1_sgbq9n", "s1", "corrupt", FRAMES, SAMPLES, "set green by q nine now", "", ""])
    write_table(root / "manifest.tsv", COLUMNS, rows)
    write_table(root / "align.tsv", ("utt_id", "start_s", "end_s", "word"), times)
    return root


def write_table(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *rows])


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_each_split_becomes_a_data_directory_with_word_times(root, tmp_path):
    directories = prepare(root, tmp_path / "data", progress=False)
    assert tuple(directories) == SPLITS
    (utterance,) = read_data_dir(directories["train"])
    assert (utterance.utt_id, utterance.speaker, utterance.text) == ("s1_bbaf2n", "s1", "bin blue at f two now")
    assert (utterance.num_frames, utterance.num_samples) == (FRAMES, SAMPLES)
    assert [time.word for time in utterance.word_times] == utterance.text.split()  # pauses are no words
    assert utterance.word_times[0][:2] == (0.5, 0.7)


def test_shrunken_clips_show_the_middle_and_are_made_once(root, tmp_path):
    directories = prepare(root, tmp_path / "data", view=64, size=32, nj=2, progress=False)
    (utterance,) = read_data_dir(directories["dev"])
    small = read_video(utterance.video)
    large = read_video(root / "s1_lgiz9s.mkv")[:, 16:80, 16:80].astype(float)
    means = (large[:, ::2, ::2] + large[:, 1::2, ::2] + large[:, ::2, 1::2] + large[:, 1::2, 1::2]) / 4
    assert small.shape == (FRAMES, 32, 32) and np.abs(small - means).max() <= 0.5
    folder = tmp_path / "data/clips_64_32"
    made = (folder / "s1_lgiz9s.npy").stat().st_mtime_ns
    (folder / "s1_bbaf2n.npy").write_bytes(b"cut off")
    prepare(root, tmp_path / "data", view=64, size=32, progress=False)
    assert (folder / "s1_lgiz9s.npy").stat().st_mtime_ns == made
    assert read_video(folder / "s1_bbaf2n.npy").shape == (FRAMES, 32, 32)
    np.save(folder / "s1_bbaf2n.npy", np.zeros((FRAMES - 1, 32, 32), np.uint8))  # whole, of other pictures
    prepare(root, tmp_path / "data", view=64, size=32, progress=False)
    assert read_video(folder / "s1_bbaf2n.npy").shape == (FRAMES, 32, 32)


@pytest.mark.parametrize(("old", "new"), [(64, 52), (96, 48), (64, 37), (8, 8)])
def test_shrinking_takes_the_mean_over_the_area_as_opencv_does(old, new):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'espnet-vivit[media]'")
    video = np.random.default_rng(0).integers(0, 256, (3, old, old), dtype=np.uint8)
    expected = [cv2.resize(picture, (new, new), interpolation=cv2.INTER_AREA) for picture in video]
    assert np.abs(shrink(video, new).astype(int) - np.stack(expected)).max() <= 1  # OpenCV rounds halves up


def test_a_split_whose_word_times_are_incomplete_has_none(root, tmp_path):
    lines = (root / "align.tsv").read_text().splitlines()
    (root / "align.tsv").write_text("\n".join(line for line in lines if not line.startswith("s2_")) + "\n")
    directories = prepare(root, tmp_path / "data", progress=False)
    assert read_data_dir(directories["test_unseen"])[0].word_times is None
    assert read_data_dir(directories["train"])[0].word_times is not None


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("manifest.tsv", "bin blue at f two now", "bin blue at f ten now", "sentence of s1_bbaf2n"),
        ("manifest.tsv", "s1_lgiz9s.mkv", "none.mkv", "s1_lgiz9s has no video"),
        ("manifest.tsv", "s1_lgiz9s\ts1", "s1_bbaf2n\ts1", "s1_bbaf2n is listed twice"),
        ("manifest.tsv", "\tn_frames", "\tframes", "lacks columns"),
        ("manifest.tsv", "\ttest_seen\t", "\ttest_sen\t", "no clips for test_seen"),
        ("align.tsv", "\tblue", "\tgreen", "word times do not spell"),
    ],
)
def test_what_is_wrong_in_the_folder_is_named(root, tmp_path, file, old, new, message):
    edit(root / file, old, new)
    with pytest.raises(DataError, match=message):
        prepare(root, tmp_path / "data", progress=False)


def test_a_misspelt_option_of_the_command_is_corrected(capsys):
    with pytest.raises(SystemExit) as stop:
        exit_status(main, ["--grid_root", "grid", "--out", "data", "--veiw", "64"])
    assert stop.value.code == 2 and "no option --veiw: did you mean --view?" in capsys.readouterr().err


def test_the_command_says_which_folder_it_wants(tmp_path, capsys):
    assert exit_status(main, ["--grid_root", str(tmp_path), "--out", str(tmp_path / "data")]) == 1
    assert "--grid_root is the folder" in capsys.readouterr().err
    for sizes in ({"size": 97}, {"view": 64, "size": 65}, {"view": 63, "size": 32}, {"size": 0}):
        with pytest.raises(ConfigError, match="size <= view <= 96, view even"):
            prepare(tmp_path, tmp_path / "data", **sizes)
    with pytest.raises(InputError, match="too small"):
        middle(np.zeros((2, 50, 60), np.uint8), 64)


@pytest.mark.parametrize("code", ["bbaf2", "bbaw2n", "xbaf2n"])
def test_what_is_no_grid_name_is_refused(code):
    with pytest.raises(DataError, match="no GRID file name"):
        sentence_of_code(code)


def test_the_real_folder(shared_dir, tmp_path):
    """649, 50, 100 and 18 real clips; seven of the unseen speakers' clips have no word times."""
    if not (shared_dir / "data/grid").is_dir():
        pytest.skip("../shared/data/grid is not here")
    directories = prepare(shared_dir / "data/grid", tmp_path / "data", progress=False)
    sizes = {split: len(read_data_dir(directory)) for split, directory in directories.items()}
    assert sizes == {"train": 649, "dev": 50, "test_seen": 100, "test_unseen": 18}
