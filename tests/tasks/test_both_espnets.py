"""What was made under one ESPnet goes on under the other: trainings are resumed, experiments and packages decoded.

Runs under ESPnet 202511 (`make older`), whose environment stands beside the one with the current ESPnet.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.runs import ROOT, command, write_corpus
from tests.tiny_corpus import write_config

pytestmark = pytest.mark.timeout(600)  # four processes that import ESPnet, on whatever machine
EPOCHS = 2  # under each
PROGRAM = """
import json, sys
from pathlib import Path
import numpy, soundfile
from espnet_vivit import AVSRTask
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.release.pack import pack

def train(*options):
    AVSRTask.main(cmd=list(options))

def write_package(experiment, package):
    pack(experiment, package, licence="CC0-1.0")

def decode(model, corpus, out):
    recognizer, found = Speech2Text.from_pretrained(model, beam_size=4, ctc_weight=0.3, nbest=3), {}
    for video in sorted(Path(corpus).glob("*.npy")):
        speech, _ = soundfile.read(video.with_suffix(".wav"), dtype="float32")
        nbest = recognizer(speech=speech, video=numpy.load(video)[:, 1:23, 1:23])
        found[video.stem] = [[text, float(hypothesis.score)] for text, _, _, hypothesis in nbest]
    Path(out).write_text(json.dumps(found))

for name, *arguments in json.loads(sys.argv[1]):
    {"train": train, "pack": write_package, "decode": decode}[name](*arguments)
"""


@pytest.fixture(scope="module")
def pythons():
    """(this Python, that of the environment with the current ESPnet)."""
    here = Path(sys.prefix)
    other = here.with_name(".venv") / "bin/python"
    if here.name != ".venv-espnet202511":
        pytest.skip("this runs under ESPnet 202511, by `make older`")
    if not other.is_file():
        pytest.skip(f"there is no environment with the current ESPnet beside this one: {other}")
    return sys.executable, str(other)


def perform(python: str, *steps) -> None:
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    steps = json.dumps([list(map(str, step)) for step in steps])
    done = subprocess.run([python, "-c", PROGRAM, steps], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def made(pythons, tmp_path_factory):
    """A folder with experiments `0` and `1`, of this ESPnet and the other; `0-by-1` is 0 resumed under 1, and so on;
    `0-by-1.json` and `0.zip-by-1.json` are what 1 reads of 0's experiment and of its package."""
    root = tmp_path_factory.mktemp("both")
    corpus = write_corpus(root / "corpus")
    config = write_config(root / "train.yaml", batch_frames=90, max_padding=0.9)

    def train(name, epochs=EPOCHS):
        return "train", *command(corpus, root / name, config), "--max_epoch", epochs

    def decode(model, by):
        return "decode", root / model, corpus, root / f"{model}-by-{by}.json"

    for by, python in enumerate(pythons):
        perform(python, train(str(by)), ("pack", root / str(by), root / f"{by}.zip"))
    for by, python in enumerate(pythons):
        steps = []
        for of in (0, 1):
            shutil.copytree(root / str(of), root / f"{of}-by-{by}")
            steps += [decode(str(of), by), decode(f"{of}.zip", by), train(f"{of}-by-{by}", 2 * EPOCHS)]
        perform(python, *steps)
    return root


@pytest.mark.parametrize("model", ["0", "1", "0.zip", "1.zip"])
def test_both_read_the_same_from_it(made, model):
    here, there = (json.loads((made / f"{model}-by-{by}.json").read_text()) for by in (0, 1))
    assert here.keys() == there.keys() and len(here) == 12
    for clip, nbest in here.items():
        assert [text for text, _ in nbest] == [text for text, _ in there[clip]], clip
        np.testing.assert_allclose([score for _, score in nbest], [score for _, score in there[clip]], atol=1e-4)


@pytest.mark.parametrize("model", ["0", "1"])
def test_resumed_under_the_other_a_training_ends_as_under_its_own(made, model):
    states = [torch.load(made / f"{model}-by-{by}/checkpoint.pth", weights_only=False) for by in (0, 1)]
    assert [state["reporter"]["epoch"] for state in states] == [2 * EPOCHS] * 2
    steps = [[one["step"] for one in state["optimizers"][0]["state"].values()] for state in states]
    assert steps[0] == steps[1]
    begun = torch.load(made / model / f"{EPOCHS}epoch.pth")
    moved = max((states[0]["model"][name] - weight).abs().max() for name, weight in begun.items())
    assert moved > 1e-3  # two more epochs have changed the weights by more than the two ESPnets differ
    for name, weight in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][name], weight, rtol=0, atol=1e-5, msg=name)
