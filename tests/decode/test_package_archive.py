"""Archives that others have made: what cannot be a model's is refused before it fills a disk."""

import io
import tarfile
import zipfile

import pytest

from espnet_vivit.decode import package_archive
from espnet_vivit.decode.package_archive import MOST_FILES, SPARE, extract
from espnet_vivit.errors import DataError


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path, members, mode):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def written(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", ["zip", "lzma", "tgz", "txz"])
def test_an_archive_unpacks_to_no_more_than_its_size_allows(form, tmp_path):
    bomb = [("model.safetensors", bytes(100 << 20))]
    if form in ("zip", "lzma"):
        path = zipped(tmp_path / "b.zip", bomb, zipfile.ZIP_LZMA if form == "lzma" else zipfile.ZIP_DEFLATED)
    else:
        path = tarred(tmp_path / f"b.{form}", bomb, {"tgz": "w:gz", "txz": "w:xz"}[form])
    out = tmp_path / "out"
    with pytest.raises(DataError, match="unpacks to what no model is: found more than 10 times its size"):
        extract(path, out)
    assert written(out) < SPARE + 10 * path.stat().st_size + 1


def test_many_files_are_no_model(tmp_path):
    path = zipped(tmp_path / "b.zip", [(f"{n}", "") for n in range(MOST_FILES + 1)])
    with pytest.raises(DataError, match=f"more than {MOST_FILES} files"):
        extract(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members",
    [
        [("a", "x"), ("a/b", "y")],
        [("a/b", "y"), ("a", "x")],
        [("x" * 300, "y")],
        [("a", "1"), ("a", "2")],
        [(".", "x")],
    ],
    ids=["file as folder", "folder as file", "long name", "twice", "here"],
)
def test_odd_names_are_one_sentence(members, tmp_path):
    path = zipped(tmp_path / "b.zip", members)
    with pytest.raises(DataError, match=r"b\.zip"):
        extract(path, tmp_path / "out")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz", ".tbz2", ".txz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "none of it", "empty"])
def test_a_damaged_archive_is_one_sentence(suffix, damage, tmp_path):
    content = bytes(range(256)) * 400
    if suffix == ".zip":
        path = zipped(tmp_path / "b.zip", [("a", content)])
    else:
        mode = {".tar": "w", ".tgz": "w:gz", ".tbz2": "w:bz2", ".txz": "w:xz"}[suffix]
        path = tarred(tmp_path / f"b{suffix}", [("a", content)], mode)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    else:
        data = bytearray(b"no archive" if damage == "none of it" else b"")
    path.write_bytes(bytes(data))
    try:
        extract(path, tmp_path / "out")
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert suffix == ".tar" and damage in ("flipped", "empty"), "a tar has no checksum of its contents"


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    path = zipped(tmp_path / "b.zip", [("a", "x")])
    monkeypatch.setattr(package_archive, "_write", full)
    with pytest.raises(OSError, match=r"cannot unpack .*No space left"):
        extract(path, tmp_path / "out")
