"""Gets the files of a public Zenodo record, and goes on where a connection broke.

    download_record(GRID_RECORD, "grid", wanted=("s1.zip", "alignments.zip"))

The record itself says which files there are, how large, and their MD5 sums; every one is checked. What is there and
whole is not fetched again. A file that stays bad does not keep the others from coming: the bad ones are named at the
end.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.base.progress_bar import byte_bar
from espnet_vivit.base.whole_file import is_disk_error, replacing
from espnet_vivit.errors import DataError, MediaError

GRID_RECORD = "https://zenodo.org/api/records/3625687"
TIMEOUT_S = 60
ATTEMPTS = 8  # in a row that bring nothing
BLOCK = 1 << 20
_SPEAKER_ARCHIVE = re.compile(r"s\d{1,2}\.zip")
_BROKEN = (OSError, http.client.HTTPException)  # urllib's own errors are OSErrors


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size: int  # bytes
    md5: str
    url: str


def list_record(url: str = GRID_RECORD) -> list[RemoteFile]:
    """The files of a record. Raises MediaError without an answer, DataError for one that is no record."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            record = json.load(answer)
        return [
            RemoteFile(Path(f["key"]).name, int(f["size"]), f["checksum"].removeprefix("md5:"), f["links"]["self"])
            for f in record["files"]
        ]
    except _BROKEN as error:
        raise MediaError(f"no answer from {url} ({error})", fix="Is there a network? Run again later.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{url} is no Zenodo record", expected="JSON with files, sizes and MD5 sums") from error


def download_record(
    url: str,
    folder: str | os.PathLike,
    *,
    wanted: Sequence[str] | None = None,
    progress: bool = True,
    pause_s: float = 2.0,
) -> list[Path]:
    """Fetch files of a record into `folder`, by name (None: all). Raises MediaError, which lists what stays bad."""
    files = list_record(url)
    names = {file.name for file in files}
    if missing := sorted(set(wanted or ()) - names):
        raise DataError(f"the record has no {', '.join(missing)}", found=", ".join(sorted(names)))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths, bad = [], []
    for file in files:
        if wanted is not None and file.name not in wanted:
            continue
        try:
            paths.append(fetch(file, folder / file.name, progress=progress, pause_s=pause_s))
        except MediaError as error:
            bad.append(str(error))
    if bad:
        raise MediaError(
            f"{len(bad)} files are not here:\n  " + "\n  ".join(bad), fix="Run again: it goes on from here."
        )
    return paths


def fetch(file: RemoteFile, path: Path, *, progress: bool = True, pause_s: float = 2.0) -> Path:
    """One file, checked by size and MD5; what is already there of it is kept. Raises MediaError."""
    if path.is_file() and path.stat().st_size == file.size and md5_of(path) == file.md5:
        return path
    part = path.with_name(f"{path.name}.part")
    for _ in range(2):  # a sum that is wrong can be a broken beginning: once more from nothing
        with byte_bar(file.size, file.name, shown=progress) as bar:
            _fetch_all(file, part, bar.update, pause_s)
        if md5_of(part) == file.md5:
            os.replace(part, path)
            return path
        part.unlink()
    raise MediaError(f"{file.name} has the wrong MD5 sum, twice", fix="The record may be damaged.")


def _fetch_all(file: RemoteFile, part: Path, seen: Callable[[int], object], pause_s: float) -> None:
    """Bytes into `part` until it is as long as the file; each attempt goes on where the last one ended."""
    have = part.stat().st_size if part.exists() else 0
    seen(have)
    failures = 0
    while have < file.size:
        try:
            _fetch_more(file, part, have, seen)
            reason = "the connection ended early"
        except _BROKEN as error:
            if is_disk_error(error):
                raise MediaError(f"cannot write {part} ({error})", fix="Make room and run again.") from error
            reason = str(error)
        now = part.stat().st_size if part.exists() else 0
        failures = 0 if now > have else failures + 1
        have = now
        if failures >= ATTEMPTS:
            raise MediaError(f"{file.name}: {have} of {file.size} bytes after {ATTEMPTS} attempts ({reason})")
        if have < file.size:
            time.sleep(pause_s * min(2**failures, 32))
    if have > file.size:
        part.unlink()
        raise MediaError(f"{file.name} is longer than the record says", found=f"{have} bytes", expected=file.size)


def _fetch_more(file: RemoteFile, part: Path, have: int, seen: Callable[[int], object]) -> None:
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        goes_on = have and answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if have and not goes_on:  # a server that knows no ranges sends all again
            seen(-have)
        with open(part, "ab" if goes_on else "wb") as target:
            while block := answer.read1(BLOCK):
                target.write(block)
                seen(len(block))


def md5_of(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.md5()
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> list[str]:
    """The files of a .zip below `folder`, those excepted that are there; returns the damaged ones, "name: why"."""
    bad = []
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                target = (folder / member.filename).resolve()
                if member.is_dir() or (target.is_file() and target.stat().st_size == member.file_size):
                    continue
                if not target.is_relative_to(folder.resolve()):
                    bad.append(f"{member.filename}: outside of the folder")
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with replacing(target) as temporary, packed.open(member) as source, open(temporary, "wb") as file:
                        shutil.copyfileobj(source, file)
                except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                    bad.append(f"{member.filename}: {error}")
    except zipfile.BadZipFile as error:
        raise MediaError(f"{archive} is not a whole .zip ({error})", fix="Delete it and run again.") from error
    return bad


def download_grid(
    folder: str | os.PathLike, *, speakers: Sequence[str] | None = None, url: str = GRID_RECORD
) -> list[str]:
    """GRID's videos and word times into `folder`, unpacked; `speakers` (s1, s2, …) or all. Returns damaged members."""
    folder = Path(folder)
    archives = {file.name for file in list_record(url) if _SPEAKER_ARCHIVE.fullmatch(file.name)}
    wanted = archives if speakers is None else {f"{speaker}.zip" for speaker in speakers}
    bad = []
    for path in download_record(url, folder / "archives", wanted=sorted({"alignments.zip", *wanted})):
        bad += [f"{path.name}: {problem}" for problem in unpack(path, folder / path.stem)]
    return bad
