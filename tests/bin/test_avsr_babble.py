import pytest

from espnet_vivit.bin import avsr_babble
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.corpora.mini_av.corpus import prepare
from espnet_vivit.data.data_dir import read_data_dir
from espnet_vivit.media.files.audio_file import read_wav


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    counts = {"num_train": 10, "num_dev": 1, "num_test_seen": 1, "num_test_unseen": 1}
    return prepare(tmp_path_factory.mktemp("mini_av"), nj=1, progress=False, **counts)


def test_each_ratio_becomes_a_set(sets, tmp_path, capsys):
    arguments = ["--data", str(sets["test_seen"]), "--talkers", str(sets["train"])]
    arguments += ["--out", str(tmp_path / "noisy"), "--wav_dir", str(tmp_path / "wavs")]
    avsr_babble.main([*arguments, "--snr_db", "-5"])
    assert "6 voices at -5 dB" in capsys.readouterr().out
    (before,), (after,) = read_data_dir(sets["test_seen"]), read_data_dir(tmp_path / "noisy")
    assert (after.utt_id, after.text, after.video) == (before.utt_id, before.text, before.video)
    assert after.wav.startswith(str(tmp_path / "wavs"))
    assert read_wav(after.wav).shape == read_wav(before.wav).shape


def test_a_missing_folder_is_an_error_in_one_line(sets, tmp_path, capsys):
    arguments = ["--data", str(tmp_path / "nowhere"), "--talkers", str(sets["train"]), "--out", "out"]
    assert exit_status(avsr_babble.main, arguments) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
