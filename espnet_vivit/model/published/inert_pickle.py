"""A checkpoint whose pickle holds more than tensors, read without running any of it: fairseq's `.pt` files.

In: a file of `torch.save`. Out: what is in it, with an `Inert` object wherever a class of fairseq, omegaconf or
argparse would be built. Only three functions are ever called: torch's two that make a tensor of stored numbers, and
OrderedDict; a pickle that names anything else, such as os.system or getattr, is refused. fairseq need not be installed,
and is not imported where it is.

What a pickle gets hold of it can also change (BUILD sets attributes) and call with arguments of its choice, so the
functions stand behind a `_Called`, which has no attributes to set and checks what it is given; no class of torch is
reachable (UntypedStorage takes the address of an allocator), and stored objects refer to stored numbers alone: the
reference to a module, of old files, would have torch write a file where the pickle says.
"""

import io
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from espnet_vivit.errors import WeightsError


class _Called:
    """A function that a pickle may call, with the arguments that it was written for, and do nothing else with."""

    __slots__ = ("_accepts", "_function")

    def __init__(self, function: Callable, accepts: Callable[..., bool]):
        self._function, self._accepts = function, accepts

    def __call__(self, *args: Any) -> Any:
        if not self._accepts(*args):
            raise pickle.UnpicklingError(f"{self._function.__name__} with other arguments than torch's")
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"a state for {self._function.__name__}")


def _is_tensor_in_storage(
    storage: Any,
    offset: Any = None,
    size: Any = None,
    stride: Any = None,
    grad: Any = False,
    hooks: Any = (),
    *more: Any,
) -> bool:
    """Whether the tensor lies within its stored numbers: torch would make the storage as large as it asks."""
    if not isinstance(storage, torch.storage.TypedStorage) or more or hooks or not isinstance(grad, bool):
        return False
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        return False
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and number >= 0 for number in numbers):
        return False
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    return 0 in size or last < storage._size()


def _is_parameter(data: Any, grad: Any = False, hooks: Any = (), *more: Any) -> bool:
    return isinstance(data, torch.Tensor) and isinstance(grad, bool) and not hooks and not more


_CALLED = {  # all that a pickle can have called
    ("collections", "OrderedDict"): _Called(OrderedDict, lambda *items: len(items) < 2),
    ("torch._utils", "_rebuild_tensor_v2"): _Called(_rebuild_tensor_v2, _is_tensor_in_storage),
    ("torch._utils", "_rebuild_parameter"): _Called(_rebuild_parameter, _is_parameter),
}
_TYPES = ("bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple")
_STOOD_IN_FOR = ("fairseq", "omegaconf", "argparse", "typing", "numpy", "avhubert", "hubert_pretraining", "hubert_asr")


class Inert:
    """What stands where a class of another package was pickled: it keeps the stored state, and does nothing."""

    def __init__(self, *args: Any, **options: Any):
        self.stored: Any = None

    def __setstate__(self, state: Any) -> None:
        self.stored = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Entries of a pickled subclass of dict are dropped, as are those of a list below."""

    def append(self, value: Any) -> None:
        """See `__setitem__`."""

    def extend(self, values: Any) -> None:
        """See `__setitem__`."""

    def __hash__(self) -> int:
        return id(self)


class InertUnpickler(pickle.Unpickler):
    """Raises UnpicklingError for every name that is neither called nor stood in for, and for other references.

    The kinds of storage (torch.FloatStorage, …) never come here: `torch.load` reads them as names of number types.
    """

    most = 0  # stored numbers that a reference may stand for: set to the file's size

    def __setattr__(self, name: str, value: Any) -> None:
        """`torch.load` gives its unpickler a function for references; it is asked only for what is as torch writes."""
        super().__setattr__(name, partial(self._storage_of, value) if name == "persistent_load" else value)

    def _storage_of(self, load: Callable[[Any], Any], reference: Any) -> Any:
        """torch's ("storage", kind, key, location, count, …), whose kind is torch's own object for a number type."""
        fields = reference if isinstance(reference, tuple) else ()
        name = fields[0].decode("ascii", "replace") if fields and isinstance(fields[0], bytes) else (fields or ("",))[0]
        if name != "storage" or len(fields) < 5 or type(fields[1]).__module__ != "torch.serialization":
            raise pickle.UnpicklingError("a reference to something else than stored numbers")
        if type(fields[4]) is not int or not 0 <= fields[4] <= self.most:
            raise pickle.UnpicklingError(f"a reference to {fields[4]!r} numbers in a file of {self.most} bytes")
        return load(reference)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CALLED:
            return _CALLED[module, name]
        module = {"__builtin__": "builtins"}.get(module, module)  # as old pickles say
        if module.split(".")[0] in _STOOD_IN_FOR or (module == "builtins" and name in _TYPES):
            return Inert
        raise pickle.UnpicklingError(f"{module}.{name}")


def _inert_pickle(most: int) -> Any:
    """What `torch.load` takes as `pickle_module`, for a file of `most` bytes."""
    unpickler = type("_Unpickler", (InertUnpickler,), {"most": most})

    def load(file: io.BufferedIOBase, **options: Any) -> Any:
        return unpickler(file, **options).load()

    return SimpleNamespace(__name__="inert", Unpickler=unpickler, load=load)


def load_inert(path: str | Path) -> Any:
    """The contents of the file. Raises WeightsError for a pickle with another name in it, or a damaged file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rsplit("/", 1)[-1] == "constants.pkl" for name in archive.namelist()):
                raise WeightsError(f"the checkpoint {path} is refused: a TorchScript program, not weights alone")
    elif tarfile.is_tarfile(path):
        raise WeightsError(f"the checkpoint {path} is refused: an archive of torch before 0.1.10", fix="Save it anew")
    try:
        inert = _inert_pickle(Path(path).stat().st_size)
        return torch.load(path, map_location="cpu", pickle_module=inert, weights_only=False)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"the checkpoint {path} is refused: a pickle with code or objects",
            found=str(error) or None,
            expected="tensors, and settings of fairseq at most",
            fix="None of it was run. Get the file from its publisher, or have them save the state dict alone",
        ) from error
    except Exception as error:  # damaged files fail in as many ways as there are; the cause is kept
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"the checkpoint {path} cannot be read: {reason}", fix="Is it complete? Download it again"
        ) from error
