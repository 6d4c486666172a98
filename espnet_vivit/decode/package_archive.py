"""Archives in and out: one file for a folder, and what `espnet2.bin.pack` writes. Nothing in them is run.

In: a `.zip`, or a tar in one of ESPnet's four spellings. Out: its files in an empty folder. A member that would be
written outside that folder, or is anything but a plain file, is an error: neither of ESPnet's own archivers looks.
"""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import DataError

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


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

    Raises DataError: not an archive, damaged, or with a member that is not a plain file inside.
    """
    try:
        with _members(path) as members:
            for name, source in members:
                target = folder / _inside(name, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"cannot read the archive {path} ({error})", fix="Get it again; is it complete?") from error


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
