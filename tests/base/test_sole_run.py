"""Two runs in one folder: the second is told so; a run that was killed blocks nobody."""

import multiprocessing
import os
import signal

import pytest

from espnet_vivit.base.sole_run import LOCK, sole_run
from espnet_vivit.errors import ConfigError, MediaError


def hold(folder, inside):
    with sole_run(folder):
        inside.set()
        signal.pause()


def test_the_second_run_is_refused_and_told_who_is_there(tmp_path):
    with sole_run(tmp_path / "exp"):
        with pytest.raises(ConfigError, match=rf"writing into .*exp: found process {os.getpid()} on .*--output_dir"):
            with sole_run(tmp_path / "exp"):
                pass
        with sole_run(tmp_path / "other"):
            pass
    with sole_run(tmp_path / "exp"):
        pass
    assert not (tmp_path / "exp" / LOCK).exists()


def test_a_run_that_was_killed_blocks_nobody(tmp_path):
    context = multiprocessing.get_context("fork")
    inside = context.Event()
    process = context.Process(target=hold, args=(tmp_path, inside))
    process.start()
    assert inside.wait(20)
    with pytest.raises(ConfigError, match=f"process {process.pid}"), sole_run(tmp_path):
        pass
    process.kill()
    process.join()
    assert (tmp_path / LOCK).exists()
    with sole_run(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot make the folder"), sole_run(tmp_path / "file/exp"):
        pass
