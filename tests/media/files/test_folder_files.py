"""Files below a folder: what pathlib finds, and what lies behind links, each folder once."""

import os
from pathlib import Path

import pytest

from espnet_vivit.media.files.folder_files import VIDEO_SUFFIXES, files_below, is_video


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names_below(root):
    return [path.relative_to(root).as_posix() for path in files_below(root)]


def test_without_links_it_is_what_pathlib_finds_sorted_the_same(tmp_path):
    write(tmp_path, "b/1.mp4", "a.mp4", "a/2.mp4", "a b/3.mp4", "a/sub/.hidden", "Z.mp4", "a-/4.mp4")
    (tmp_path / "lost.mp4").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    assert files_below(tmp_path) == [path for path in sorted(tmp_path.rglob("*")) if not path.is_dir()]
    assert all(isinstance(path, Path) for path in files_below(str(tmp_path)))


def test_folders_behind_links_are_looked_into(tmp_path):
    write(tmp_path / "store", "s1/1.mp4", "deep/er/2.mp4")
    write(tmp_path / "root", "own.mp4")
    for name in ("s1", "deep"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "linked root").symlink_to("root")
    for root in ("root", "linked root"):
        assert names_below(tmp_path / root) == ["deep/er/2.mp4", "own.mp4", "s1/1.mp4"]


@pytest.mark.timeout(20)
def test_loops_end_and_no_folder_counts_twice(tmp_path):
    write(tmp_path / "outer/root", "session3/1.mp4", "x/2.mp4")
    write(tmp_path / "outer", "beside.mp4", "other/3.mp4")
    root = tmp_path / "outer/root"
    (root / "latest").symlink_to("session3")  # sorted first, but the folder's own name goes before a link's
    (root / "x/up").symlink_to("..")
    (root / "self").symlink_to(".")
    (tmp_path / "outer/other/back").symlink_to(root)
    (root / "y").symlink_to(tmp_path / "outer/other")
    (root / "z").symlink_to(tmp_path / "outer/other")
    assert names_below(root) == ["session3/1.mp4", "x/2.mp4", "y/3.mp4"]
    (root / "whole").symlink_to(tmp_path / "outer")
    found = names_below(root)
    assert sorted(os.path.basename(name) for name in found) == ["1.mp4", "2.mp4", "3.mp4", "beside.mp4"]
    assert "whole/beside.mp4" in found


def test_a_video_is_known_by_its_name(tmp_path):
    assert all(is_video(tmp_path / f"a{suffix.upper()}") for suffix in VIDEO_SUFFIXES)
    assert {".mp4", ".vob", ".mxf", ".y4m", ".wmv"} <= VIDEO_SUFFIXES
    assert not any(map(is_video, (tmp_path / "mp4", tmp_path / ".mp4", tmp_path / "a.txt", tmp_path / "a.npy")))
