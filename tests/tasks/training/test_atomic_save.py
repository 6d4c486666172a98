"""A save that breaks off must leave what was there."""

import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch

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
