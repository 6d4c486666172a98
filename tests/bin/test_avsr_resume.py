"""When a training may be continued. The checkpoint is one that torch has written."""

import json

import pytest
import torch

from espnet_vivit.atomic_save import previous_of
from espnet_vivit.bin.avsr_resume import check_resume
from espnet_vivit.bin.avsr_resume import main as check_command
from espnet_vivit.bin.command import exit_status
from espnet_vivit.errors import ConfigError, DataError

ORIGIN = {"configuration": "a", "token list": "b"}


@pytest.fixture
def experiment(tmp_path):
    check_resume(tmp_path / "exp", ORIGIN)
    torch.save({"model": {"weight": torch.zeros(1000)}}, tmp_path / "exp/checkpoint.pth")
    return tmp_path / "exp"


def test_the_first_training_begins_and_a_stopped_one_goes_on(tmp_path):
    assert check_resume(tmp_path / "exp", ORIGIN) is False
    torch.save({}, tmp_path / "exp/checkpoint.pth")
    assert check_resume(tmp_path / "exp", ORIGIN) is True


def test_another_origin_is_refused_by_name_unless_it_is_wanted(experiment):
    with pytest.raises(ConfigError, match=r"another token list.*--asr_tag"):
        check_resume(experiment, {**ORIGIN, "token list": "c"})
    assert json.loads((experiment / "made_from.json").read_text()) == ORIGIN
    assert check_resume(experiment, {**ORIGIN, "token list": "c"}, resume_changed=True)


def test_nothing_was_trained_yet_so_anything_may_change(tmp_path):
    check_resume(tmp_path, ORIGIN)
    assert check_resume(tmp_path, {**ORIGIN, "configuration": "z"}) is False


def test_a_damaged_checkpoint_is_named_and_stops_only_a_training_that_has_no_other(experiment, capsys):
    path = experiment / "checkpoint.pth"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"no checkpoint to continue from: found .*checkpoint\.pth: it was cut off"):
        check_resume(experiment, ORIGIN)
    previous_of(path).write_bytes(whole)
    assert check_resume(experiment, ORIGIN)
    assert "checkpoint.pth is damaged" in capsys.readouterr().err


def test_the_command_names_a_missing_file(tmp_path, capsys):
    arguments = ["--exp", tmp_path, "--config", tmp_path / "none.yaml", "--token_list", "t", "--shapes", "s"]
    assert exit_status(check_command, list(map(str, arguments))) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err
