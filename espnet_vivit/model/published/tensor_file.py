"""The tensors of a published file, whatever it was saved as; nothing in it is run.

In: `.safetensors`, `torch.save`'s formats (a state dict, or fairseq's checkpoint around one). Out: tensors by name, and
the vocabulary where a fairseq checkpoint holds one.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_vivit.base.torch_file import bare_names, damage_of, state_dict_in
from espnet_vivit.errors import WeightsError
from espnet_vivit.model.published.inert_pickle import Inert, load_inert


@dataclass(frozen=True)
class TensorFile:
    """Tensors by name; symbols: the vocabulary of a fairseq checkpoint, special symbols first, None elsewhere."""

    tensors: Mapping[str, Tensor]
    symbols: list[str] | None = None


def read_tensor_file(path: str | Path) -> TensorFile:
    """Raises WeightsError: no such file, damaged, with code in it, or not tensors by name."""
    if not Path(path).is_file():
        raise WeightsError(f"the checkpoint {path} does not exist")
    if _is_safetensors(Path(path)):
        return TensorFile(bare_names(_read_safetensors(path)))
    content = _unpickled(path)
    return TensorFile(state_dict_in(content, f"the checkpoint {path}"), _symbols(content))


def read_state_dict(checkpoint: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a file, or the mapping itself. Raises WeightsError for all that is not tensors by name."""
    if isinstance(checkpoint, str | Path):
        return read_tensor_file(checkpoint).tensors
    return state_dict_in(checkpoint, "the checkpoint")


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"  # eight bytes of the header's length, then the header, JSON


def _read_safetensors(path: str | Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        fix = "Is it complete? Download it again"
        raise WeightsError(f"the checkpoint {path} cannot be read: {error}", fix=fix) from error


def _unpickled(path: str | Path) -> object:
    if zipfile.is_zipfile(path) and (reason := damage_of(path)):
        raise WeightsError(f"the checkpoint {path} cannot be read: {reason}", fix="Download it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search(r"Unsupported (global|class)", str(error)):  # its own text advises to run the code after all
            return load_inert(path)
        raise WeightsError(
            f"the checkpoint {path} is refused: no pickle of tensors",
            expected="tensors alone",
            fix="None of it was run. Get the file from its publisher, or have them save the state dict alone",
        ) from error
    except Exception as error:  # damaged files fail in as many ways as there are; the cause is kept
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"the checkpoint {path} cannot be read: {reason}", fix="Is it complete? Download it again"
        ) from error


def _symbols(checkpoint: object) -> list[str] | None:
    """The target dictionary's symbols, which a fine-tuned model of fairseq keeps in its task's state."""
    state = checkpoint.get("task_state") if isinstance(checkpoint, Mapping) else None
    dictionary = state.get("target_dictionary") if isinstance(state, Mapping) else None
    stored = dictionary.stored if isinstance(dictionary, Inert) else None
    symbols = stored.get("symbols") if isinstance(stored, Mapping) else None
    return symbols if isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols) else None
