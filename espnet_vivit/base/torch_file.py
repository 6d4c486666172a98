"""Files of tensors, read as data: every byte checked, nothing that they hold is run, sizes bounded by the file's.

In: what `torch.save` has written, or `.safetensors`. Out: tensors by name, finite, free of what training tools put
around them (DDP's `module.`, torch.compile's `_orig_mod.`, Lightning's `state_dict` with `model.`). All doors through
which weights or training states enter lead here, `init_param`, resuming and averaging among them, where ESPnet and
Lightning call `torch.load` themselves (see `data_only`).
"""

import datetime
import functools
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import EspnetVivitError, MediaError, WeightsError

_torch_load = torch.load  # the one that runs code unless it is told not to
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]  # its module was renamed between NumPy 1 and 2
_DATA = [datetime.timedelta, _NUMPY_SCALAR, np.dtype, type(np.dtype("f8")), type(np.dtype("f4"))]  # in training logs
_AROUND = ("state_dict", "model_state_dict", "model", "module")  # keys under which checkpoints keep the weights
_PREFIXES = ("module.", "_orig_mod.")
_DEEPEST, _SHOWN = 3, 3
_TIMES_FILE = 4  # numbers that tensors may show for each byte of their file: views of shared storage need some room


def damage_of(path: str | os.PathLike | BinaryIO) -> str | None:
    """What is wrong with a file that `torch.save` has written; None if every byte is as it was.

    `torch.load` does not look at the CRC-32 that the zip archive has of each part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            size = archive.fp.seek(0, os.SEEK_END) if archive.fp else 0
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > size:
                return "its parts are compressed, which torch.save never does"
            bad = archive.testzip()
    except Exception as error:  # a damaged archive fails in as many ways as there are; its words say which
        return f"it was cut off, or is no file of torch ({error})"
    return None if bad is None else f"bytes of {bad} in it have changed"


def read_torch_file(file: str | os.PathLike | BinaryIO, *, map_location: Any = "cpu", mmap: bool = False) -> Any:
    """What `torch.save` has written, with times and numbers of a training's log beside tensors, at most.

    Raises WeightsError: no such file, damaged, or with objects in it that loading would have to run code for.
    """
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", "the file")
    try:
        if zipfile.is_zipfile(file) and (reason := damage_of(file)):
            raise _unreadable(name, reason)
        if not isinstance(file, str | os.PathLike):
            file.seek(0)
        with torch.serialization.safe_globals(_DATA):
            return _torch_load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise WeightsError(f"the model file {name} does not exist", fix="Has the training ended?") from None
    except EspnetVivitError:
        raise
    except pickle.UnpicklingError as error:  # its own text advises to run the code in the file
        raise _unreadable(name, "it is damaged, or holds code, which is never run") from error
    except Exception as error:  # as above
        raise _unreadable(name, str(error).strip().split("\n")[0] or type(error).__name__) from error


def read_tensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """The finite tensors by name in a `.safetensors` file or one of `torch.save`. Raises WeightsError."""
    if Path(path).suffix == ".safetensors":
        state = bare_names(read_safetensors(path))
    else:
        state = state_dict_in(read_torch_file(path), path)
    check_numbers(state, path)
    return state


def read_safetensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file. Raises WeightsError: no such file, or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"the model file {path} does not exist", fix="Has the training ended?") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, str(error).split("\n")[0]) from error


def write_safetensors(state: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Write the tensors, all or nothing; those that share memory are written apart. Raises MediaError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file({name: value.detach().clone().contiguous() for name, value in state.items()}, temporary)
        except SafetensorError as error:  # which the system's error has become
            raise MediaError(
                f"cannot write {path} ({error})", fix="Check that its folder exists and has room."
            ) from error


@contextmanager
def data_only() -> Iterator[None]:
    """Inside the block every `torch.load` reads data only, whoever calls it and whatever it asks for.

    A state dict comes without wrappers; it, and the model in a checkpoint of a training, must be finite.
    """

    @functools.wraps(_torch_load)
    def load(file, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **options) -> Any:
        content = read_torch_file(file, map_location=map_location, mmap=bool(mmap))
        if not isinstance(file, str | os.PathLike) or map_location == "meta":
            return content  # Lightning's checkpoint, whose parts it takes itself; shapes alone
        if isinstance(content, Mapping) and {"model", "optimizers"} <= content.keys():
            check_numbers(content["model"], file)
            return content
        state = state_dict_in(content, file)
        check_numbers(state, file)
        return state

    original, torch.load = torch.load, load
    try:
        yield
    finally:
        torch.load = original


def state_dict_in(content: object, source: object) -> dict[str, Tensor]:
    """The tensors by name in what a checkpoint holds, without wrappers; WeightsError where there are none."""
    prefixes = _PREFIXES
    for _ in range(_DEEPEST):
        inner = next((key for key in _AROUND if isinstance(content, Mapping) and _is_mapping(content.get(key))), None)
        if inner is None:
            break
        prefixes += ("model.",) if inner == "state_dict" else ()  # Lightning's module has the model as `model`
        content = content[inner]  # pyright: ignore[reportIndexIssue] a Mapping, by the line above
    by_name = content if isinstance(content, Mapping) and all(isinstance(name, str) for name in content) else {}
    strangers = [name for name, value in by_name.items() if not isinstance(value, Tensor)]
    if strangers or not by_name:
        kind = "an empty dict" if isinstance(content, Mapping) and not content else type(content).__name__
        found = f"entries that are none: {_some(strangers)}" if strangers else kind
        fix = "Of a training's checkpoint, save the state dict alone: torch.save(model.state_dict(), FILE)"
        raise WeightsError(f"{source} holds no state dict", found=found, expected="tensors by name", fix=fix)
    return bare_names(by_name, prefixes)


def bare_names(state: Mapping[str, Tensor], prefixes: tuple[str, ...] = _PREFIXES) -> dict[str, Tensor]:
    """`state` without a prefix that all of its names have."""
    names = dict(zip(state, state, strict=True))
    for _ in range(_DEEPEST):
        for prefix in prefixes:
            if names and all(name.startswith(prefix) for name in names.values()):
                names = {stored: name.removeprefix(prefix) for stored, name in names.items()}
    return {name: state[stored] for stored, name in names.items()}


def check_numbers(state: Mapping[str, Tensor], source: object, *, like: Mapping[str, Tensor] | None = None) -> None:
    """Raise WeightsError for tensors that are NaN or infinite, no plain arrays, or larger than their file.

    like: tensors by the same names that are to be filled: whole numbers do not fill fractions, nor the reverse.
    """
    odd = [name for name, x in state.items() if x.layout != torch.strided or x.is_quantized or x.is_meta]
    if odd:
        raise WeightsError(f"{source} holds tensors that are no plain arrays", found=_some(odd), expected="numbers")
    size = os.path.getsize(source) if isinstance(source, str | os.PathLike) and os.path.isfile(source) else None
    if size is not None and sum(x.numel() for x in state.values()) > _TIMES_FILE * size:
        raise WeightsError(f"{source} holds tensors of more numbers than its {size} bytes", found="a damaged file")
    broken = [name for name, x in state.items() if not _is_finite(x)]
    if broken:
        raise WeightsError(
            f"{source} holds weights that are NaN or infinite",
            found=f"{len(broken)} of {len(state)} tensors: {_some(broken)}",
            expected="finite numbers",
            fix="Was the training's loss finite? Take an earlier epoch's weights",
        )
    for name, target in (like or {}).items():
        if name in state and state[name].is_floating_point() != target.is_floating_point():
            raise WeightsError(
                f"{source} holds another kind of number than the model", found=f"{name} as {_kind(state[name])}",
                expected=_kind(target), fix="Get the weights as they were saved",
            )  # fmt: skip


def _is_finite(x: Tensor) -> bool:
    if not (x.is_floating_point() or x.is_complex()):
        return True
    return bool(torch.isfinite(x if x.element_size() > 1 else x.float()).all())


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _unreadable(name: object, reason: str) -> WeightsError:
    return WeightsError(
        f"cannot read the weights {name} ({reason})", expected="a whole file with tensors and nothing else"
    )


def _some(names: list) -> str:
    shown = (re.sub(r"[^\x20-\x7e]", "?", str(name))[:80] for name in names[:_SHOWN])
    return ", ".join(shown) + (", …" if len(names) > _SHOWN else "")
