"""Archives in and out: one file for a folder, and what `espnet2.bin.pack` writes. Nothing in them is run.

In: a `.zip`, or a tar in one of ESPnet's four spellings. Out: its files in an empty folder. A member that would be
written outside that folder, or is anything but a plain file, is an error: neither of ESPnet's own archivers looks.
"""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from espnet_vivit.base.whole_file import is_disk_error, replacing
from espnet_vivit.errors import DataError, EspnetVivitError, MediaError

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


MOST_TIMES, SPARE, MOST_FILES = 10, 16 << 20, 1000  # an archive unpacks to; bytes that small ones may have beside


def is_archive(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and path.is_file()


def write_zip(path: Path, folder: Path) -> None:
    """One file with all that lies in `folder`; stored, not compressed, because weights do not get smaller.

    It appears complete or not at all. Equal folders give equal bytes: no times, no owners are kept.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", compression=zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            member = zipfile.ZipInfo(str(file.relative_to(folder).as_posix()))
            member.external_attr = 0o644 << 16
            with open(file, "rb") as source, archive.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def extract(path: Path, folder: Path) -> None:
    """Write every file of the archive under `folder`, without a leading `/`.

    Raises DataError: not an archive, damaged, with a member that is not a plain file inside, or larger than an archive
    of weights can be; MediaError for a full disk.
    """
    room = MOST_TIMES * path.stat().st_size + SPARE
    try:
        with _members(path) as members:
            for count, (name, source) in enumerate(members, 1):
                if count > MOST_FILES:
                    raise DataError(f"{path} holds more than {MOST_FILES} files", fix="Is it the archive of a model?")
                target = folder / _inside(name, path)
                with source:
                    room = _write(target, source, room, path)
    except EspnetVivitError:
        raise
    except OSError as error:
        if is_disk_error(error):
            fix = "Make room, or set TMPDIR to a folder that has it"
            raise MediaError(f"cannot unpack {path} into {folder} ({error.strerror})", fix=fix) from error
        raise _unreadable(path, error) from error
    except Exception as error:  # a damaged archive fails in as many ways as there are; its words say which
        raise _unreadable(path, error) from error


def _write(target: Path, source: IO[bytes], room: int, archive: Path) -> int:
    """Copy one file of at most `room` bytes; returns what room is left. Raises DataError for a larger one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as file:
        while block := source.read(1 << 20):
            room -= len(block)
            if room < 0:
                found = f"more than {MOST_TIMES} times its size"
                fix = "The archive of a model does not get smaller by so much. Do not use it"
                raise DataError(f"{archive} unpacks to what no model is", found=found, fix=fix)
            file.write(block)
    return room


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return DataError(f"cannot read the archive {path} ({reason})", fix="Get it again; is it complete?")


def _inside(name: str, archive: Path) -> PurePosixPath:
    inside = PurePosixPath(name.lstrip("/"))
    if not inside.parts or ".." in inside.parts or "\\" in name:
        raise DataError(f"{archive} wants to write outside its folder", found=repr(name), expected="names inside")
    return inside


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """(name, its bytes as a file) of each plain file in the archive."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            yield ((member.filename, archive.open(member)) for member in archive.infolist() if not member.is_dir())
    else:
        with tarfile.open(path) as archive:
            yield ((member.name, _plain(archive, member, path)) for member in archive if not member.isdir())


def _plain(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> IO[bytes]:
    file = archive.extractfile(member) if member.isfile() else None
    if file is None:
        raise DataError(f"{path} holds something that is not a plain file", found=repr(member.name))
    return file
