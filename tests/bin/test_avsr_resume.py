"""When a training may be continued. The checkpoint is one that torch has written."""

import json

import numpy as np
import pytest
import torch

from espnet_vivit.bin.avsr_resume import check_resume
from espnet_vivit.bin.avsr_resume import main as check_command
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.data.mouth_view import write_mouth_view
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.training.atomic_save import previous_of
from tests.tiny_corpus import write_tiny_corpus

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


def test_what_an_earlier_version_did_not_note_is_taken_as_it_is_and_noted(experiment):
    more = {**ORIGIN, "validation set": "v"}
    assert check_resume(experiment, more)
    assert json.loads((experiment / "made_from.json").read_text()) == more
    with pytest.raises(ConfigError, match="another validation set"):
        check_resume(experiment, {**more, "validation set": "w"})
    with pytest.raises(ConfigError, match="another validation set"):
        check_resume(experiment, ORIGIN)  # and what it noted must still be known


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


def change_a_word(data, split="train"):
    text = (data / split / "text").read_text()
    (data / split / "text").write_text(text.replace(text.split()[1], "again", 1))


def crop_smaller(data):
    first = next(iter(read_scp(data / "train/video.scp").values()))
    np.save(first, np.load(first)[:, 2:, 2:])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_a_word, "training set"),
        (crop_smaller, "size or view of the pictures"),
        (lambda data: write_mouth_view(data, 96), "size or view of the pictures"),
        (lambda data: (data / "shapes").write_text("s0-train0 2\n"), "training set"),
        (lambda data: change_a_word(data, "valid"), "validation set"),
        (lambda data: (data / "valid_shapes").write_text("s0-valid0 2\n"), "validation set"),
    ],
)
def test_changed_data_are_noticed(tmp_path, capsys, change, named):
    data = write_tiny_corpus(tmp_path / "data")
    write_mouth_view(data, 64)
    (data / "shapes").write_text("s0-train0 2\ns1-train1 2\n")
    (data / "valid_shapes").write_text("s0-valid0 2\ns1-valid1 2\n")
    (tmp_path / "train.yaml").write_text("max_epoch: 1\n")
    arguments = ["--exp", tmp_path / "exp", "--config", tmp_path / "train.yaml", "--token_list", data / "tokens.txt"]
    arguments += ["--shapes", data / "shapes", "--data", data / "train", "--prepared", data]
    arguments += ["--valid_shapes", data / "valid_shapes", "--valid", data / "valid"]
    command = list(map(str, arguments))
    assert exit_status(check_command, command) == 0
    torch.save({}, tmp_path / "exp/checkpoint.pth")
    assert exit_status(check_command, command) == 0
    change(data)
    assert exit_status(check_command, command) == 1
    assert f"was trained with another {named}" in capsys.readouterr().err


def test_the_command_names_a_missing_file(tmp_path, capsys):
    arguments = ["--exp", tmp_path, "--config", tmp_path / "none.yaml", "--token_list", "t", "--shapes", "s"]
    arguments += ["--data", tmp_path, "--prepared", tmp_path, "--valid", tmp_path, "--valid_shapes", "v"]
    assert exit_status(check_command, list(map(str, arguments))) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err
