"""A checkpoint whose pickle holds more than tensors, read without running any of it: fairseq's `.pt` files.

In: a file of `torch.save`. Out: what is in it, with an `Inert` object wherever a class of fairseq, omegaconf or
argparse would be built. Only three functions are ever called: torch's two that make a tensor of stored numbers, and
OrderedDict; a pickle that names anything else, such as os.system or getattr, is refused. fairseq need not be installed,
and is not imported where it is.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from espnet_vivit.errors import WeightsError

_CALLED = {  # all that a pickle can have called
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
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
    """Raises UnpicklingError for every name that is neither called nor stood in for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CALLED:
            return _CALLED[module, name]
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name)
        module = {"__builtin__": "builtins"}.get(module, module)  # as old pickles say
        if module.split(".")[0] in _STOOD_IN_FOR or (module == "builtins" and name in _TYPES):
            return Inert
        raise pickle.UnpicklingError(f"{module}.{name}")


class _InertPickle:
    """What `torch.load` takes as `pickle_module`."""

    Unpickler = InertUnpickler

    @staticmethod
    def load(file: io.BufferedIOBase, **options: Any) -> Any:
        return InertUnpickler(file, **options).load()


def load_inert(path: str | Path) -> Any:
    """The contents of the file. Raises WeightsError for a pickle with another name in it, or a damaged file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rsplit("/", 1)[-1] == "constants.pkl" for name in archive.namelist()):
                raise WeightsError(f"the checkpoint {path} is refused: a TorchScript program, not weights alone")
    try:
        return torch.load(path, map_location="cpu", pickle_module=_InertPickle, weights_only=False)
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
