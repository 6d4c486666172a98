"""The front page's picture: which words are red, and a PNG from an untrained model."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from PIL import Image

from espnet_vivit.errors import DataError
from tests.experiments import VIVIT, write_experiment
from tests.pages import ROOT


@pytest.fixture(scope="module")
def drawing():
    spec = spec_from_file_location("draw_picture", ROOT / "tools" / "draw_picture.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 96, 96), dtype=np.uint8)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "video.scp").write_text(f"a {tmp_path / 'a.npy'}\n")
    (tmp_path / "text").write_text("a bin blue\n")
    return tmp_path


@pytest.mark.parametrize(
    ("read", "transcript", "wrong"),
    [
        ("bin blue now", "bin blue now", set()),
        ("bin red now", "bin blue now", {1}),
        ("bin blue right now", "bin blue now", {2}),
        ("bin now", "bin blue now", set()),
        ("lay", "bin", {0}),
    ],
)
def test_words_that_the_transcript_does_not_have_are_wrong(drawing, read, transcript, wrong):
    assert drawing.wrong_words(read.split(), transcript) == wrong


def test_a_picture_is_drawn(drawing, data, tmp_path, monkeypatch, capsys):
    model = write_experiment(tmp_path / "exp", vision_encoder="vivit", vision_encoder_conf=VIVIT)
    monkeypatch.setattr(sys, "argv", ["draw_picture.py", str(model), str(data), str(tmp_path / "out" / "p.png")])
    drawing.main()
    with Image.open(tmp_path / "out" / "p.png") as picture:
        assert picture.width == 1100 and len(picture.getcolors()) > 20
    assert "transcript 'bin blue'" in capsys.readouterr().out


def test_an_unknown_utterance_is_an_error_that_names_one(drawing, data):
    with pytest.raises(DataError, match="such as a"):
        drawing.read_clip(data, "b")
