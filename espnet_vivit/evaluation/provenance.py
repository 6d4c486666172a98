"""Record how a number came about, as (name, value) lines: command, commit, seed, data hash, versions, hardware,
training time.

What names this machine is left out: paths below the current folder are written relative to it, of others only the last
part is kept.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.training_log import TrainingHistory
from espnet_vivit.version import __version__

LIBRARIES = ("espnet", "torch", "transformers", "numpy", "jiwer")
HASHED_FILES = ("text", "utt2spk", "utt2num_frames", "utt2num_samples", "word_times")  # none holds a path


def data_hash(directories: Sequence[Path]) -> str:
    """Compute the SHA-256 (hex) over the sorted lines of each data directory's files without paths, in the order of
    the names.
    """
    digest = hashlib.sha256()
    for directory in sorted(map(Path, directories), key=lambda path: path.name):
        for name in HASHED_FILES:
            path = directory / name
            if not path.is_file():
                continue
            lines = sorted(line for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
            digest.update(f"{directory.name}/{name} {len(lines)}\n".encode())
            digest.update("".join(f"{line}\n" for line in lines).encode())
    return digest.hexdigest()


def commit() -> str:
    """Run `git describe --always`; -dirty is added if a tracked file other than a RESULTS.md differs from the
    commit.
    """
    for folder in (Path(__file__).resolve().parents[1], Path.cwd()):
        root = _git(folder, "rev-parse", "--show-toplevel")
        # the repository around may be one that merely contains an installed copy of this package
        if root is None or not _git(Path(root), "ls-files", "espnet_vivit/__init__.py"):
            continue
        described = _git(Path(root), "describe", "--always", "--abbrev=12")
        changed = _git(
            Path(root), "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude,glob)**/RESULTS.md"
        )
        if described is not None and changed is not None:
            return described + ("-dirty" if changed else "")
    return f"not a git checkout; espnet_vivit {__version__}"


def without_machine_paths(text: str) -> str:
    """Write paths relative to this folder; of absolute paths elsewhere keep the name (`…/name`), of Python `python`."""
    for path, name in ((sys.executable, "python"), (f"{Path.cwd()}/", ""), (str(Path.cwd()), ".")):
        text = text.replace(path, name)
    return re.sub(r"(?<![\w./~-])/(?:[^\s/'\"]+/)+([^\s/'\"]+)", r"…/\1", text)


def hardware() -> str:
    """Name the processor, the cores that this process may use, the threads, and the GPU where torch would use one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    gpu = _run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return f"{_processor()}, {cores} cores, OMP_NUM_THREADS {threads}, " + (f"GPU {gpu}" if gpu else "no GPU")


def versions() -> str:
    installed = [f"Python {platform.python_version()}"]
    for library in LIBRARIES:
        try:
            installed.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            installed.append(f"{library} not installed")
    return ", ".join(installed)


def training_config(experiment: Path) -> dict:
    """The experiment's config.yaml as ESPnet wrote it at the start of the training."""
    path = Path(experiment) / "config.yaml"
    if not path.is_file():
        raise DataError(f"no training configuration in {experiment}", found=f"no {path}", fix="Train first (stage 11).")
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def provenance(
    experiment: Path,
    *,
    data: Sequence[Path],
    history: TrainingHistory,
    command: str | None = None,
    bootstrap_seed: int,
) -> list[tuple[str, str]]:
    """The lines under a table of results; `data` are the data directories of training and test."""
    config = training_config(experiment)
    return [
        ("command", f"`{without_machine_paths(command or shlex.join([sys.executable, *sys.argv]))}`"),
        ("commit", commit()),
        ("seed", f"training {config.get('seed', 'not stated')}, bootstrap {bootstrap_seed}"),
        ("data", f"sha256 {data_hash(data)} over {', '.join(HASHED_FILES)} of {_sizes(data)}"),
        ("training", f"{history.epochs} epochs in {history.seconds / 60:.1f} minutes"),
        ("hardware", hardware()),
        ("versions", versions()),
    ]


def _sizes(directories: Sequence[Path]) -> str:
    counted = ((path.name, len((path / "text").read_text(encoding="utf-8").splitlines())) for path in directories)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counted))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    return _run(["git", "-C", str(folder), *arguments])


def _run(command: list[str]) -> str | None:
    """The command's output, or None where it does not exist or fails: both mean that there is nothing to report."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
