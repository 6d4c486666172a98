"""Start from parts: each tower of an E2E filled from a checkpoint of its own; a table of what is loaded, what is new.

    load_parts(model, {"vision_encoder": "google/vivit-b-16x2-kinetics400", "encoder": "vsr_trlrs3_base.pth"})

In: part -> where its weights are. A part is a tower (`encoder`), or a module in one: `decoder.decoders` for tokens of
one's own, `fusion.video_linear` where a lip reader gets sound as well (`fusion: add`). The weights may be a checkpoint
of ours, a published model (model/published/catalog.py), the part's own state dict (`.pth` or `.safetensors`), or, for
ViViT, a folder or hub id of Hugging Face. Every weight of the part must be there in its shape and none left over; what
does not fit is named. Only tensors are read, a pickle with code in it is refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_vivit.base.torch_file import check_numbers
from espnet_vivit.errors import ConfigError, WeightsError, unknown_name
from espnet_vivit.model.adapters.attach import base_of
from espnet_vivit.model.adapters.report import count_parameters
from espnet_vivit.model.adapters.stored import HASH_KEY
from espnet_vivit.model.published.catalog import PROVENANCE, RECOGNIZERS, names_of_part
from espnet_vivit.model.published.tensor_file import read_state_dict
from espnet_vivit.model.stored_tokens import check_same_tokens

_SHOWN = 5  # names of a list in an error
_FILES = (".pth", ".pt", ".bin", ".safetensors")
_SAME_ACTIVATION = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")  # three names of one function


@dataclass(frozen=True)
class LoadedPart:
    """What was filled: the module's name in the model, where from, and how many parameters (buffers not counted).

    terms: of published weights, what packages made of them have to say; None of others.
    """

    part: str
    source: str
    parameters: int
    terms: Mapping[str, str] | None = None


def load_parts(model: nn.Module, sources: Mapping[str, str | Path]) -> list[LoadedPart]:
    """Fill the named parts of `model` in place.

    Raises:
        ConfigError: a part that the model does not have, or whose base is loaded by name under adapters.
        WeightsError: a source that is not there, not readable, or not exactly the part's weights.
    """
    loaded = []
    for part, source in sources.items():
        module = _module_of(model, part)
        targets = _targets(part, module)
        terms = None
        if Path(source).is_file():
            held = read_state_dict(source)
            state, terms = _match(part, targets, held), terms_of(held, Path(source))
        else:
            state = _of_hugging_face(part, module, str(source))
            targets = {name: value for name, value in targets.items() if name in state}
        _check_fit(part, source, targets, state)
        check_numbers(state, source, like=targets)
        check_same_tokens(model, list(targets), source)
        with torch.no_grad():
            for name, value in targets.items():
                value.copy_(state[name])
        own = {name.removeprefix(f"{part}.").replace(".base_layer.", ".") for name in targets}
        count = sum(p.numel() for name, p in module.named_parameters() if name.replace(".base_layer.", ".") in own)
        loaded.append(LoadedPart(part, str(source), count, terms))
    return loaded


def terms_of(state: Mapping[str, Tensor], path: Path) -> Mapping[str, str] | None:
    """The terms that go along with published weights, or with weights in a folder of `espnet-vivit import`."""
    layouts = [layout for layout in RECOGNIZERS if layout.fits(state)]
    if layouts:
        return layouts[0].terms.to_be_carried()
    noted = path.with_name(PROVENANCE)
    return json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else None


def weights_table(model: nn.Module, loaded: list[LoadedPart], by_name: Mapping[str, str]) -> str:
    """A line per part of the model: where its weights are from, how many parameters were loaded, how many are new.

    by_name: towers that were built from a stored checkpoint, and its name, as `e2e_options.weight_sources` gives them.
    """
    rows = [("part", "from", "loaded", "new")]
    for name, module in model.named_children():
        total = sum(count_parameters(module))
        if total == 0:
            continue
        own = [entry for entry in loaded if entry.part.partition(".")[0] == name]
        count, origin = sum(entry.parameters for entry in own), ", ".join(entry.source for entry in own)
        if not own and name in by_name:
            base = base_of(module)
            has_adapters = any("lora_" in parameter for parameter, _ in base.named_parameters())
            count = count_parameters(base)[1] if has_adapters else sum(count_parameters(base))
            origin = by_name[name]
        count = min(count, total)  # a part may be loaded twice, the second time on top
        rows.append((name, origin or "–", f"{count:,}", f"{total - count:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}" for row in rows
    )


def _module_of(model: nn.Module, part: str) -> nn.Module:
    path, module = part.split("."), model
    for depth, name in enumerate(path):
        children = dict(module.named_children())
        if name not in children:
            known = [".".join([*path[:depth], child]) for child, value in children.items() if _has_weights(value)]
            raise unknown_name("part in init_parts", ".".join(path[: depth + 1]), known)
        module = children[name]
    return module


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _targets(part: str, module: nn.Module) -> dict[str, Tensor]:
    """Full name in a model without adapters -> the tensor to fill."""
    state = module.state_dict(keep_vars=True)
    if any(name.endswith(HASH_KEY) for name in state):
        raise ConfigError(
            f"init_parts names {part}, which has adapters on weights that are loaded by name",
            fix="Name the checkpoint as vision_encoder_conf's model_name instead",
        )
    plain = {name.replace(".base_layer.", "."): value for name, value in state.items() if "lora_" not in name}
    return {f"{part}.{name}": value for name, value in plain.items()}


def _match(part: str, targets: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's weights under our full names, by whichever way of naming fits most of the part."""
    single = [re.sub(r"^fusion\.(video|audio)_linear\.", "fusion.", name) for name in targets]  # of one stream alone
    ways = (  # the file's name of each target, and whether another name of it belongs to the part
        (list(targets), lambda name: name.startswith(f"{part}.")),
        ([name.removeprefix(f"{part}.") for name in targets], lambda name: True),
        (single, lambda name: name.startswith("fusion.")),
        *names_of_part(part, list(targets), state),
    )
    published, belongs = max(ways, key=lambda way: sum(name in state for name in way[0]))
    names = dict(zip(published, targets, strict=True))
    if not any(name in state for name in names):
        has, one = sorted({name.partition(".")[0] for name in state}), next(iter(targets))
        raise WeightsError(
            f"the checkpoint for {part} has no weight of it", found=f"weights of {_some(has)}", expected=one
        )
    return {names.get(name, name): value for name, value in state.items() if name in names or belongs(name)}


def _of_hugging_face(part: str, module: nn.Module, source: str) -> dict[str, Tensor]:
    """Weights of a stored ViViT under our full names, its position table resized to our picture and window."""
    vivit = base_of(module)
    config: Any = getattr(vivit, "config", None)
    if config is None or source.endswith(_FILES) or getattr(config, "model_type", "vivit") != "vivit":
        raise WeightsError(
            f"the checkpoint for {part} does not exist",
            found=source,
            expected="a file; folders and hub ids are read for a ViViT alone",
        )
    from espnet_vivit.frontend.vivit.checkpoint import read_checkpoint
    from espnet_vivit.frontend.vivit.weights import resize_tower

    options = {"revision": None, "cache_dir": None, "local_files_only": False, "attn_implementation": "sdpa"}
    stored = read_checkpoint(source, dtype=None, **options)
    own, theirs = _beyond_shapes(config), _beyond_shapes(stored.config)
    for name, value in own.items():  # what shapes do not tell
        if theirs[name] != value:
            found = f"{name} {theirs[name]}"
            raise WeightsError(f"{source} is another ViViT than {part}", found=found, expected=value)
    stored = resize_tower(stored, image_size=config.image_size, num_frames=config.num_frames)
    prefix = part if vivit is module else f"{part}.vivit"
    return {f"{prefix}.{name}": value for name, value in stored.state_dict().items()}


def _beyond_shapes(config) -> dict:
    """What decides a ViViT's features and is seen in no weight's shape."""
    activation = "gelu_fast" if config.hidden_act in _SAME_ACTIVATION else config.hidden_act
    heads, epsilon = config.num_attention_heads, config.layer_norm_eps
    return {"num_attention_heads": heads, "hidden_act": activation, "layer_norm_eps": epsilon}


def _check_fit(part: str, source: str | Path, targets: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    problems = {
        "missing": [name for name in targets if name not in state],
        "without a place": [name for name in state if name not in targets],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
            for name, value in targets.items()
            if name in state and state[name].shape != value.shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise WeightsError(
            f"{source} does not hold exactly the weights of {part}",
            found=found,
            fix=f"Build {part} with the checkpoint's sizes, or name the modules in it that fit, as decoder.decoders",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
