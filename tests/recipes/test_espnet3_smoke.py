"""Every stage of egs3/mini_av on a handful of clips, in a copy of the recipe with a space in its path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet_vivit.data.data_dir import read_data_dir
from espnet_vivit.decode.package import Package
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import write_gray_video
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.transcription.transcriber import Transcriber

pytestmark = pytest.mark.recipe
ROOT = Path(__file__).resolve().parents[2]
TRAINING = {  # conf/training.yaml, small enough for seconds
    "defaults": ["training", "_self_"],
    "create_dataset": {"num_train": 20, "num_dev": 4, "num_test_seen": 4, "num_test_unseen": 4, "nj": 1},
    "model": {
        "vision_encoder_conf": {
            "config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        },
        "audio_encoder_conf": {"channels": 4},
        "encoder_conf": {
            "output_size": 16, "attention_heads": 2, "linear_units": 32, "num_blocks": 1, "cnn_module_kernel": 7,
        },
        "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
    },
    "scheduler": {"warmup_steps": 2, "total_steps": 12},
    "best_model_criterion": [["valid/acc", 2, "max"]],
    "dataloader": {
        "train": {"iter_factory": {"num_workers": 0, "batches": {"batch_bins": 400}}},
        "valid": {"iter_factory": {"num_workers": 0}},
    },
    "trainer": {"max_epochs": 3, "log_every_n_steps": 2},
}  # fmt: skip
SETS = ("test_seen", "test_seen_babble_0db")
INFERENCE = {
    "defaults": ["inference", "_self_"],
    "dataset": {
        "test": [
            {"name": name, "data_src_args": {"data_dir": f"${{data_dir}}/{name}", "modality": "${modality}"}}
            for name in SETS
        ]
    },
    "model": {"beam_size": 2, "ctc_weight": 1.0},  # an attention decoder that has learnt nothing talks on and on
    "parallel": {"n_workers": 1, "options": {"processes": False}},  # a thread: no second import of everything
}
STAGES = "create_dataset train_tokenizer collect_stats train infer measure pack_model".split()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a folder") / "egs3/mini_av/avsr"
    shutil.copytree(ROOT / "egs3/mini_av/avsr", folder, ignore=shutil.ignore_patterns("data", "exp"))
    (folder / "conf/tiny.yaml").write_text(yaml.safe_dump(TRAINING))
    (folder / "conf/decode.yaml").write_text(yaml.safe_dump(INFERENCE))
    return folder


def run(recipe: Path, *stages: str) -> subprocess.CompletedProcess:
    """run.py in the recipe's folder."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    configs = {"training": "tiny", "inference": "decode", "metrics": "metrics", "publication": "publication"}
    options = [word for role, name in configs.items() for word in (f"--{role}_config", f"conf/{name}.yaml")]
    command = [sys.executable, "run.py", *options, "--stages", *stages]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=recipe, env=environment, text=True, timeout=850, check=False, **pipes)


@pytest.fixture(scope="module")
def whole_run(recipe) -> subprocess.CompletedProcess:
    done = run(recipe, *STAGES)
    assert done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture
def experiment(recipe, whole_run) -> Path:
    return recipe / "exp/tiny"


def transcripts(path: Path) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in path.read_text().splitlines()}


def test_every_stage_is_done(whole_run):
    assert [stage for stage in STAGES if f"=== [DONE] stage: {stage} (" in whole_run.stdout] == STAGES


def test_the_loss_falls_from_epoch_to_epoch(experiment):
    history = read_training_history(experiment)
    losses = history.curve("train", "loss")
    assert list(losses) == [1, 2, 3] and losses[3] < losses[2] < losses[1]


def test_every_clip_of_every_set_gets_words(recipe, experiment):
    for name in SETS:
        found = transcripts(experiment / "decode" / name / "text.scp")
        assert list(found) == [utterance.utt_id for utterance in read_data_dir(recipe / "data" / name)]
        assert all(found.values())


def test_the_word_error_rate_of_espnet3_is_ours_and_in_the_table(experiment):
    metrics = json.loads((experiment / "decode/metrics.json").read_text())
    rates = metrics["espnet3.systems.esp2_asr.metrics.wer.WER"]
    table = (experiment / "RESULTS.md").read_text()
    for name in SETS:
        ours = json.loads((experiment / "decode" / name / "score/wer.json").read_text())
        assert rates[name]["WER"] == pytest.approx(100 * ours["words"]["rate"], abs=0.01)
        assert f"{100 * ours['words']['rate']:.1f}" in table
    assert "test_seen | both  | clean" in table and "test_seen | both  | 0 dB babble" in table
    assert "a folder" not in table, "a path of this machine in the results"


def test_the_package_transcribes_as_the_stage_did(recipe, experiment):
    """Three ways to the same words: the stage's, the package's Speech2Text, and `transcribe` on a file."""
    package = Package.from_pretrained(experiment / "package")
    assert (
        package.info["licence"] == "Apache-2.0"
        and "test_seen | both  | clean" in (package.folder / "README.md").read_text()
    )
    recognizer = Speech2Text.from_pretrained(experiment / "package")
    preprocess = AVSRTask.build_preprocess_fn(recognizer.asr_train_args, train=False)
    decoded = transcripts(experiment / "decode/test_seen/text.scp")
    for utterance in read_data_dir(recipe / "data/test_seen"):
        clip = {"video": np.load(utterance.video), "speech": read_wav(utterance.wav)}
        (text, *_), *_ = recognizer(**preprocess(utterance.utt_id, clip))
        assert text == decoded[utterance.utt_id]
    video = recipe / "mouth.mkv"
    write_gray_video(video, np.load(utterance.video))
    transcriber = Transcriber(experiment / "package", modality="video", detector="centre", min_confidence=0)
    assert transcriber.transcribe(video).text


def test_a_training_that_has_ended_is_not_begun_again_and_its_hypotheses_are_kept(recipe, experiment):
    weights, hypotheses = experiment / "valid.acc.ave.pth", experiment / "decode/test_seen/split.0/text.scp"
    before = (experiment / "last.ckpt").resolve().name, hypotheses.stat().st_mtime_ns
    done = run(recipe, "create_dataset", "train_tokenizer", "collect_stats", "train", "infer")
    assert done.returncode == 0, done.stdout[-4000:]
    assert ((experiment / "last.ckpt").resolve().name, hypotheses.stat().st_mtime_ns) == before and weights.is_file()
    assert "is that of" in done.stdout, "the token list is kept"
