"""A save that breaks off must leave what was there."""

import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch

from espnet_vivit.errors import MediaError
from espnet_vivit.tasks.training.atomic_save import atomic_saves


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("no")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "checkpoint.pth"
    with atomic_saves():
        torch.save({"epoch": 1}, path)
        with pytest.raises(RuntimeError, match="no"):
            torch.save({"epoch": 2, "bad": Unpicklable()}, path)
    assert torch.load(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


def test_outside_the_block_torch_saves_as_before():
    before = torch.save
    with atomic_saves():
        assert torch.save is not before
    assert torch.save is before


KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from espnet_vivit.tasks.training.atomic_save import atomic_saves

class Kill:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

atomic = sys.argv[2] == "atomic"
save = {"weights": torch.zeros(10), "last": Kill()}
if atomic:
    with atomic_saves():
        torch.save(save, sys.argv[1])
torch.save(save, sys.argv[1])
"""


@pytest.mark.parametrize("way", ["atomic", "plain"])
def test_a_process_killed_in_the_middle_damages_nothing(tmp_path, way):
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 1}, path)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(path), way])
    assert killed.returncode == -signal.SIGKILL
    if way == "atomic":
        assert torch.load(path) == {"epoch": 1}
    else:  # what is guarded against does happen
        with pytest.raises((EOFError, RuntimeError, pickle.UnpicklingError)):
            torch.load(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("numbers", [1, 10**6])
def test_a_full_disk_is_named_with_the_file(tmp_path, numbers, monkeypatch):
    """/dev/full has no room: what is opened for writing in this folder leads there."""
    real_open = open
    monkeypatch.setattr(
        "builtins.open", lambda path, *args: real_open("/dev/full" if str(path).endswith(".partial") else path, *args)
    )
    with (
        atomic_saves(),
        pytest.raises(MediaError, match=rf"cannot write {tmp_path}/w\.pth \(.*No space left on device"),
    ):
        torch.save({"x": torch.zeros(numbers)}, tmp_path / "w.pth")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_named(tmp_path):
    with atomic_saves(), pytest.raises(MediaError, match=r"cannot write .*w\.pth"):
        torch.save({}, tmp_path / "absent/w.pth")
