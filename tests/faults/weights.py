"""Weights and packages whose bytes are damaged or that hold something else: the same numbers, or a named error."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from espnet_vivit.base.torch_file import read_tensors, write_safetensors
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.release.pack import pack
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.model_config import load_strictly
from tests.experiments import write_experiment
from tests.faults.campaign import AS_IT_IS, RIGHT, Fault
from tests.faults.damage import damaged
from tests.tiny import tiny_e2e

EACH = 24


def files_of_weights(folder: Path) -> Iterator[Fault]:
    """A flipped bit anywhere may change no weight unnoticed. Safetensors have no checksum: packages add theirs."""
    weights = {"a": torch.randn(20, 7), "b.c": torch.arange(5), "half": torch.randn(9).half()}
    path = folder / "weights.pth"
    torch.save(weights, path)
    for name, content in [(AS_IT_IS, path.read_bytes()), *damaged(path.read_bytes(), each=3 * EACH)]:
        yield Fault(
            f"weights.pth, {name}", _written(path, content, lambda path=path: _same(read_tensors(path), weights))
        )
    path = folder / "weights.safetensors"
    write_safetensors(weights, path)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    whole = path.read_bytes()
    for name, content in [(AS_IT_IS, whole[:header]), *damaged(whole[:header], each=2 * EACH)]:
        read = lambda path=path: _same_kinds(read_tensors(path), weights)  # noqa: E731
        yield Fault(f"weights.safetensors, header, {name}", _written(path, content + whole[header:], read))


def _written(path: Path, content: bytes, check: Callable[[], str]) -> Callable[[], str]:
    def run() -> str:
        path.write_bytes(content)
        return check()

    return run


def _same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    return RIGHT if same else "other weights"


def _same_kinds(found: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """A damaged header may rename a tensor or change its shape; a model refuses both, see `states_of_models`."""
    return RIGHT if len(found) == len(expected) else f"{len(found)} tensors"


WRONG: dict[str, Callable[[Tensor], object]] = {
    "NaN": lambda x: torch.full_like(x, float("nan")),
    "infinite": lambda x: torch.full_like(x, float("inf")),
    "whole numbers": lambda x: torch.zeros_like(x, dtype=torch.int64),
    "another shape": lambda x: torch.zeros(*x.shape, 2),
    "no tensor": lambda x: "weights",
    "a list": lambda x: x.tolist(),
    "null": lambda x: None,
    "empty": lambda x: x.new_zeros(0),
    "sparse": lambda x: x.to_sparse(),
}


def states_of_models(folder: Path) -> Iterator[Fault]:
    """Each tensor of a small model absent, renamed, or something else."""
    model = tiny_e2e("video")
    state, path = model.state_dict(), folder / "model.pth"
    floats = [name for name, value in state.items() if value.is_floating_point()]

    def load(changed: dict) -> Callable[[], str]:
        def run() -> str:
            torch.save(changed, path)
            load_strictly(model, path)
            return "it is loaded"

        return run

    yield Fault(AS_IT_IS, lambda: torch.save(state, path) or load_strictly(model, path) or RIGHT)
    for name in floats[::6]:
        rest = {key: value for key, value in state.items() if key != name}
        yield Fault(f"{name} is absent", load(rest))
        yield Fault(f"{name} is called otherwise", load({**rest, f"{name}x": state[name]}))
        for what, wrong in WRONG.items():
            yield Fault(f"{name}: {what}", load({**state, name: wrong(state[name])}))


def packages(folder: Path) -> Iterator[Fault]:
    """Every file of a package damaged or absent, and the archive of it: hashes tell."""
    experiment = write_experiment(folder / "exp", audio_encoder=...)
    whole = pack(experiment, folder / "package", licence="CC-BY-4.0")
    yield Fault(AS_IT_IS, lambda: _opened(whole))
    for file in sorted(path for path in whole.iterdir() if path.is_file()):
        content = file.read_bytes()
        for name, changed in damaged(content, each=EACH // 8):
            yield Fault(f"{file.name}, {name}", _put_back(file, changed, lambda: _opened(whole)))
        yield Fault(f"{file.name} is absent", _put_back(file, None, lambda: _opened(whole)))
        yield Fault(f"{file.name} is empty", _put_back(file, b"", lambda: _opened(whole)))
    archive = Path(shutil.make_archive(str(folder / "model"), "zip", whole))
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
    for name, changed in [(AS_IT_IS, archive.read_bytes()), *damaged(archive.read_bytes(), each=EACH // 4)]:
        yield Fault(f"model.zip, {name}", _put_back(archive, changed, lambda: _opened(archive)))


def _put_back(file: Path, content: bytes | None, check: Callable[[], str]) -> Callable[[], str]:
    def run() -> str:
        before = file.read_bytes()
        file.unlink() if content is None else file.write_bytes(content)
        try:
            return check()
        finally:
            file.write_bytes(before)

    return run


def _opened(path: Path) -> str:
    """Opened after all: what is read is the experiment's, or nothing that a model is made of has changed."""
    files = open_model(path)
    AVSRTask.build_model_from_file(files.config, files.weights)
    return RIGHT
