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
    default = re.search(r"--asr_config +training YAML \((\S+)\)", done.stdout).group(1)
    assert (recipe.parent / default).is_file()
    assert (recipe.parent / re.search(r"--inference_config +decoding YAML \((\S+)\)", done.stdout).group(1)).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stge", "3"], "unknown option --stge. Did you mean --stage?"),
        (["--asr-confg=x.yaml"], "unknown option --asr_confg. Did you mean --asr_config?"),
        (["--PATH", "x"], "unknown option --PATH."),  # a shell variable is no option
        (["--stage", "three"], "option --stage: found 'three'; expected a whole number."),
        (["--skip_train=yes"], "option --skip_train: found 'yes'; expected true or false."),
        (["--stage"], "option --stage needs a value."),
        (["stage", "3"], "unexpected argument 'stage'"),
    ],
)
def test_wrong_options_are_refused_with_one_sentence(arguments, message):
    done = run(EGS / "mini_av/avsr1/run.sh", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}") and len(done.stderr.splitlines()) == 1


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
