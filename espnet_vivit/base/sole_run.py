"""One run at a time in a folder: of two trainings that write the same files, the second is refused.

The lock is the system's (flock): it goes with its process, whatever ends that, so that a killed run blocks nobody.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from espnet_vivit.base.whole_file import make_folder
from espnet_vivit.errors import ConfigError, MediaError

LOCK = ".running"
log = logging.getLogger(__name__)


@contextmanager
def sole_run(folder: str | os.PathLike) -> Iterator[None]:
    """Inside the block no other process can enter one for `folder`, which is made if it is not there.

    Raises ConfigError while another process is in one, MediaError for a folder that cannot be written to.
    """
    path = make_folder(folder) / LOCK
    file = _locked(path)
    if file is None:
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is ours
        file.close()


def _locked(path: Path) -> IO[str] | None:
    """The open lock; None on a file system that knows none."""
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")
        except OSError as error:
            fix = "Choose another folder, or make it writable"
            raise MediaError(f"cannot write into {path.parent} ({error.strerror})", fix=fix) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    log.warning("%s: two runs at once would not be noticed (%s)", path.parent, error.strerror)
                    return None
                file.seek(0)
                raise _occupied(path.parent, file.read().strip()) from None
        if _is_still(file, path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            return file
        file.close()  # the run before removed it in between


def _is_still(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _occupied(folder: Path, who: str) -> ConfigError:
    return ConfigError(
        f"another run is writing into {folder}",
        found=who or "a process that has just begun",
        fix="Wait for it or stop it, or name another folder with --output_dir",
    )
