"""Every file in examples/ runs and does what it says."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from espnet_vivit.base.torch_file import read_tensors
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.media.files.video_file import read_video
from tests.experiments import write_experiment
from tests.published import UNITS, small_state
from tests.recordings import write_recording
from tests.talking_files import write_talking

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["bin blue at f two now", "lay red by s one soon", "set white in b six please", "bin red at f one now"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run(name, *arguments)` runs an example in an empty folder and returns what it prints."""

    def example(name, *arguments):
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(ROOT / "examples" / name))["main"](list(map(str, arguments)))
        return capsys.readouterr().out

    return example


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of mouth videos with transcripts, and an untrained model of both streams."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    for index, text in enumerate(WORDS):
        frames = np.cumsum(rng.integers(-9, 10, (40, 48, 48)), axis=0).astype(np.int64) % 200 + 20
        write_recording(folder / f"clip{index}.mkv", frames.astype(np.uint8), 0.1 * rng.standard_normal(40 * 640))
        (folder / f"clip{index}.txt").write_text(text + "\n")
    tokens = ["<blank>", "<unk>", *sorted({word for text in WORDS for word in text.split()}), "<sos/eos>"]
    vision = {"image_size": 44, "output_dim": 16}
    model_conf = {"ctc_weight": 0.3, "frame_loss_weight": 1.0}
    write_experiment(
        folder / "exp",
        tokens=tokens,
        audio_encoder="resnet1d",
        vision_encoder_conf=vision,
        model_conf=model_conf,
        preprocessor_conf={"word_crop_prob": 0.5},  # which wants word times, and folders have none
        mouth_view=64,
    )
    return folder


def test_every_example_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f'"{path.name}"' in tested


def test_transcribe_file(run, videos, tmp_path):
    printed = run("transcribe_file.py", videos / "clip0.mkv", videos / "exp", "--detector", "centre")
    assert "confidence" in printed.splitlines()[0]
    assert {path.name for path in tmp_path.iterdir()} == {"clip0.srt", "clip0.json"}


def test_extract_features(run, videos, tmp_path):
    options = ["--model_name", "vivit-ti-16x2", "--random_weights", "--detector", "centre"]
    printed = run("extract_features.py", videos / "clip0.mkv", tmp_path / "features.npy", *options)
    features = np.load(tmp_path / "features.npy")
    assert features.shape[0] == 40 and np.isfinite(features).all() and features.std() > 0
    assert f"40 steps of {features.shape[1]} features" in printed


def test_finetune_on_folder(run, videos, tmp_path):
    """The new clips show what the old ones did: the middle 64 pixels of the mouth at 48; so does the new model."""
    for index, text in enumerate(WORDS):
        write_talking(tmp_path / f"talks/clip{index}.mkv", seed=index).with_suffix(".txt").write_text(text)
    options = ["--epochs", "1", "--detector", "centre", "--learning_rate", "0.01"]
    run("finetune_on_folder.py", tmp_path / "talks", videos / "exp", tmp_path / "out", *options)
    before, after = (read_tensors(path) for path in (videos / "exp/valid.acc.ave.pth", tmp_path / "out/exp/1epoch.pth"))
    learnt = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert learnt and not any(name.startswith("vision_encoder") and "num_batches" not in name for name in learnt)
    assert set(before) - set(after) == {"frame_head.weight", "frame_head.bias"}
    clips = [read_video(path) for path in sorted((tmp_path / "out/data/clips").rglob("*.mkv"))]
    expected = [shrink(middle(read_video(tmp_path / f"talks/clip{index}.mkv"), 64), 48) for index in range(len(WORDS))]
    assert {clip.tobytes() for clip in clips} == {clip.tobytes() for clip in expected}
    facts = open_model(tmp_path / "out/exp", weights="1epoch.pth").facts
    assert (facts.mouth_size, facts.mouth_view) == (48, 64)


def test_vivit_in_your_espnet_model(run, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))  # it registers names for the whole process
    losses = [float(line.split()[1]) for line in run("vivit_in_your_espnet_model.py").splitlines()]
    assert np.isfinite(losses).all() and losses[1] < losses[0]


def test_read_lips_with_a_published_model(run, shared_dir, tmp_path):
    """A file of a published layout, made small; what it reads is noise."""
    torch.save(small_state(shared_dir, "video"), tmp_path / "vsr.pth")
    (tmp_path / "units.txt").write_text(UNITS, encoding="utf-8")
    (face, *_) = sorted((shared_dir / "data/grid/original").rglob("*.mpg"))
    printed = run("read_lips_with_a_published_model.py", face, tmp_path / "vsr.pth", tmp_path / "units.txt")
    assert printed.startswith("Auto-AVSR v1.0.0 or VSR-ML, video; ")
