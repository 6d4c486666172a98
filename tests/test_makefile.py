"""Setting up on a fresh machine, with stand-ins for Python, pip and the compilers on PATH: nothing is installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASICS = "sh bash make cat cksum tr date awk basename dirname find mkdir cp rm tail tee grep mktemp env".split()
CLOSING_LINE = "========= 3 passed in 0.10s ========="

# Answers like the real Python, after $FAKE_PATCH has changed what it sees; writes down its calls; installs nothing.
PYTHON = f"""#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$1 $2" in
    "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip")
        echo "pip was here"
        [ "$3 $FAKE_KILL" != "install yes" ] || kill -9 "$PPID"  # as if the machine had gone off
        exit "${{FAKE_PIP_STATUS:-0}}" ;;
    "-m ruff") exit "${{FAKE_RUFF_STATUS:-0}}" ;;
    "-m pyright") exit 0 ;;
    "-m pytest") echo "${{FAKE_PYTEST:-{CLOSING_LINE}}}"; exit "${{FAKE_PYTEST_STATUS:-0}}" ;;
    "-c "*) exec "{sys.executable}" -c "import sys, sysconfig; $FAKE_PATCH; exec(sys.argv[1])" "$2" ;;
    *) exit 99 ;;
esac
"""
COMPILERS = "sysconfig.get_config_var = {'CC': 'gcc -pthread', 'CXX': 'g++ -pthread'}.get"


class Machine:
    """A folder with a copy of what sets the project up, and a PATH with nothing but stand-ins and POSIX basics."""

    def __init__(self, folder: Path):
        self.root, self.bin, self.calls = folder / "project", folder / "bin", folder / "calls"
        self.bin.mkdir(parents=True)
        for name in BASICS:
            found = shutil.which(name)
            assert found, f"this test needs {name}"
            (self.bin / name).symlink_to(found)
        self.add("df", "#!/bin/sh\necho header; echo disk 90000000 10 ${FAKE_FREE:-50000000} 1% /\n")
        self.add("gcc", "#!/bin/sh\n")
        self.add("g++", "#!/bin/sh\n")
        include = folder / "include"
        include.mkdir()
        (include / "Python.h").touch()
        self.patch = f"sysconfig.get_paths = lambda: {{'include': '{include}'}}; {COMPILERS}"
        self.root.mkdir()
        for name in ("setup.py", "pyproject.toml", "constraints.txt", "constraints-espnet202511.txt", "Makefile"):
            shutil.copy(ROOT / name, self.root)
        for name in ("tools", ".ci"):
            shutil.copytree(ROOT / name, self.root / name)

    def add(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """Run in the project's folder; `.calls_made` of the result is what the stand-ins for Python were asked."""
        self.calls.write_text("")
        env = {"PATH": str(self.bin), "CALLS": str(self.calls), "HOME": str(self.root), "FAKE_PATCH": self.patch}
        done = subprocess.run(
            command, cwd=self.root, env={**env, **environment}, capture_output=True, text=True, timeout=60
        )
        done.calls_made = [line for line in self.calls.read_text().splitlines() if line.split()[1] != "-c"]
        return done

    def set_up(self, **environment: str) -> subprocess.CompletedProcess:
        return self.run("tools/setup_venv.sh", **environment)


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def made_by(done) -> list[str]:
    """Which Pythons were asked to make an environment."""
    return [call.split()[0] for call in done.calls_made if " -m venv " in call]


def installs(done) -> list[str]:
    return [call for call in done.calls_made if " -m pip install " in call]


def test_a_python_that_is_found_but_does_not_run_is_passed_over(machine):
    machine.add("python3.12", "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    machine.add("python3.11", PYTHON)
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert made_by(done) == ["python3.11"]
    assert "making .venv with python3.11" in done.stdout
    assert installs(done)[1].endswith("-e .[dev]")


@pytest.mark.parametrize(
    ("version", "espnet", "pip", "constraints"),
    [
        ((3, 13, 0), "", "pip==26.3", "constraints.txt"),
        ((3, 12, 1), "", "pip==26.3", "constraints.txt"),
        ((3, 12, 1), "202511", "pip==26.1", "constraints-espnet202511.txt"),
        ((3, 11, 7), "", "pip==26.1", "constraints-espnet202511.txt"),
        ((3, 10, 13), "", "pip==26.1", "constraints-espnet202511.txt"),
    ],
)
def test_each_python_gets_the_espnet_that_serves_it(machine, version, espnet, pip, constraints):
    machine.add("python3", PYTHON)
    wanted = {"ESPNET": espnet} if espnet else {}
    done = machine.set_up(FAKE_PATCH=f"{machine.patch}; sys.version_info = {version}", **wanted)
    assert done.returncode == 0, done.stderr
    assert pip in installs(done)[0] and f"install -c {constraints} " in installs(done)[1]
    assert (machine.root / (".venv-espnet202511" if espnet else ".venv")).is_dir()


def test_an_espnet_that_is_not_known_is_refused(machine):
    done = machine.set_up(ESPNET="202301")
    assert done.returncode == 1 and "ESPNET=202301 is not known" in done.stderr


def test_the_newest_supported_python_comes_first_and_plain_python3_last(machine):
    machine.add("python3", PYTHON)
    machine.add("python3.10", PYTHON)
    assert made_by(machine.set_up()) == ["python3.10"]
    shutil.rmtree(machine.root / ".venv")
    (machine.bin / "python3.10").unlink()
    assert made_by(machine.set_up()) == ["python3"]


@pytest.mark.parametrize(
    "path", [".pyenv/versions/3.13.0/bin/python", ".local/share/uv/python/cpython-3.13.2-linux-x86_64/bin/python3.13"]
)
def test_a_newer_python_that_pyenv_or_uv_keeps_is_found(machine, path):
    machine.add("python3.11", PYTHON)
    kept = machine.root / path
    kept.parent.mkdir(parents=True)
    kept.write_text(PYTHON)
    kept.chmod(0o755)
    done = machine.set_up(FAKE_PATCH=f"{machine.patch}; sys.version_info = (3, 13, 0)")
    assert f"making .venv with {kept}" in done.stdout


def test_the_python_that_the_user_names_is_taken(machine):
    machine.add("python3.12", PYTHON)
    machine.add("mine", PYTHON)
    assert made_by(machine.set_up(PYTHON=str(machine.bin / "mine"))) == ["mine"]


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_an_unsupported_python_alone_is_named_with_another_way_than_the_systems_packages(machine, version):
    """Its python3 is the one that apt-get gave: to install it once more would change nothing."""
    machine.add("python3", PYTHON)
    done = machine.set_up(FAKE_PATCH=f"sys.version_info = {version}")
    assert done.returncode == 1
    named = ".".join(map(str, version))
    assert done.stderr.startswith(f"setup: no Python 3.10 to 3.13 runs here (python3 is {named})")
    assert "apt-get" not in done.stderr and done.stderr.count("\n") == 1
    assert "uv python install 3.12" in done.stderr and "PYTHON=/path/to/python3.12 make demo" in done.stderr
    assert not (machine.root / ".venv").exists()
    chosen = machine.set_up(FAKE_PATCH=f"sys.version_info = {version}", PYTHON=str(machine.bin / "python3"))
    assert f"({machine.bin / 'python3'} is {named})" in chosen.stderr


def test_without_any_python_the_systems_packages_are_named(machine):
    done = machine.set_up()
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert (
        "(tried: python3.13 python3.12 python3.11 python3.10 python3): apt-get install python3 python3-venv"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("patch", "package"),
    [
        ("sys.modules['ensurepip'] = None", "-venv"),
        ("sysconfig.get_paths = lambda: {'include': '/nowhere'}", "-dev"),
        ("sysconfig.get_config_var = {'CC': 'absent-cc', 'CXX': 'g++'}.get", "gcc g++"),
        ("sysconfig.get_config_var = {'CC': 'gcc', 'CXX': 'absent-c++'}.get", "gcc g++"),
    ],
)
def test_what_is_missing_is_named_with_its_package(machine, patch, package):
    machine.add("python3.11", PYTHON)
    done = machine.set_up(FAKE_PATCH=f"{machine.patch}; sys.version_info = (3, 11, 7); {patch}")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(package) and "apt-get install" in done.stderr
    assert done.stderr.count("\n") == 1
    assert installs(done) == []


def test_a_compiler_that_cannot_compile_cpp_does_not_count(machine):
    """gcc without g++: the command is there and fails on C++."""
    machine.add("python3.11", PYTHON)
    machine.add("g++", "#!/bin/sh\nexit 1\n")
    done = machine.set_up(FAKE_PATCH=f"{machine.patch}; sys.version_info = (3, 11, 7)")
    assert done.returncode == 1
    assert done.stderr == "setup: no working C and C++ compiler (gcc -pthread, g++ -pthread): apt-get install gcc g++\n"


def test_a_python_without_headers_gives_way_to_one_that_has_them(machine):
    without_headers = "sys.version_info = (3, 11, 7); sysconfig.get_paths = lambda: {'include': '/nowhere'}"
    machine.add("python3.12", PYTHON.replace("$FAKE_PATCH", without_headers))
    machine.add("python3.11", PYTHON)
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert made_by(done) == ["python3.11"]


def test_too_little_room_is_said_before_anything_is_downloaded(machine):
    machine.add("python3.11", PYTHON)
    done = machine.set_up(FAKE_FREE="1000")
    assert done.returncode == 1
    assert "1000 KiB are free" in done.stderr
    assert done.calls_made == []


def test_a_second_call_installs_nothing(machine):
    machine.add("python3.11", PYTHON)
    assert len(installs(machine.set_up())) == 2
    again = machine.set_up()
    assert again.returncode == 0
    assert again.calls_made == []
    assert "nothing to install" in again.stdout


@pytest.mark.parametrize("changed", ["setup.py", "pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(machine, changed):
    machine.add("python3.11", PYTHON)
    machine.set_up()
    with (machine.root / changed).open("a") as stream:
        stream.write("\n# changed\n")
    done = machine.set_up()
    assert made_by(done) == [] and len(installs(done)) == 2
    assert machine.set_up().calls_made == []


def test_a_failed_installation_shows_the_log_and_is_begun_anew(machine):
    machine.add("python3.11", PYTHON)
    failed = machine.set_up(FAKE_PIP_STATUS="1")
    assert failed.returncode == 1
    assert "pip was here" in failed.stderr and ".venv/install.log" in failed.stderr
    done = machine.set_up()
    assert made_by(done) == ["python3.11"] and len(installs(done)) == 2
    assert machine.set_up().calls_made == []


def test_an_interrupted_installation_is_not_taken_for_done(machine):
    machine.add("python3.11", PYTHON)
    assert machine.set_up(FAKE_KILL="yes").returncode == -signal.SIGKILL
    done = machine.set_up()
    assert made_by(done) == ["python3.11"] and len(installs(done)) == 2


def test_a_moved_repository_is_installed_again(machine):
    machine.add("python3.11", PYTHON)
    machine.set_up()
    machine.root = machine.root.rename(machine.root.with_name("moved"))
    assert len(installs(machine.set_up())) == 2


def test_an_environment_whose_python_is_gone_is_made_anew(machine):
    machine.add("python3.11", PYTHON)
    machine.set_up()
    (machine.root / ".venv" / "bin" / "python").unlink()
    assert made_by(machine.set_up()) == ["python3.11"]


def test_make_test_installs_lints_checks_types_and_ends_with_the_closing_line(machine):
    machine.add("python3.11", PYTHON)
    first = machine.run("make", "test")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == CLOSING_LINE
    second = machine.run("make", "test")
    assert installs(second) == []
    assert [call.split()[2] for call in second.calls_made] == ["ruff", "ruff", "pyright", "pytest"]


def test_make_faces_installs_mediapipe_and_then_its_model_file(machine):
    commands = machine.run("make", "-n", "faces").stdout.splitlines()
    assert commands[-2].endswith('-e ".[faces]"') and commands[-1].endswith("espnet_vivit.bin.cli face-model")


def test_make_help_describes_every_target(machine):
    listed = {line.split()[1] for line in machine.run("make", "help").stdout.splitlines()}
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed == set(phony.split()[1:])
    assert {"test", "demo", "install"} <= listed


def test_clean_leaves_the_environment_and_distclean_does_not(machine):
    machine.add("python3.11", PYTHON)
    machine.set_up()
    kept, removed = machine.root / ".venv" / "lib" / "__pycache__", machine.root / "tools" / "__pycache__"
    for folder in (kept, removed):
        folder.mkdir(parents=True)
    assert machine.run("make", "clean").returncode == 0
    assert kept.exists() and not removed.exists()
    assert machine.run("make", "distclean").returncode == 0
    assert not (machine.root / ".venv").exists()


def test_the_demo_runs_the_recipe_with_the_environments_python_and_fails_with_it(machine):
    machine.add("python3.11", PYTHON)
    recipe = machine.root / "egs" / "mini_av" / "avsr1" / "run.sh"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('#!/bin/sh\necho "in $PWD with $PYTHON: $*"\nexit "${FAKE_RECIPE_STATUS:-0}"\n')
    recipe.chmod(0o755)
    done = machine.run("make", "demo", "DEMO_ARGS=--stage 3")
    assert done.returncode == 0, done.stderr
    assert f"in {recipe.parent} with {machine.root}/.venv/bin/python: --stage 3" in done.stdout
    assert re.search(r"== demo: \d+ s$", done.stdout.rstrip())
    assert machine.run("make", "demo", FAKE_RECIPE_STATUS="1").returncode != 0


@pytest.mark.parametrize("status", [0, 1])
def test_ci_ends_with_the_closing_line_and_fails_with_the_tests(machine, status):
    machine.add("python3.11", PYTHON)
    line = f"========= {status} failed, 2 passed in 61.20s (0:01:01) ========="
    python = f"{machine.patch}; sys.version_info = (3, 12, 1)"  # which serves both releases of ESPnet
    done = machine.run(".ci/run", FAKE_PATCH=python, FAKE_PYTEST=line, FAKE_PYTEST_STATUS=str(status))
    assert (done.returncode != 0) == (status != 0)
    assert done.stdout.splitlines()[-2:] == [line, line]  # of both releases of ESPnet


def test_ci_says_so_when_the_tests_were_never_run(machine):
    machine.add("python3.11", PYTHON)
    python = f"{machine.patch}; sys.version_info = (3, 12, 1)"
    done = machine.run(".ci/run", FAKE_PATCH=python, FAKE_RUFF_STATUS="1")
    assert done.returncode != 0
    assert "before pytest could run" in done.stdout.splitlines()[-2]


def test_the_scripts_that_are_called_are_executable():
    for name in ("tools/setup_venv.sh", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
