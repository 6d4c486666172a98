"""Every door through which a file of others enters: one with code in it is refused there, and leaves no mark.

The doors are those of SECURITY.md. A new reader of files gets a line in `DOORS`.
"""

import json
import os
import pickle
import shutil
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_vivit import vivit_encoder
from espnet_vivit.bin import avsr_lm, avsr_train, cli
from espnet_vivit.decode.language_model import load_language_model
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.e2e_asr_conformer import E2E
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.media.faces.face_stream import load_landmarks
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.model.init_parts import load_parts
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.dataset import AVSRDataset, AVSRIterableDataset
from tests.tiny import CONFIG as TINY_VIVIT
from tests.tiny_corpus import TOKENS, data_options, shape_options, write_config, write_tiny_corpus

LM = {"lm": "seq_rnn", "lm_conf": {"unit": 4, "nlayers": 1}, "model": "lm", "model_conf": {}, "token_list": TOKENS}


class Planted:
    """Leaves a file where it is unpickled; 0 where something must be a number."""

    def __init__(self, mark):
        self.mark = os.fspath(mark)

    def __reduce__(self):
        return eval, (f"open({self.mark!r}, 'w').close() or 0",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(corpus, experiment) after an epoch."""
    root = tmp_path_factory.mktemp("doors")
    corpus = write_tiny_corpus(root / "corpus")
    train(corpus, root / "exp", max_epoch=1)
    return corpus, root / "exp"


def train(corpus, exp, *options, **changes):
    config = write_config(exp.parent / "train.yaml", **changes)
    common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", exp]
    avsr_train.main([*map(str, common), *data_options(corpus), *shape_options(corpus), *options])


def lm_train(folder, *options):
    text = folder / "text"
    text.write_text("a bin blue\nb lay red\n")
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    (folder / "lm.yaml").write_text(yaml.safe_dump({"lm": "seq_rnn", "lm_conf": LM["lm_conf"], "optim": "adam"}))
    avsr_lm.main(["shapes", *f"--train {text} --valid {text} --out {folder}/stats --token_type word".split(),
                  "--token_list", str(folder / "tokens.txt")])  # fmt: skip
    words = f"--config {folder}/lm.yaml --token_list {folder}/tokens.txt --token_type word --output_dir {folder}/lm"
    words += (
        f" --train_data_path_and_name_and_type {text},text,text --valid_data_path_and_name_and_type {text},text,text"
    )
    words += f" --train_shape_file {folder}/stats/train/text_shape.word --max_epoch 1 --num_workers 0 --batch_size 2"
    words += f" --valid_shape_file {folder}/stats/valid/text_shape.word --use_tensorboard false --use_matplotlib false"
    avsr_lm.main(["train", *words.split(), *options])


def perplexity(path, folder):
    (folder / "text").write_text("a bin blue\n")
    (folder / "config.yaml").write_text(yaml.safe_dump({**LM, "token_type": "word", "init": None, "bpemodel": None}))
    words = f"--data_path_and_name_and_type {folder}/text,text,text --train_config {folder}/config.yaml"
    avsr_lm.main(["perplexity", *words.split(), "--model_file", str(path), "--output_dir", str(folder / "ppl")])


def language_model(path, folder):
    (folder / "config.yaml").write_text(yaml.safe_dump(LM))
    load_language_model(folder / "config.yaml", path, TOKENS)


def resumed(path, folder, trained):
    """A training goes on from a planted checkpoint, which is the only one."""
    corpus, exp = trained
    copy = shutil.copytree(exp, folder / "exp", symlinks=True)
    shutil.copy(path, copy / "checkpoint.pth")
    train(corpus, copy, "--resume", "true")


def averaged(path, folder, trained):
    """The epoch that a resumed training averages with its own."""
    corpus, exp = trained
    copy = shutil.copytree(exp, folder / "exp", symlinks=True)
    checkpoint = torch.load(copy / "checkpoint.pth", weights_only=False)  # our own; older releases keep NumPy scalars
    torch.save(checkpoint["model"], copy / "2epoch.pth")
    checkpoint["reporter"]["stats"][2] = checkpoint["reporter"]["stats"][1]
    checkpoint["reporter"]["epoch"] = 2
    torch.save(checkpoint, copy / "checkpoint.pth")
    shutil.copy(path, copy / "1epoch.pth")
    train(corpus, copy, "--resume", "true", max_epoch=3, keep_nbest_models=3)


def in_experiment(name, run):
    """A copy of the experiment whose file `name` is the planted one."""

    def opened(path, folder, trained):
        copy = shutil.copytree(trained[1], folder / "exp", symlinks=True)
        (copy / name).unlink(missing_ok=True)
        shutil.copy(path, copy / name)
        run(copy)

    return opened


def command(*words):
    """An espnet-vivit command, which must end with 1 and a sentence."""
    with redirect_stderr(StringIO()) as said:
        status = cli.main([str(word) for word in words])
    if status == 1:
        raise DataError(said.getvalue())


def transcribe(exp):
    soundfile.write(exp / "x.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    command("transcribe", exp / "x.wav", "--model", exp, "--weights", WEIGHTS)


def model_of(exp):
    return AVSRTask.build_model_from_file(exp / "config.yaml", exp / "valid.acc.best.pth")[0]


def stored_vivit(path, folder, trained):
    (folder / "vivit").mkdir()
    (folder / "vivit/config.json").write_text(json.dumps({"model_type": "vivit", **TINY_VIVIT}))
    shutil.copy(path, folder / "vivit/pytorch_model.bin")
    vivit_encoder(model_name=str(folder / "vivit"), local_files_only=True)


WEIGHTS = "valid.acc.best.pth"
DOORS = {
    "an experiment's weights": in_experiment(WEIGHTS, model_of),
    "Speech2Text": in_experiment(WEIGHTS, lambda exp: Speech2Text(exp / "config.yaml", exp / WEIGHTS)),
    "pack": in_experiment(
        WEIGHTS, lambda exp: command("pack", exp, exp / "p", "--licence", "MIT", "--weights", WEIGHTS)
    ),
    "export": in_experiment(WEIGHTS, lambda exp: command("export", exp / WEIGHTS, exp / "m.onnx")),
    "transcribe": in_experiment(WEIGHTS, transcribe),
    "init_parts": lambda path, folder, trained: load_parts(model_of(trained[1]), {"encoder": path}),
    "init_param": lambda path, folder, trained: train(
        trained[0], folder / "exp", "--init_param", f"{path}:encoder:encoder"
    ),
    "resume": resumed,
    "averaging": averaged,
    "a training's curves": in_experiment("checkpoint.pth", lambda exp: read_training_history(exp)),
    "a published model": lambda path, folder, trained: E2E.from_published(path),
    "import": lambda path, folder, trained: command("import", path, folder / "imported"),
    "a stored ViViT": stored_vivit,
    "a language model": lambda path, folder, trained: language_model(path, folder),
    "a language model's perplexity": lambda path, folder, trained: perplexity(path, folder),
    "a language model's init_param": lambda path, folder, trained: lm_train(folder, "--init_param", str(path)),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_code_in_a_file_of_weights_is_refused_at_every_door(door, form, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPNET_ALLOW_UNSAFE_TORCH_LOAD", "1")  # ESPnet's own way to run code all the same
    mark, path = tmp_path / "mark", tmp_path / "planted.pth"
    content = {"model": {"encoder.x": torch.ones(1)}, "optimizers": [], "x": Planted(mark)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, 2))
    if door is DOORS["a training's curves"]:  # which are in train.log as well
        (trained[1] / "train.log").unlink(missing_ok=True)
    with pytest.raises(
        EspnetVivitError, match=r"holds code|code or objects|no pickle of tensors|no file of torch|mmap can only"
    ):
        door(path, tmp_path, trained)
    assert not mark.exists()
    torch.load(path, weights_only=False) if form == "torch" else pickle.loads(path.read_bytes())
    assert mark.exists(), "the planted code is no code"


@pytest.mark.parametrize("door", [read_video, load_landmarks])
def test_an_array_with_objects_is_refused(door, tmp_path):
    mark = tmp_path / "mark"
    np.save(tmp_path / "x.npy", np.array([Planted(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(EspnetVivitError):
        door(tmp_path / "x.npy")
    assert not mark.exists()


@pytest.mark.parametrize("value", ["touch {mark} |", "touch {mark}; cat x.ark |", "| touch {mark}"])
@pytest.mark.parametrize("dataset", [AVSRDataset, AVSRIterableDataset])
def test_a_kaldi_list_runs_no_command(dataset, value, tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "feats.scp").write_text(f"a {value.format(mark=mark)}\n")
    with pytest.raises(DataError, match=r"speech of utterance 'a' in .*feats\.scp is a command"):
        dataset([(str(tmp_path / "feats.scp"), "speech", "kaldi_ark")])
    assert not mark.exists()


def test_a_yaml_that_makes_objects_is_refused(trained, tmp_path):
    mark, copy = tmp_path / "mark", shutil.copytree(trained[1], tmp_path / "exp", symlinks=True)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(f"{text}\nx: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(EspnetVivitError, match="not valid YAML"):
        model_of(copy)
    assert not mark.exists()
