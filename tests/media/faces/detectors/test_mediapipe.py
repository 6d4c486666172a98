"""How MediaPipe is to be installed: by make in a clone, by pip elsewhere, with the same packages."""

import sys
from pathlib import Path

import pytest

from espnet_vivit.errors import MissingDependencyError
from espnet_vivit.media.faces.detectors import choose_detector, mediapipe

ROOT = Path(__file__).resolve().parents[4]


def test_in_a_clone_make_installs_it():
    assert mediapipe.how_to_install() == "make faces (Python 3.10 to 3.12)"


def test_elsewhere_pip_puts_it_where_it_is_looked_for(monkeypatch):
    monkeypatch.setattr(mediapipe, "clone", lambda: None)
    said = mediapipe.how_to_install()
    assert "make" not in said and "mediapipe==0.10.21 'protobuf>=4.25.3,<5'" in said
    assert f"--target {sys.prefix}/mediapipe " in said


def test_the_script_behind_make_installs_the_packages_that_are_named_here():
    script = (ROOT / "tools/install_mediapipe.sh").read_text(encoding="utf-8")
    assert "detectors.mediapipe import PACKAGES" in script and "protobuf>=" not in script


@pytest.mark.parametrize("name", ["auto", "mediapipe"])
def test_without_it_the_error_says_how_to_install_it(name, monkeypatch):
    monkeypatch.setattr(mediapipe, "missing", lambda name="": "mediapipe: not installed")
    monkeypatch.setattr("espnet_vivit.media.faces.detectors.haar.missing", lambda: "haar: OpenCV is not installed")
    with pytest.raises(MissingDependencyError, match=r"mediapipe: not installed.*make faces \(Python"):
        choose_detector(name)
