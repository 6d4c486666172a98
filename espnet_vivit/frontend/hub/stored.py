"""Any tower that transformers knows, from a folder, the hub or a configuration: what the two hub frontends start from.

In: a model's name, or the fields of its configuration. Out: `StoredTower`, the library's module with its weights in
float32 and what its preprocessing says. Which models may come is the caller's table: transformers' `model_type` to a
`TowerClass`.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import cached_file

from espnet_vivit.base.torch_file import data_only
from espnet_vivit.errors import ConfigError, WeightsError, unknown_name
from espnet_vivit.frontend.vivit.checkpoint import check_complete, fetch

_PREPROCESSING = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
_QUIET = {f"_raise_exceptions_for_{kind}": False for kind in ("missing_entries", "connection_errors", "gated_repo")}


class Source(NamedTuple):
    """Where models are looked for; the arguments of Hugging Face's `from_pretrained`."""

    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False


@dataclass(frozen=True, kw_only=True)
class TowerClass:
    """How a kind of tower is built.

    model: name of transformers' class. part: the module of it that is the tower, "" for all of it. options: of its
    constructor. fields: of its configuration, fixed here: what is not used is not built, nothing is dropped at random.
    """

    model: str
    part: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


class StoredTower(NamedTuple):
    kind: str  # key of the table of kinds
    tower: Any
    preprocessing: Mapping[str, Any]  # of the files beside the weights; empty where there are none


def read_config(name: str, source: Source) -> PreTrainedConfig:
    """The configuration of the tower `name`; of a model of pictures and text, that of its tower of pictures.

    Raises WeightsError: nothing of that name, not here and no network, or a gated model without a token.
    """

    def load(local_only: bool) -> PreTrainedConfig:
        where = {"revision": source.revision, "cache_dir": source.cache_dir}
        return AutoConfig.from_pretrained(name, local_files_only=local_only, **where)

    config = fetch(name, load, **source._asdict())
    return getattr(config, "vision_config", config)


def read_tower(name: str, kinds: Mapping[str, TowerClass], source: Source) -> StoredTower:
    """The tower `name`, complete and with the sizes it was stored with.

    Raises ConfigError for a tower of another kind; WeightsError as `read_config` does, and for incomplete weights.
    """
    kind = _kind_of(name, read_config(name, source), kinds)
    entry = kinds[kind]
    where = {"revision": source.revision, "cache_dir": source.cache_dir, "dtype": torch.float32}

    def load(local_only: bool) -> tuple[Any, dict]:
        with data_only():
            options = {"output_loading_info": True, "local_files_only": local_only, **where}
            return _class(entry).from_pretrained(name, **options, **entry.options, **entry.fields)

    model, report = fetch(name, load, **source._asdict())
    check_complete(name, model, report)
    tower = model.get_submodule(entry.part)
    tower.config = copy.deepcopy(model.config)  # a config shared with another model would change with ours
    return StoredTower(kind, tower, _read_preprocessing(name, source))


def build_tower(fields: Mapping[str, Any], kinds: Mapping[str, TowerClass]) -> StoredTower:
    """A tower of random weights. fields: `model_type`, a key of `kinds`, and fields of its configuration.

    Raises ConfigError for fields that are not its own or sizes that cannot be.
    """
    fields = dict(fields)
    kind = fields.pop("model_type", None)
    if kind not in kinds:
        raise unknown_name("model_type in config", kind, kinds)
    entry = kinds[kind]
    known = AutoConfig.for_model(kind).to_dict().keys() | {"do_normalize", "_name_or_path"}
    for name in fields:
        if name not in known:
            raise unknown_name(f"{kind} field in config", name, known)
    try:
        config = AutoConfig.for_model(kind, **{**fields, **entry.fields})
        model = _class(entry)._from_config(config, dtype=torch.float32, **entry.options)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ConfigError(f"this {kind} cannot be built: {error}") from error
    tower = model.get_submodule(entry.part)
    tower.config = config
    return StoredTower(kind, tower, {})


def new_tower(kind: TowerClass, config: PreTrainedConfig) -> Any:
    """The module of `config`, with random weights."""
    return _class(kind)._from_config(config, dtype=torch.float32, **kind.options).get_submodule(kind.part)


def keep_layers(tower: nn.Module, blocks: str, norm: str | None, layer: int) -> None:
    """Cut away the blocks behind block `layer`, and then the last norm: what is left gives `hidden_states[layer]`.

    layer: 1 is the first block, -1 the last, which leaves the tower whole. Raises ConfigError for a block beyond these.
    """
    stack: Any = tower.get_submodule(blocks)
    number = layer if layer > 0 else len(stack) + 1 + layer
    if not 1 <= number <= len(stack):
        expected = f"1 to {len(stack)}, or -1 to {-len(stack)}, counted from the end"
        raise ConfigError("layer is not one of the tower's", found=layer, expected=expected)
    if number == len(stack):
        return
    del stack[number:]
    if norm is not None:
        remove(tower, norm)


def remove(tower: nn.Module, path: str) -> None:
    """Replace a module by nothing, or a parameter by None; what is not there may stay away."""
    parent, _, name = path.rpartition(".")
    owner = tower.get_submodule(parent)
    found = getattr(owner, name, None)
    if found is not None:
        setattr(owner, name, nn.Identity() if isinstance(found, nn.Module) else None)


def check_source(model_name: str | None, pretrained: bool, config: Mapping | None) -> None:
    """Raise ConfigError unless options name one source of weights: a model, or a configuration."""
    if pretrained and (model_name is None or config is not None):
        found = "no model_name" if model_name is None else "config beside pretrained: true"
        expected = "model_name, a hub id or a folder; or pretrained: false and config"
        raise ConfigError("a tower of the hub comes from one place", found=found, expected=expected)
    if not pretrained and (config is None or "model_type" not in config):
        found = "no config" if config is None else "config without model_type"
        expected = "config: {model_type: dinov2, hidden_size: …}"
        raise ConfigError("pretrained is false, and nothing says which tower to build", found=found, expected=expected)


def _kind_of(name: str, config: PreTrainedConfig, kinds: Mapping[str, TowerClass]) -> str:
    if config.model_type not in kinds:
        raise ConfigError(
            f"{name} is not a tower that this encoder can use", found=config.model_type, expected=", ".join(kinds)
        )
    return config.model_type


def _class(kind: TowerClass) -> Any:
    return getattr(transformers, kind.model)


def _read_preprocessing(name: str, source: Source) -> dict[str, Any]:
    """Normalization and rates that the files beside the weights state, the more specific file last."""
    said: dict[str, Any] = {}
    for file in _PREPROCESSING:
        path = cached_file(name, file, **source._asdict(), **_QUIET)
        if path is None:
            continue
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read: {error}", fix="Get the model again") from error
        for nested in ("image_processor", "video_processor", "feature_extractor"):
            content |= content.pop(nested, {})
        said |= content
    return said
