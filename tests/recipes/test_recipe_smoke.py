"""Every stage of mini_av on a handful of clips, in a copy of egs/ with a space in its path, called from elsewhere."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_vivit.data.data_dir import read_scp, validate_data_dir
from espnet_vivit.decode.package import Package

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TINY = {  # the parts of conf/train_avsr_vivit.yaml, small enough for seconds
    "vision_encoder": "vivit",
    "vision_encoder_conf": {
        "pretrained": False,
        "image_size": 48,
        "frame_adjust": "window",
        "config": {
            "image_size": 48,
            "tubelet_size": [2, 16, 16],
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
    },
    "audio_encoder": "resnet1d",
    "audio_encoder_conf": {"channels": 4},
    "modality": "multimodal",
    "modality_dropout": {"video": 0.25, "audio": 0.25},
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 1,
        "cnn_module_kernel": 7,
    },
    "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
    "model_conf": {"ctc_weight": 0.3, "frame_loss_weight": 1.0},
    "preprocessor_conf": {"noise_scp": "train", "noise_talkers": 3, "noise_prob": 0.5},
    "optim": "adamw",
    "optim_conf": {"lr": 0.001},
    "scheduler": "cosine_with_warmup",
    "scheduler_conf": {"warmup_steps": 2, "total_steps": 8},
    "max_epoch": 2,
    "batch_type": "length",
    "batch_bins": 400,
    "num_workers": 0,
    "best_model_criterion": [["valid", "acc", "max"]],
    "keep_nbest_models": 2,
    "num_att_plot": 0,
    "use_tensorboard": False,
    "use_matplotlib": False,
}
OPTIONS = [
    "--nj", "1", "--num_threads=1", "--inference_nj", "2", "--asr_config", "conf/tiny.yaml",
    "--local_data_opts", "--num-train 20 --num-dev 4 --num-test-seen 4 --num-test-unseen 4",
    "--test_sets", "test_seen test_seen_babble_0db",
    "--inference_args", "--beam_size 2 --maxlenratio -8",
]  # fmt: skip


class Recipe:
    """A private copy of the recipes, and a way to run one."""

    def __init__(self, folder: Path):
        shutil.copytree(ROOT / "egs", folder / "egs", ignore=shutil.ignore_patterns("data", "dump", "exp"))
        (folder / "espnet_vivit").symlink_to(ROOT / "espnet_vivit")
        self.folder = folder / "egs/mini_av/avsr1"
        (self.folder / "conf/tiny.yaml").write_text(yaml.safe_dump(TINY))

    def start(self, *options: str) -> subprocess.Popen:
        """run.sh from the root folder, in a process group of its own; stdout and stderr together in `stdout`."""
        environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        command = [str(self.folder / "run.sh"), *OPTIONS, *options]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd="/", env=environment, text=True, start_new_session=True, **pipes)

    def run(self, *options: str) -> subprocess.CompletedProcess:
        process = self.start(*options)
        try:
            output, _ = process.communicate(timeout=500)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout=output)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    return Recipe(tmp_path_factory.mktemp("a folder"))


@pytest.fixture(scope="module")
def whole_run(recipe) -> subprocess.CompletedProcess:
    done = recipe.run()
    assert done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture
def experiment(recipe, whole_run) -> Path:
    return recipe.folder / "exp/avsr_tiny_word"


def test_every_stage_says_what_it_does_and_how_long_it_took(whole_run):
    ran = [int(number) for number in re.findall(r"^\[stage (\d+)\] done in \d+ s$", whole_run.stdout, flags=re.M)]
    skipped = [int(number) for number in re.findall(r"^\[stage (\d+)\] skipped: ", whole_run.stdout, flags=re.M)]
    assert ran == [1, 3, 4, 5, 10, 11, 12, 13, 14]
    assert skipped == [2, 6, 9, 15]
    assert "speed perturbation" in whole_run.stdout and "--use_lm true" in whole_run.stdout


def test_the_data_directories_are_whole_and_have_shapes(recipe, whole_run):
    for name, count in (("train", 20), ("dev", 4), ("test_seen", 4), ("test_seen_babble_0db", 4)):
        utterances = validate_data_dir(recipe.folder / "dump/raw" / name)
        assert len(utterances) == count
        shapes = read_scp(recipe.folder / "dump/raw" / name / "video_shape")
        assert shapes == {utt.utt_id: f"{utt.num_frames},48,48" for utt in utterances}
    assert len(read_scp(recipe.folder / "exp/avsr_stats_word/train/text_shape.word")) == 20


def test_training_shows_a_line_per_epoch_and_keeps_its_log(whole_run, experiment):
    lines = re.findall(r"^epoch +(\d)/2  train loss [\d.]+ acc [\d.]+ \| valid loss .* left$", whole_run.stdout, re.M)
    assert lines == ["1", "2"]
    assert "2epoch results" in (experiment / "train.log").read_text()
    assert (experiment / "valid.acc.ave.pth").exists()


def test_one_model_is_decoded_as_video_audio_and_both_with_controls(experiment):
    (folder,) = experiment.glob("decode_*/")
    results = sorted(path.parent.parent.name for path in folder.glob("*/1best_recog/text"))
    assert results == [
        "test_seen_audio",
        "test_seen_babble_0db_audio",
        "test_seen_babble_0db_multimodal",
        "test_seen_multimodal",
        "test_seen_video",
        "test_seen_video_shuffle",
        "test_seen_video_zero",
    ]
    wanted = {utterance.utt_id for utterance in validate_data_dir(experiment.parents[1] / "dump/raw/test_seen")}
    for name in results:
        lines = (folder / name / "1best_recog/text").read_text().splitlines()
        assert {line.split()[0] for line in lines} == wanted


def test_the_table_is_printed_and_written_with_its_origin(whole_run, experiment):
    written = (experiment / "RESULTS.md").read_text()
    for row in ("test_seen | video | clean", "test_seen | both  | 0 dB babble", "test_seen | none  | chance level"):
        assert row in written and row in whole_run.stdout
    assert "- command: `./run.sh --nj 1" in written
    assert "a folder" not in written, "a path of this machine in the results"
    assert {path.name for path in experiment.glob("*.png")} >= {"training_curves.png", "clips_test_seen_video.png"}


def test_the_packed_model_is_a_package_with_a_card(experiment):
    package = Package.from_pretrained(experiment / "tiny_word.zip")
    assert package.info["licence"] == "Apache-2.0" and package.facts.longest_clip_s > 1
    card = (package.folder / "README.md").read_text()
    assert "mini_av" in card and "test_seen | video | clean" in card, "data and results are in it"
    assert package.load_model().modality == "multimodal"


def test_running_again_from_the_middle_changes_nothing(recipe, experiment):
    """Stages 3 to 5 and 10 to 11 once more: the same lists, and a training that knows that it is finished."""
    files = ["dump/raw/train/video.scp", "data/token_list/word/tokens.txt", "exp/avsr_stats_word/train/video_shape"]
    before = [(recipe.folder / name).read_bytes() for name in files]
    weights = (experiment / "2epoch.pth").read_bytes()
    done = recipe.run("--stage", "3", "--stop_stage", "11")
    assert done.returncode == 0, done.stdout[-4000:]
    assert [(recipe.folder / name).read_bytes() for name in files] == before
    assert "nothing to do: the training has reached its last epoch" in done.stdout
    assert (experiment / "2epoch.pth").read_bytes() == weights


def test_a_changed_configuration_under_the_same_name_is_refused(recipe, experiment):
    preset = recipe.folder / "conf/tiny.yaml"
    text = preset.read_text()
    try:
        preset.write_text(text.replace("max_epoch: 2", "max_epoch: 3"))
        done = recipe.run("--stage", "11", "--stop_stage", "11")
    finally:
        preset.write_text(text)
    assert done.returncode == 1 and "trained with another configuration" in done.stdout


def test_a_training_that_was_killed_goes_on_where_it_was(recipe, experiment):
    options = ["--stage", "11", "--stop_stage", "11", "--asr_tag", "killed", "--asr_args", "--max_epoch 6"]
    process = recipe.start(*options)
    for line in process.stdout:
        if line.startswith("epoch  2/6"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.wait() != 0
    done = recipe.run(*options)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"^continuing after epoch [1-5]$", done.stdout, flags=re.M)
    assert re.search(r"^epoch  6/6 ", done.stdout, flags=re.M)


def test_options_that_cannot_be_split_are_refused(recipe, experiment):
    done = recipe.run("--stage", "11", "--stop_stage", "11", "--asr_args", "--max_epoch '3")
    assert done.returncode == 1 and "cannot split these options: --max_epoch '3" in done.stdout


def test_a_failure_ends_with_the_logs_last_lines_and_its_name(recipe, whole_run):
    scp = recipe.folder / "data/dev/video.scp"
    utt_id, video = next(iter(read_scp(scp).items()))
    broken, content = Path(video), Path(video).read_bytes()
    try:
        broken.write_bytes(content[:200])
        done = recipe.run("--stage", "3")
    finally:
        broken.write_bytes(content)
    assert done.returncode == 1
    log = recipe.folder / "exp/logs/3_format.log"
    assert done.stdout.splitlines()[-1] == f"[stage 3] FAILED; the whole log: {log}"
    assert "1 of 4 clips cannot be used" in done.stdout and utt_id in done.stdout
    assert "[stage 4]" not in done.stdout  # nothing goes on after a failure
    assert not (recipe.folder / "dump/raw/org/dev/text").exists()  # and nothing half-done passes for done
    again = recipe.run("--stage", "4", "--stop_stage", "4")
    assert again.returncode == 1 and "dump/raw/org/dev/text does not exist" in again.stdout
    mended = recipe.run("--stage", "3", "--stop_stage", "4")
    assert mended.returncode == 0, mended.stdout[-2000:]


def test_a_missing_checkpoint_is_named_before_decoding(recipe, experiment):
    done = recipe.run("--stage", "12", "--stop_stage", "12", "--inference_asr_model", "9epoch.pth")
    assert done.returncode == 1 and "no exp/avsr_tiny_word/9epoch.pth" in done.stdout
