"""Files that a full disk or the end of the process cuts: the old one or the new one, never half of it."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from espnet_vivit.base.torch_file import read_tensors, write_safetensors
from espnet_vivit.base.whole_file import write_lines, write_whole
from espnet_vivit.data.data_dir import read_data_dir, write_data_dir
from tests.faults.campaign import AS_IT_IS, RIGHT, Fault
from tests.faults.tables import three_utterances

LINES = [f"line {number} of the text" for number in range(400)]


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def full_disk(folder: Path) -> Iterator[Fault]:
    """Writers on a disk that is full after so many bytes."""
    weights = {"a": torch.arange(2000.0)}
    utterances = three_utterances(folder / "media")
    writers: dict[str, tuple[Path, Callable[[Path], object], Callable[[Path], object]]] = {
        "text": (folder / "text", lambda path: write_whole(path, "\n".join(LINES)), Path.read_text),
        "lines": (folder / "lines", lambda path: write_lines(path, LINES), Path.read_text),
        "weights": (
            folder / "weights.safetensors",
            lambda path: write_safetensors(weights, path),
            lambda path: str(read_tensors(path)),
        ),
        "data directory": (
            folder / "data",
            lambda path: write_data_dir(path, utterances),
            lambda path: [utterance.utt_id for utterance in read_data_dir(path)],
        ),
    }
    for name, (path, write, read) in writers.items():
        write(path)
        before = read(path)
        yield Fault(f"{name}, {AS_IT_IS}", _limited(10**6, path, write, read, before))
        for limit in range(0, 2000, 80):
            yield Fault(f"{name}, disk full after {limit} bytes", _limited(limit, path, write, read, before))


def _limited(limit: int, path: Path, write, read, before: object) -> Callable[[], str]:
    def run() -> str:
        try:
            with small_disk(limit):
                write(path)
        finally:
            left = [other.name for other in path.parent.iterdir() if ".tmp" in other.name or ".part" in other.name]
            assert not left, f"left behind: {left}"
            if path.is_file():  # a data directory that is being replaced has no text: nothing takes it for whole
                assert read(path) == before, "half a file"
        return RIGHT

    return run


def few_descriptors(folder: Path) -> Iterator[Fault]:
    """The same reader or writer a hundred times leaves no file open."""
    utterances = three_utterances(folder / "media")
    write_data_dir(folder / "data", utterances)
    write_safetensors({"a": torch.ones(3)}, folder / "weights.safetensors")
    for name, use in {
        "data directory": lambda: read_data_dir(folder / "data"),
        "weights": lambda: read_tensors(folder / "weights.safetensors"),
        "text": lambda: write_whole(folder / "text", "words"),
    }.items():

        def run(use=use) -> str:
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(100):
                use()
            return RIGHT if len(os.listdir("/proc/self/fd")) <= before else "files are left open"

        yield Fault(f"{name} a hundred times", run)


_WRITES = """
import sys
from pathlib import Path
from espnet_vivit.base.whole_file import write_whole
print("ready", flush=True)
for number in range(10**9):
    write_whole(Path(sys.argv[1]), f"{number}\\n" * 50_000)
"""


def kill(folder: Path) -> Iterator[Fault]:
    """A process that writes one file again and again, killed at some moment."""
    for number in range(4):
        yield Fault(
            f"kill -9, {number + 1}", lambda number=number: _killed(folder / f"text{number}", 0.05 + 0.03 * number)
        )


def _killed(path: Path, after_s: float) -> str:
    path.write_text("0\n" * 50_000)
    command = [sys.executable, "-c", _WRITES, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
    lines = path.read_text().splitlines()
    return RIGHT if len(lines) == 50_000 and len(set(lines)) == 1 else "half a file"
