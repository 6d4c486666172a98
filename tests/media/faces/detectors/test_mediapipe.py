"""Faces by MediaPipe: how it is installed, what it says where it fails, and what it finds."""

import subprocess
import sys

import numpy as np
import pytest

from espnet_vivit.errors import MediaError, MissingDependencyError
from espnet_vivit.media.faces.detectors import choose_detector, mediapipe, open_detector
from espnet_vivit.media.files.source import open_source


@pytest.fixture
def here():
    if (reason := mediapipe.missing()) is not None:
        pytest.skip(f"{reason}; {mediapipe.how_to_install()}")


@pytest.fixture
def pictures(shared_dir):
    with open_source(sorted((shared_dir / "data/grid/original").glob("s20/*.mpg"))[0]) as source:
        return list(source.frames())


def test_in_a_clone_make_installs_it_and_elsewhere_pip(monkeypatch):
    assert mediapipe.how_to_install() == "make faces"
    monkeypatch.setattr(mediapipe, "clone", lambda: None)
    assert mediapipe.how_to_install() == "pip install 'espnet-vivit[faces]', then espnet-vivit face-model"


@pytest.mark.parametrize("name", ["auto", "mediapipe"])
def test_without_it_the_error_says_how_to_install_it(name, monkeypatch):
    monkeypatch.setattr(mediapipe, "missing", lambda name="": "mediapipe: not installed")
    monkeypatch.setattr("espnet_vivit.media.faces.detectors.haar.missing", lambda: "haar: OpenCV is not installed")
    with pytest.raises(MissingDependencyError, match=r"mediapipe: not installed.*make faces"):
        choose_detector(name)


def test_without_the_package_or_its_model_file_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert mediapipe.missing() == "mediapipe: not installed"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    for name in ("mediapipe", str(tmp_path / "other.task")):
        monkeypatch.setenv(mediapipe.MODEL_VARIABLE, str(tmp_path / "named.task"))
        assert f"no model file {tmp_path}/" in mediapipe.missing(name)
    (tmp_path / "named.task").touch()
    assert mediapipe.missing() is None


def test_a_model_file_that_is_none_is_an_error_that_names_it(tmp_path):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed: make faces")
    model = tmp_path / "broken.task"
    model.write_bytes(b"no model")
    with pytest.raises(MediaError, match=r"broken\.task \(.*detector='haar'"):
        open_detector(str(model)).detect(np.zeros((64, 64, 3), np.uint8))


def test_a_package_that_cannot_be_loaded_is_an_error_too(monkeypatch, tmp_path):
    (tmp_path / "mediapipe.py").write_text("raise OSError('libEGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    with pytest.raises(MediaError, match=r"libEGL\.so\.1"):
        mediapipe.MediapipeDetector("some.task").detect(np.zeros((64, 64, 3), np.uint8))


def test_nothing_is_printed_whatever_the_library_says(here, pictures, capfd, monkeypatch):
    monkeypatch.setattr(mediapipe, "_opened", {})
    assert len(open_detector("mediapipe").detect(pictures[0])) == 1
    mediapipe._close_landmarkers()
    assert capfd.readouterr() == ("", "")


def test_the_rows_of_a_picture_may_be_apart(here, pictures):
    detector = open_detector("mediapipe")
    wide = np.zeros((*pictures[0].shape[:2], 4), np.uint8)
    wide[:, :, :3] = pictures[0]
    apart = wide[:, :, :3]
    assert not apart.flags["C_CONTIGUOUS"]
    (face,), (again,) = detector.detect(apart), detector.detect(np.ascontiguousarray(pictures[0]))
    np.testing.assert_array_equal(face.points, again.points)


def test_a_process_ends_quietly_and_so_does_its_fork(here, pictures, tmp_path):
    """A landmarker has a thread that a fork does not have: the parent's would wait for it for ever."""
    np.save(tmp_path / "picture.npy", pictures[0])
    program = f"""
import os, sys, numpy
from espnet_vivit.media.faces.detectors import open_detector
picture = numpy.load({str(tmp_path / "picture.npy")!r})
found = len(open_detector("mediapipe").detect(picture))
child = os.fork()
found = len(open_detector("mediapipe").detect(picture))
if not child:
    os._exit(found)  # as the children of multiprocessing end
sys.exit(found + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")
