"""Files are replaced whole or not at all, and what cannot be written is an error of ours."""

import os
from pathlib import Path

import pytest

from espnet_vivit.base.whole_file import TEMPORARY, check_writable, make_folder, replacing, write_lines, write_whole
from espnet_vivit.errors import DataError, MediaError


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "text.tsv"
    write_whole(path, "ä\n")
    with replacing(str(path)) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".tsv" and TEMPORARY.fullmatch(temporary.name)
        temporary.write_text("new")
        assert path.read_text(encoding="utf-8") == "ä\n"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["text.tsv"]


def test_two_that_write_the_same_file_at_once_do_not_meet(tmp_path):
    with replacing(tmp_path / "x") as first, replacing(tmp_path / "x") as second:
        assert first != second
        first.write_text("same")
        second.write_text("same")
    assert (tmp_path / "x").read_text() == "same" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("bad")])
def test_otherwise_the_old_one_stays_and_nothing_else(tmp_path, error):
    path = tmp_path / "text"
    write_whole(path, "old")
    with pytest.raises(type(error)):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["text"]


def test_lines_are_written_into_a_folder_that_need_not_be_there(tmp_path):
    write_lines(tmp_path / "a/b/list", (word for word in ("ä", "b c")))
    assert (tmp_path / "a/b/list").read_bytes() == "ä\nb c\n".encode()
    write_lines(tmp_path / "a/b/list", [])
    assert (tmp_path / "a/b/list").read_bytes() == b"" and os.listdir(tmp_path / "a/b") == ["list"]


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in ("folder", "none/x", "file/x"):
        with pytest.raises(MediaError, match=f"cannot write {tmp_path / path} .*Check that its folder exists"):
            write_whole(tmp_path / path, "x")
    with pytest.raises(MediaError, match=f"cannot make the folder {tmp_path / 'file/x'} "):
        make_folder(tmp_path / "file/x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and not os.listdir(tmp_path / "folder")


def test_a_folder_is_tried_without_leaving_anything(tmp_path):
    check_writable(make_folder(tmp_path / "a/b"))
    check_writable(make_folder(tmp_path / "a/b"))
    assert not os.listdir(tmp_path / "a/b")
    with pytest.raises(MediaError, match=r"cannot write into .*none"):
        check_writable(tmp_path / "none")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write into")
def test_a_folder_that_is_there_and_cannot_be_written_into():
    with pytest.raises(MediaError, match=r"cannot write into /proc .*Choose another folder"):
        check_writable("/proc")
