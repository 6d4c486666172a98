"""espnet-vivit prepare: from a folder of videos to data directories, and what it says when something is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_vivit.bin import cli
from espnet_vivit.data.data_dir import check_disjoint, validate_data_dir
from tests.talking_files import write_talking

QUICK = ["--detector", "centre", "--nj", "0"]


@pytest.fixture
def videos(tmp_path):
    """Four talking mouths with transcripts, one video without, one that is none."""
    for n in range(4):
        path = write_talking(tmp_path / "my videos" / f"clip {n}.mkv", seed=n)
        path.with_suffix(".txt").write_text(f"sentence number {n}")
    shutil.copy(path, path.with_name("without.mkv"))
    path.with_name("broken.mp4").write_text("I am no video.")
    path.with_name("broken.txt").write_text("but I have a transcript")
    return path.parent


def test_a_folder_becomes_data_to_train_on(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["prepare", "folder", str(videos), str(out), *QUICK, "--write_av_hubert"]) == 0
    printed = capsys.readouterr().out
    sets = {name: validate_data_dir(out / name) for name in ("train", "dev", "test")}
    check_disjoint({name: out / name for name in sets})
    kept = {utterance.utt_id: utterance.text for utterances in sets.values() for utterance in utterances}
    assert kept == {f"clip_{n}": f"sentence number {n}" for n in range(4)}
    for name, utterances in sets.items():
        assert f"{name}: {len(utterances)} clips in {out / name}" in printed
        assert len((out / f"{name}.tsv").read_text().splitlines()) == len(utterances) + 1
    assert "left out because:" in printed and "no transcript" in printed and "cannot decode" in printed
    assert len((out / "report.tsv").read_text().splitlines()) == 1 + 6


def test_without_sets_held_out_those_of_an_earlier_run_are_gone(videos, tmp_path, capsys):
    """Else dev would hold a clip that is in train by now."""
    out = tmp_path / "out"
    arguments = ["prepare", "folder", str(videos), str(out), *QUICK, "--write_av_hubert"]
    assert cli.main(arguments) == 0 and (out / "dev/text").is_file() and (out / "dev.tsv").is_file()
    capsys.readouterr()
    assert cli.main([*arguments, "--dev", "0", "--test", "0"]) == 0
    printed = capsys.readouterr().out
    for name in ("dev", "test"):
        assert f"{name}: no longer in this corpus; {out / name} of an earlier run lost its `text`" in printed
        assert not any((out / lost).exists() for lost in (f"{name}/text", f"{name}.tsv", f"{name}.wrd"))
    assert len(validate_data_dir(out / "train")) == 4 == len((out / "train.wrd").read_text().splitlines())


@pytest.fixture
def pieces(tmp_path):
    """A sentencepiece model and its unit list, as Auto-AVSR has them."""
    import sentencepiece

    words = "sentence number zero one two three".split()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words), *words]), model_prefix=str(tmp_path / "unigram"), vocab_size=26,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "unigram.model"))
    names = [processor.id_to_piece(n) for n in range(processor.vocab_size())]
    kept = ["<unk>", *(name for name in names if not name.startswith("<"))]
    (tmp_path / "units.txt").write_text("".join(f"{name} {n}\n" for n, name in enumerate(kept, 1)), encoding="utf-8")
    return [str(tmp_path / "unigram.model"), str(tmp_path / "units.txt")]


def test_lists_for_auto_avsr_are_read_back_with_their_sound(videos, pieces, tmp_path, capsys):
    import numpy as np
    import soundfile

    from espnet_vivit.corpora.manifests import auto_avsr_clips
    from espnet_vivit.data.token_list import read_units

    for number, word in enumerate("zero one two three".split()):
        (videos / f"clip {number}.txt").write_text(f"number {word}")
    out = tmp_path / "out"
    arguments = ["prepare", "folder", str(videos), str(out), *QUICK, "--dev", "0", "--test", "0", "--write_auto_avsr"]
    assert cli.main([*arguments, *pieces]) == 0, capsys.readouterr().err
    read = list(auto_avsr_clips(out, {"train": out / "train.csv"}, units=read_units(pieces[1])))
    kept = validate_data_dir(out / "train")
    assert [(clip.text, clip.problem) for clip in read] == [(one.text, "") for one in kept]
    for clip, one in zip(read, kept, strict=True):
        assert clip.video == one.video and clip.audio == str(Path(one.video).with_suffix(".wav"))
        assert np.array_equal(soundfile.read(clip.audio)[0], soundfile.read(one.wav)[0])
    for number in range(4):
        (videos / f"clip {number}.txt").write_text("NUMBER ONE")
    assert cli.main([*arguments, *pieces]) == 1
    assert "train.csv would be <unk>" in capsys.readouterr().err
    assert cli.main([*arguments, pieces[1], pieces[1]]) == 1 and "no sentencepiece model" in capsys.readouterr().err
    assert cli.main([*arguments, "none.model", pieces[1]]) == 1 and "there is no file none" in capsys.readouterr().err


@pytest.fixture
def crops(tmp_path):
    from tests.recipes.test_recipe_corpora import write_grid_crops

    write_grid_crops(tmp_path / "crops", train=1)
    return tmp_path / "crops"


def test_crops_of_grid_take_their_options_and_what_a_recipe_gives(crops, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["prepare", "grid", str(crops), str(out), "--nj", "1", "--write_av_hubert", "--protocol", "overlapped"]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    for name in ("train", "dev", "test_seen", "test_unseen"):
        (one,) = validate_data_dir(out / name)
        _, line = (out / f"{name}.tsv").read_text().splitlines()
        utt_id, video, audio, frames, samples = line.split("\t")
        assert (utt_id, f"/{video}", int(frames), int(samples)) == (one.utt_id, one.video, 75, 47648)
        assert f"/{audio}" == str(out / f"clips/{one.utt_id}.wav") and Path(f"/{audio}").is_file()
    assert not list(crops.glob("*.wav"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--protocol", "unseen"], "--protocol"),
        (["--max_s", "5", "--modality", "video", "--codec", "ffv1"], "--modality, --codec, --max_s"),
        (["--detector", "haar", "--speakers", "s1", "--retry_rejected"], "--speakers, --detector, --retry_rejected"),
        (["--download"], "--download"),
        (["--dask-scheduler", "tcp://head:8786", "--detect_every", "2"], "--dask-scheduler, --detect_every"),
        (["--write_av_hubert", "--view", "64", "--size", "52"], "--view 64 --size 52; expected crops as they are"),
    ],
)
def test_crops_of_grid_refuse_what_would_do_nothing(crops, tmp_path, capsys, arguments, named):
    assert cli.main(["prepare", "grid", str(crops), str(tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err
    assert f"found {named}" in error and "expected" in error
    assert "manifest.tsv says that these are crops" in error or "--write_av_hubert" in arguments
    assert not (tmp_path / "out").exists()


def test_it_runs_in_processes_and_the_second_time_does_nothing(videos, tmp_path):
    command = [sys.executable, "-m", "espnet_vivit.bin.cli", "prepare", "folder", str(videos), str(tmp_path / "out")]
    command += ["--detector", "centre", "--nj", "2"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "6/6" in first.stderr, "a progress bar"
    crop = next((tmp_path / "out/clips").rglob("*.mp4"))
    made = crop.stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert again.stdout == first.stdout and crop.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "NONE", "OUT"], "NONE is not a folder"),
        (["folder", "EMPTY", "OUT"], "has no video: found nothing; expected files such as"),
        (["lrs2", "EMPTY", "OUT"], "is not LRS2"),
        (["lrs3", "EMPTY", "OUT"], "is not LRS3"),
        (["grid", "EMPTY", "OUT"], "has no GRID video"),
        (["folder", "EMPTY", "OUT", "--size", "97"], "bad picture sizes"),
        (["av-hubert", "EMPTY", "OUT", "--list", "train"], "bad --list: found 'train'; expected SET=FILE"),
        (["av-hubert", "EMPTY", "OUT", "--list", "train=none.tsv"], "cannot read none.tsv"),
        (["auto-avsr", "EMPTY", "OUT", "--list", "a=b.csv", "--units", "none"], "cannot read none"),
        (["folder", "EMPTY", "OUT", "--write_av_hubert", "--modality", "video"], "--modality video: expected sound"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_1(arguments, message, tmp_path, capsys):
    (tmp_path / "EMPTY").mkdir()
    places = {name: str(tmp_path / name) for name in ("EMPTY", "NONE", "OUT")}
    assert cli.main(["prepare", *(places.get(word, word) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_two_videos_of_one_name_are_named(videos, tmp_path, capsys):
    shutil.copy(videos / "clip 0.mkv", videos / "clip_0.mp4")
    (videos / "clip_0.txt").write_text("another")
    assert cli.main(["prepare", "folder", str(videos), str(tmp_path / "out"), *QUICK]) == 1
    error = capsys.readouterr().err
    assert "have the id 'clip_0'" in error or "both have clip_0" in error
    assert "clip 0.mkv" in error and "clip_0.mp4" in error


def test_a_corpus_that_does_not_exist_is_a_usage_error(capsys):
    for arguments in (["prepare", "lrs4", "a", "b"], ["prepare"], ["prepare", "folder", "a"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "folder", "--help"])
    assert stop.value.code == 0 and "example: espnet-vivit prepare folder my_videos out" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(videos, tmp_path, capsys, monkeypatch):
    from espnet_vivit.corpora.preparing import prepare as prepared

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "make_clip", stop)
    assert cli.main(["prepare", "folder", str(videos), str(tmp_path / "out"), *QUICK]) == 130
    assert f"go on with: espnet-vivit prepare folder '{videos}'" in capsys.readouterr().err


def test_real_videos_of_the_corpus(shared_dir, tmp_path, capsys):
    """Two original GRID videos, one of them with a broken beginning, with whatever detector is here."""
    pytest.importorskip("cv2", reason="needs OpenCV: pip install 'espnet-vivit[media]'")
    originals = shared_dir / "data/grid/original"
    if not originals.is_dir():
        pytest.skip("../shared/data/grid is not here")
    for name in ("s1_bgwh9s", "s1_bbizzn"):
        (tmp_path / "grid/s1").mkdir(parents=True, exist_ok=True)
        shutil.copy(originals / f"s1/{name}.mpg", tmp_path / "grid/s1")
    status = cli.main(["prepare", "grid", str(tmp_path / "grid"), str(tmp_path / "out"), "--nj", "0"])
    captured = capsys.readouterr()
    rows = dict(line.split("\t")[0:4:3] for line in (tmp_path / "out/report.tsv").read_text().splitlines())
    assert rows["s1_bbizzn"] == "reject" and rows["s1_bgwh9s"] in ("ok", "warn"), captured
    directory = next(path.parent for path in Path(tmp_path / "out").glob("*/text")) if status == 0 else None
    assert directory is None or validate_data_dir(directory)[0].num_frames == 75
