"""The page's temporary folder: uploads and results, readable by this user only, gone when the page ends.

A page that was killed cannot delete its folder; the next one that starts does.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_vivit.base.sole_run import LOCK, sole_run
from espnet_vivit.errors import ConfigError

_PREFIX = "espnet_vivit_page_"


@contextmanager
def page_folder() -> Iterator[Path]:
    """A new folder while the block runs; the folders of pages that run no more are deleted."""
    delete_left_folders()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with sole_run(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what another program still writes into is deleted by the next page


def delete_left_folders() -> None:
    """Delete this user's page folders whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        is_own = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
        if not is_own or not (folder / LOCK).is_file():  # without a lock a page has only just made it
            continue
        try:
            with sole_run(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except ConfigError:  # its page is running
            continue
