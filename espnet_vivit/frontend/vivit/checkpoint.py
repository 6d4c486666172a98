"""A stored tower, read from a local folder, from the hub's cache, or from the hub.

Checkpoints under the names of transformers 4 and 5, `.bin` and `.safetensors`, load alike (the library converts them).
Local copies are looked up first; where there is none and no network either, one error says so within two seconds. The
library itself would retry for 46.
"""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers import VivitModel

from espnet_vivit.base.torch_file import check_numbers, data_only
from espnet_vivit.errors import MissingDependencyError, WeightsError

_HUB_TIMEOUT_S = 1.5
_UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError)

T = TypeVar("T")


def read_checkpoint(
    name: str,
    *,
    dtype: torch.dtype | None,
    revision: str | None,
    cache_dir: str | None,
    local_files_only: bool,
    attn_implementation: str,
    architecture: Any = VivitModel,
) -> VivitModel:
    """The tower stored under `name`, a hub id or a local folder, complete and with the sizes it was stored with.

    architecture: transformers' class of it, `VivitModel` or `ViTModel`.

    Raises:
        WeightsError: nothing of that name, unreadable, incomplete, or not here and no network.
        MissingDependencyError: the attention implementation needs a package that is not installed.
    """
    options = {"add_pooling_layer": False, "dtype": dtype or torch.float32, "revision": revision}
    options |= {"cache_dir": cache_dir, "attn_implementation": attn_implementation}

    def load(local_only: bool) -> tuple[VivitModel, dict]:
        # transformers annotates what it returns without output_loading_info
        with data_only():
            found = architecture.from_pretrained(name, output_loading_info=True, local_files_only=local_only, **options)
        return found  # pyright: ignore[reportReturnType]

    where = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
    tower, report = fetch(name, load, **where)
    check_complete(name, tower, report)
    tower.config = copy.deepcopy(tower.config)  # a config shared with another model would change with ours
    return tower


def fetch(
    name: str, load: Callable[[bool], T], *, revision: str | None, cache_dir: str | None, local_files_only: bool
) -> T:
    """What `load(local_only)` reads of the model `name`: first from this machine, then, if it may, from the hub.

    Raises WeightsError, MissingDependencyError as `read_checkpoint` does.
    """
    if _looks_like_folder(name) and not Path(name).is_dir():
        raise WeightsError("the folder of pretrained weights does not exist", found=name, fix="Check the path")
    try:
        return load(True)
    except ImportError as error:
        raise missing_package(f"loading {name}", error) from error
    except _UNREADABLE as error:
        if Path(name).is_dir():
            raise _not_loadable(name, error) from error
        if local_files_only or constants.HF_HUB_OFFLINE:
            raise _not_at_hand(name, cache_dir, "downloads are switched off") from error
    _ask_hub(name, revision, cache_dir)
    try:
        return load(False)
    except _UNREADABLE as error:
        if _is_gated(error):
            raise _gated(name) from error
        raise WeightsError(f"{name} could not be downloaded: {error}") from error


def check_complete(name: str, tower: Any, report: dict) -> None:
    """Raise WeightsError for a tower that was loaded in part; `report` is `from_pretrained`'s loading info."""
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        raise WeightsError(
            f"{name} is not a complete checkpoint of {type(tower).__name__}",
            found=f"missing {missing[:5]}, mismatched {list(report['mismatched_keys'])[:5]}",
            expected="every weight of it",
        )
    check_numbers(tower.state_dict(), name)


def _not_loadable(folder: str, error: Exception) -> WeightsError:
    reason = str(error)
    if isinstance(error, pickle.UnpicklingError):  # its own text advises to run the code in the file
        reason = "its pickle is damaged, or holds code, which is never run"
    return WeightsError(
        f"the folder {folder} holds no tower that can be loaded: {reason}",
        fix="It needs config.json and model.safetensors or pytorch_model.bin, as `save_pretrained` writes them",
    )


def _looks_like_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1  # a hub id is "owner/name" or "name"


def _ask_hub(name: str, revision: str | None, cache_dir: str | None) -> None:
    """Raise `WeightsError` within two seconds where a download would fail only after many retries."""
    failures, answers = [], []

    def ask():
        try:
            answers.append(HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S))
        except Exception as error:  # every network library has its own tree of errors; the cause is kept
            failures.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # looking a name up knows no time limit of its own
    asking.start()
    asking.join(_HUB_TIMEOUT_S)
    if asking.is_alive():
        raise _not_at_hand(name, cache_dir, f"the hub did not answer within {_HUB_TIMEOUT_S} s")
    if any(info.gated for info in answers) and get_token() is None:
        raise _gated(name)
    for error in failures:
        if _is_gated(error):
            raise _gated(name) from error
        if isinstance(error, RevisionNotFoundError):
            raise WeightsError("the hub's model has no such revision", found=f"{name}, revision {revision}") from error
        if isinstance(error, RepositoryNotFoundError | HFValidationError):
            fix = "Check the spelling of model_name; a private model needs a login"
            raise WeightsError("the hub has no such model", found=name, fix=fix) from error
        raise _not_at_hand(name, cache_dir, f"the hub did not answer ({type(error).__name__})") from error


def _is_gated(error: BaseException | None) -> bool:
    """Whether the hub's refusal is behind an error of the library's."""
    while error is not None and not isinstance(error, GatedRepoError):
        error = error.__cause__ or error.__context__
    return error is not None


def _gated(name: str) -> WeightsError:
    return WeightsError(
        f"the hub gives {name} only to those who have accepted its terms",
        found="no token" if get_token() is None else "a token without access",
        expected="a token with access",
        fix=f"Accept the terms on the model's page, then run `hf auth login`, or `hf download {name}` elsewhere",
    )


def missing_package(what: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"{what} needs a package that is not installed: {error}")


def _not_at_hand(name: str, cache_dir: str | None, reason: str) -> WeightsError:
    return WeightsError(
        f"the weights of {name} are not on this machine, and {reason}",
        found=f"no copy in {cache_dir or constants.HF_HUB_CACHE}",
        expected="a cached download, or a network",
        fix=(
            f"Either run `hf download {name}` where there is a network and copy that folder here, "
            "or train from random weights with `pretrained: false`"
        ),
    )
