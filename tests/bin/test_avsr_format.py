"""Stages 3, 4 and 10 on real small files: what is checked, what is written, what ESPnet's samplers make of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_vivit.bin.avsr_filter import filter_data_dir
from espnet_vivit.bin.avsr_format import check_held_out, format_data_dir
from espnet_vivit.bin.avsr_shapes import main as write_all_shapes
from espnet_vivit.data.data_dir import Utterance, read_scp, validate_data_dir, write_data_dir
from espnet_vivit.data.token_list import write_token_list
from espnet_vivit.errors import ConfigError, DataError

LENGTHS = {"a_1": 20, "a_2": 30, "b_1": 50}  # video frames


def write_clip(folder: Path, utt_id: str, frames: int, *, size: int = 16, samples: int | None = None) -> Utterance:
    folder.mkdir(parents=True, exist_ok=True)
    samples = 640 * frames if samples is None else samples
    np.save(folder / f"{utt_id}.npy", np.full((frames, size, size), 100, np.uint8))
    soundfile.write(folder / f"{utt_id}.wav", np.zeros(samples, np.float32), 16000)
    wav, video = str(folder / f"{utt_id}.wav"), str(folder / f"{utt_id}.npy")
    return Utterance(utt_id, utt_id[0], "bin blue at", wav, video, frames, samples)


@pytest.fixture
def data(tmp_path) -> Path:
    clips = [write_clip(tmp_path / "my clips", utt_id, frames) for utt_id, frames in LENGTHS.items()]
    write_data_dir(tmp_path / "data/train", clips)
    return tmp_path / "data/train"


def test_a_good_set_is_written_with_shapes_and_absolute_paths(data, tmp_path, monkeypatch):
    scp = data / "video.scp"
    scp.write_text(scp.read_text().replace(f"{tmp_path}/", ""))  # relative, as recipes write them
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "dump/raw/train"
    format_data_dir(Path("data/train"), out, nj=2)
    assert len(validate_data_dir(out)) == 3
    assert read_scp(out / "video.scp")["a_1"] == str(tmp_path / "my clips/a_1.npy")
    assert read_scp(out / "video_shape") == {"a_1": "20,16,16", "a_2": "30,16,16", "b_1": "50,16,16"}
    assert read_scp(out / "speech_shape")["b_1"] == "32000"


def test_every_bad_clip_is_named_and_nothing_passes_for_a_data_directory(data, tmp_path):
    out = tmp_path / "out"
    format_data_dir(data, out)
    clips = tmp_path / "my clips"
    np.save(clips / "a_1.npy", np.zeros((19, 16, 16), np.uint8))
    (clips / "b_1.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="2 of 3 clips cannot be used") as raised:
        format_data_dir(data, out)
    assert "a_1" in str(raised.value) and "19 frames" in str(raised.value) and "b_1" in str(raised.value)
    assert not (out / "text").exists()


def test_a_missing_file_is_named(data, tmp_path):
    (tmp_path / "my clips/a_2.wav").unlink()
    with pytest.raises(DataError, match=r"a_2.*does not exist"):
        format_data_dir(data, tmp_path / "out")


def test_sound_at_another_rate_is_refused(data, tmp_path):
    soundfile.write(tmp_path / "my clips/a_2.wav", np.zeros(640 * 30), 8000)
    with pytest.raises(DataError, match="8000 Hz"):
        format_data_dir(data, tmp_path / "out")


def test_two_picture_sizes_in_a_set_are_refused(tmp_path):
    write_data_dir(tmp_path / "d", [write_clip(tmp_path, "a_1", 20), write_clip(tmp_path, "a_2", 20, size=24)])
    with pytest.raises(DataError, match=r"picture size of a_2.*24x24.*16x16"):
        format_data_dir(tmp_path / "d", tmp_path / "out")


def test_a_clip_in_training_and_test_is_refused_but_clean_and_noisy_tests_may_share(data, tmp_path):
    clips = tmp_path / "my clips"
    for name in ("test", "test_babble"):
        write_data_dir(tmp_path / name, [write_clip(clips, "c_1", 20)])
    check_held_out(data, [tmp_path / "test", tmp_path / "test_babble"])
    write_data_dir(tmp_path / "test", [write_clip(clips, "a_1", 20)])
    with pytest.raises(DataError, match=r"train and test overlap.*a_1"):
        check_held_out(data, [tmp_path / "test_babble", tmp_path / "test"])


def test_too_short_and_too_long_clips_are_left_out_everywhere_and_counted(data, tmp_path):
    format_data_dir(data, tmp_path / "org")
    kept, dropped = filter_data_dir(tmp_path / "org", tmp_path / "kept", min_duration=1.0, max_duration=1.5)
    assert (kept, dropped) == (["a_2"], ["a_1", "b_1"])
    assert [utterance.utt_id for utterance in validate_data_dir(tmp_path / "kept")] == ["a_2"]
    assert read_scp(tmp_path / "kept/video_shape") == {"a_2": "30,16,16"}


def test_a_filter_that_leaves_nothing_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match="no clip"):
        filter_data_dir(data, tmp_path / "kept", min_duration=5.0, max_duration=6.0)
    with pytest.raises(ConfigError, match="shortest < longest"):
        filter_data_dir(data, tmp_path / "kept", min_duration=5.0, max_duration=4.0)


def test_espnets_samplers_make_batches_from_the_shapes(data, tmp_path):
    from espnet_vivit.espnet_compat import quiet_espnet_import

    with quiet_espnet_import():
        from espnet2.samplers.build_batch_sampler import build_batch_sampler

    dump, stats = tmp_path / "dump", tmp_path / "stats"
    format_data_dir(data, dump)
    write_token_list(dump / "text", tmp_path / "tokens", token_type="char")
    arguments = ["--train", dump, "--valid", dump, "--out", stats, "--token_list", tmp_path / "tokens/tokens.txt"]
    write_all_shapes([str(argument) for argument in [*arguments, "--token_type", "char"]])
    assert read_scp(stats / "valid/text_shape.char")["a_1"] == "11,12"  # b i n l u e a t and the space, with 3 symbols
    shape_files = [str(stats / "train/video_shape"), str(stats / "train/text_shape.char")]
    for kind in ("numel", "length", "folded", "sorted"):
        sampler = build_batch_sampler(
            kind,
            batch_size=2,
            batch_bins=60,
            shape_files=shape_files,
            fold_lengths=[100, 100],
            sort_in_batch="ascending",
        )
        assert [utt_id for batch in sampler for utt_id in batch] == ["a_1", "a_2", "b_1"]


def test_what_ctc_cannot_align_is_left_out_of_the_shapes_and_too_many_are_refused(data, tmp_path, capsys):
    dump, stats = tmp_path / "dump", tmp_path / "stats"
    format_data_dir(data, dump)
    text = dump / "text"
    text.write_text(text.read_text().replace("a_1 bin blue at", "a_1 bin blue at nine again please"))
    write_token_list(text, tmp_path / "tokens", token_type="char")
    arguments = ["--train", dump, "--valid", dump, "--out", stats, "--token_list", tmp_path / "tokens/tokens.txt"]
    arguments = [str(argument) for argument in [*arguments, "--token_type", "char", "--max_infeasible"]]
    with pytest.raises(DataError, match="1 of 3 utterances cannot be aligned"):
        write_all_shapes([*arguments, "0.3"])
    assert not (stats / "train").exists()
    for _ in range(2):  # the second call finds what it would write
        write_all_shapes([*arguments, "0.4"])
    assert sorted(path.name for path in stats.iterdir()) == ["train", "valid"]
    assert list(read_scp(stats / "train/video_shape")) == ["a_2", "b_1"]
    assert "excluded, more labels than steps: 1 (a_1)" in capsys.readouterr().out
