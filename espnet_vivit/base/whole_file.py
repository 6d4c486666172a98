"""Write files that appear whole or not at all, with named errors for folders and files that cannot be written.

What a run that was killed had not finished lies under a name of its own (TEMPORARY) beside the file, never under the
file's: half a file can not be taken for a finished one. (Checkpoints go further: see atomic_save.py.)
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_vivit.errors import EspnetVivitError, MediaError

TEMPORARY = re.compile(r"\..*\.\d+\.part(\.\w+)?", re.DOTALL)  # names that `replacing` gives to what is not finished


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` with the same suffix; move it onto `path` if the block succeeds, remove it
    if not.

    The system's errors in the block become a MediaError, which names `path`.
    """
    path = Path(path)
    number = int.from_bytes(os.urandom(4), "big")  # two runs at once do not meet, not even from two machines
    temporary = path.with_name(f".{path.stem}.{number}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, EspnetVivitError):
            raise
        raise MediaError(f"cannot write {path} ({error})", fix="Check that its folder exists and has room.") from error
    finally:
        if os.path.exists(temporary):  # something went wrong; False also where its folder is none, or closed to us
            temporary.unlink()


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, all or nothing. Raises MediaError."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UnicodeEncodeError as error:
        odd = text[max(0, error.start - 20) : error.end + 20]
        raise MediaError(
            f"cannot write {path}, which is UTF-8", found=ascii(odd), fix="Rename the file whose name is no UTF-8."
        ) from error


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Write the lines as UTF-8, all or nothing, into a folder that is made if it is not there. Raises MediaError."""
    make_folder(Path(path).parent)
    write_whole(path, "".join(f"{line}\n" for line in lines))


def make_folder(path: str | os.PathLike) -> Path:
    """The folder, made with those above it if it is not there. Raises MediaError."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"cannot make the folder {path} ({error.strerror})", fix="Choose another one.") from error
    return path


def check_writable(folder: str | os.PathLike) -> None:
    """Raise MediaError if no file can be made in the folder. To be asked before hours of work, not after."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MediaError(f"cannot write into {folder} ({error.strerror})", fix="Choose another folder.") from error


_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def is_disk_error(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk is full or may not be written to."""
    while error is not None:
        if getattr(error, "errno", None) in _CODES:
            return True
        error = error.__cause__ or error.__context__
    return False


_ORDINARY = _CODES | {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY),
}


def ordinary_trouble(error: OSError) -> str | None:
    """A sentence for what files, disks and permissions do to every program; None for what may be a defect of ours."""
    if error.errno not in _ORDINARY or (error.errno == errno.ENOENT and error.filename is None):
        return None
    where = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
    advice = {
        errno.ENOSPC: "Make room on the disk",
        errno.EDQUOT: "Your share of the disk is used up",
        errno.EFBIG: "Files may not be so large here: ulimit -f",
        errno.EROFS: "It may only be read: name another folder",
        errno.EACCES: "Give yourself the permission, or name another one",
        errno.EMFILE: "More files are open than the system allows: ulimit -n, or fewer workers",
    }.get(error.errno or 0, "Check that path")
    return f"{error.strerror}{where}. {advice}"
