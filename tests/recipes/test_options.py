"""The driver's option parser: what is understood, what is refused, and that its help names every option it has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EGS = Path(__file__).resolve().parents[2] / "egs"
DRIVER = EGS / "TEMPLATE/avsr1/avsr.sh"
RECIPES = sorted(path for path in EGS.glob("*/avsr1/run.sh"))


def run(*command: object, cwd: Path = Path("/")) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_there_are_recipes():
    assert [path.parts[-3] for path in RECIPES] == ["folder", "grid", "lrs2", "lrs3", "mini_av"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parts[-3])
def test_help_shows_the_recipes_own_defaults_from_any_folder(recipe, tmp_path):
    done = run(recipe, "--help", cwd=tmp_path)
    assert done.returncode == 0
    default = re.search(r"--asr_config +training YAML, or a preset such as tiny_both \((\S+)\)", done.stdout).group(1)
    assert (recipe.parent / default).is_file()
    assert (recipe.parent / re.search(r"--inference_config +decoding YAML \((\S+)\)", done.stdout).group(1)).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stge", "3"], "unknown option --stge. Did you mean --stage?"),
        (["--asr-confg=x.yaml"], "unknown option --asr_confg. Did you mean --asr_config?"),
        (["--PATH", "x"], "unknown option --PATH."),  # a shell variable is no option
        (["--stage", "three"], "option --stage: found 'three'; expected a whole number."),
        (["--nbpe", "7.5"], "option --nbpe: found '7.5'; expected a whole number."),
        (["--min_wav_duration", "abc"], "option --min_wav_duration: found 'abc'; expected a number such as 0.1."),
        (["--max_wav_duration=7.5s"], "option --max_wav_duration: found '7.5s'; expected a number such as 20.0."),
        (["--max_wav_duration", "."], "option --max_wav_duration: found '.'; expected a number such as 20.0."),
        (["--skip_train=yes"], "option --skip_train: found 'yes'; expected true or false."),
        (["--stage"], "option --stage needs a value."),
        (["stage", "3"], "unexpected argument 'stage'"),
        (["--stage", "12", "--stop_stage", "11"], "--stage 12 is after --stop_stage 11: nothing would run."),
        (["--stage", "16"], "--stage 16 is after --stop_stage 15: nothing would run."),
    ],
)
def test_wrong_options_are_refused_with_one_sentence(arguments, message):
    done = run(EGS / "mini_av/avsr1/run.sh", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}") and len(done.stderr.splitlines()) == 1


def test_durations_may_have_a_point_or_none_and_the_last_counts():
    """A recipe's own value comes before the user's: 7 before 7.5 must not make the option one of whole numbers."""
    options = [f"--max_wav_duration={value}" for value in ("7", ".5", "8.", "7.5")]
    done = run(EGS / "mini_av/avsr1/run.sh", *options, "--min_wav_duration", "1", "--help")
    assert done.returncode == 0
    assert "longest clip to train on, seconds (7.5)" in done.stdout
    assert "shortest clip to train on, seconds (1)" in done.stdout


def test_help_names_the_recipes_own_options_and_a_typo_in_one_is_recognised(tmp_path):
    for corpus, option in (("lrs2", "lrs2_root"), ("folder", "folder_root"), ("grid", "babble_snr_db")):
        recipe = EGS / corpus / "avsr1/run.sh"
        assert re.search(rf"^ *--{option} ", run(recipe, "--help").stdout, flags=re.M)
        done = run(recipe, f"--{option[:-1]}", "x")
        assert done.returncode == 1 and f"Did you mean --{option}?" in done.stderr
    done = run(EGS / "lrs3/avsr1/run.sh", "--lrs3-root", tmp_path / "none")  # dashes are taken for underscores
    assert done.returncode == 1 and "is not a folder" in done.stderr


def test_a_configuration_that_does_not_exist_is_refused_before_anything_runs():
    done = run(EGS / "mini_av/avsr1/run.sh", "--asr_config", "conf/none.yaml")
    assert done.returncode == 1 and "no file conf/none.yaml (relative names count from " in done.stderr
    assert "[stage 1]" not in done.stdout


@pytest.mark.parametrize(
    ("named", "taken"),
    [("tiny_video", "../../../conf/train_tiny_video.yaml"), ("avsr_resnet", "conf/train_avsr_resnet.yaml")],
)
def test_a_preset_is_taken_by_name_and_the_recipes_own_first(named, taken, tmp_path):
    """Stage 11 is the first that reads the configuration; its title says which, and it fails without data."""
    done = run(EGS / "mini_av/avsr1/run.sh", "--asr_config", named, "--stage", "11", "--expdir", tmp_path / "exp")
    assert f" with {taken} " in done.stdout, done.stderr
    assert f"exp/avsr_train_{named}_" in done.stdout


def test_the_help_lists_exactly_the_variables_that_have_defaults():
    text = DRIVER.read_text(encoding="utf-8")
    listed = re.findall(r"^ *--([a-z0-9_]+) ", text[text.index("usage()") :], flags=re.M)
    block = text[text.index("\nstage=1") : text.index("usage()")]
    assert sorted(listed) == sorted(re.findall(r"\b([a-z_]+)=", block)), "an option without default, or without help"


def test_espnets_option_names_are_there():
    listed = run(EGS / "mini_av/avsr1/run.sh", "--help").stdout
    for name in """stage stop_stage skip_data_prep skip_train skip_eval ngpu nj inference_nj asr_config inference_config
                   asr_args inference_args asr_tag expdir dumpdir asr_stats_dir train_set valid_set test_sets token_type
                   nbpe local_data_opts inference_asr_model lm_config use_lm""".split():
        assert f"--{name} " in listed


def test_every_script_is_valid_bash():
    scripts = sorted(EGS.glob("*/avsr1/**/*.sh"))
    assert len(scripts) >= 12
    for script in scripts:
        done = run("bash", "-n", script)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def recorded(tmp_path):
    """`recorded(*options, **environment)`: (CUDA_VISIBLE_DEVICES, arguments) of each Python that lrs2's stages start.

    A stub stands for Python, so what the stages would compute is not computed; a model's feature rate is $RATE.
    """
    stub, record = tmp_path / "python", tmp_path / "record"
    write = 'printf "%s|%s\\0" "${CUDA_VISIBLE_DEVICES-unset}" "$*" >> "$RECORD"'
    answer = 'case "$*" in *"--ask feature_rate"*) echo "${RATE-frame}" ;; esac'
    stub.write_text(f"#!/bin/sh\n{write}\n{answer}\n")
    stub.chmod(0o755)

    def start(*options, **environment):
        record.unlink(missing_ok=True)
        outer = {name: os.environ[name] for name in os.environ.keys() - {"CUDA_VISIBLE_DEVICES", "decode_cmd"}}
        folders = [word for name in ("datadir", "dumpdir", "expdir") for word in (f"--{name}", str(tmp_path / name))]
        done = subprocess.run(
            [EGS / "lrs2/avsr1/run.sh", *folders, *options],
            env={**outer, "PYTHON": str(stub), "RECORD": str(record), **environment},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        calls = record.read_text().split("\0")[:-1] if record.exists() else []
        return done, [tuple(call.split("|", 1)) for call in calls]

    return start


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parts[-3])
def test_an_exported_cdpath_changes_nothing(recipe, tmp_path):
    """With it, cd prints the folder and prefers those that it names: here one of the same name as the user's."""
    corpus = recipe.parts[-3]
    home, work, record = tmp_path / "home", tmp_path / "work", tmp_path / "record"
    for folder in (home / "videos", work / "videos"):
        folder.mkdir(parents=True)
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "from $PWD" >> "$RECORD"\n')
    stub.chmod(0o755)
    relative = Path(os.path.relpath(recipe, recipe.parents[2]))  # as typed in egs/
    (work / relative.parts[0]).symlink_to(recipe.parents[1])
    root = [] if corpus == "mini_av" else [f"--{corpus}_root", "videos"]
    folders = [word for name in ("datadir", "dumpdir", "expdir") for word in (f"--{name}", str(tmp_path / name))]
    environment = {"PYTHON": str(stub), "RECORD": str(record), "CDPATH": f"{home}:{work}"}
    done = subprocess.run(
        ["bash", str(relative), *root, *folders, "--stop_stage", "1"],
        cwd=work, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = record.read_text().splitlines()
    assert f"from {work / relative.parent}" in words
    if root:
        assert str(work / "videos") in words and str(home / "videos") not in words


DECODE = ("--stage", "12", "--stop_stage", "12", "--ngpu")


@pytest.mark.parametrize(
    ("options", "environment", "devices"),
    [
        (["4"], {}, ["0", "1", "2", "3"]),
        (["2", "--inference_nj", "5"], {}, ["0", "1", "0", "1", "0"]),
        (["2"], {"CUDA_VISIBLE_DEVICES": "3,5,7"}, ["3", "5"]),
        (["1", "--inference_nj", "2"], {"CUDA_VISIBLE_DEVICES": "GPU-ab, GPU-cd"}, ["GPU-ab", "GPU-ab"]),
        (["2"], {"decode_cmd": "env"}, ["unset", "unset"]),  # the cluster's command deals the GPUs out
    ],
)
def test_each_decoding_job_has_one_gpu_of_those_that_training_has(recorded, options, environment, devices):
    done, calls = recorded(*DECODE, *options, **environment)
    assert done.returncode == 0, done.stdout
    parts = ((re.search(r" --part (\d+) ", words), seen, words) for seen, words in calls)
    jobs = {int(part.group(1)): (seen, words) for part, seen, words in parts if part}
    assert [jobs[part][0] for part in sorted(jobs)] == devices
    assert sorted(jobs) == list(range(1, len(devices) + 1))
    for _, words in jobs.values():
        assert f"--parts {len(devices)} -- --ngpu 1 --asr_train_config" in words


def test_decoding_without_a_gpu_takes_every_core_and_leaves_the_devices_alone(recorded):
    done, calls = recorded(*DECODE, "0")
    jobs = [(seen, words) for seen, words in calls if " part " in words]
    assert done.returncode == 0 and len(jobs) == int(run("nproc").stdout)
    assert all(seen == "unset" and " -- --ngpu 0 " in words for seen, words in jobs)


@pytest.mark.parametrize("visible", ["0,1", ""])
def test_more_gpus_than_are_visible_are_refused_before_decoding(recorded, visible):
    done, calls = recorded(*DECODE, "4", CUDA_VISIBLE_DEVICES=visible)
    named = f"--ngpu 4: CUDA_VISIBLE_DEVICES='{visible}' has {2 if visible else 0} devices."
    assert done.returncode == 1 and named in done.stdout and not any(" part " in words for _, words in calls)


@pytest.mark.parametrize(
    ("options", "rate", "named"),
    [([], "frame", "expdir/avsr_stats_word"), ([], "tubelet", "expdir/avsr_stats_word_tubelet"),
     (["--asr_stats_dir", "mine"], "tubelet", "mine")],
)  # fmt: skip
def test_each_feature_rate_has_shapes_of_its_own(recorded, options, rate, named):
    """Stage 10 judges by the rate what CTC can align: what it wrote for one is no answer for another."""
    options = ["--stage", "10", "--stop_stage", "11", "--token_type", "word", *options]
    done, calls = recorded(*options, RATE=rate)
    assert done.returncode == 0, done.stdout
    (made,) = [
        re.search(r" --out (\S+) .* --feature_rate (\w+)", words).groups() for _, words in calls if "shapes --" in words
    ]
    assert made[0].endswith(named) and made[1] == rate
    (asked,) = [re.search(r" --stats (\S+) ", words).group(1) for _, words in calls if "train_options" in words]
    (noted,) = [words for _, words in calls if "avsr_resume" in words]
    assert asked == made[0] and f"--shapes {made[0]}/train/text_shape" in noted
    assert f"--valid_shapes {made[0]}/valid/text_shape" in noted and "/dev --valid_shapes" in noted


def test_the_perplexity_is_computed_on_one_device(recorded):
    for ngpu, wanted in (("4", "1"), ("0", "0")):
        done, calls = recorded("--stage", "8", "--stop_stage", "8", "--use_lm", "true", "--ngpu", ngpu)
        assert done.returncode == 0
        assert [words for _, words in calls if "perplexity" in words and f"--ngpu {wanted} " in words]


def test_what_the_recipes_run_as_a_program_is_one():
    """A module without a main part would do nothing, and the stage would seem to be done."""
    scripts = [path.read_text(encoding="utf-8") for path in EGS.rglob("*.sh")]
    modules = {name for text in scripts for name in re.findall(r"-m (espnet_vivit[\w.]*\w)", text)}
    assert {"espnet_vivit.bin.avsr_train", "espnet_vivit.bin.cli"} <= modules
    for name in modules:
        source = EGS.parent / f"{name.replace('.', '/')}.py"
        assert '\nif __name__ == "__main__":\n' in source.read_text(encoding="utf-8"), name
