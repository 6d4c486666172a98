"""What E2E is built from and loaded with: checked options, the token list, weights that fit exactly."""

import argparse
import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from espnet_vivit.base.config_file import read_config
from espnet_vivit.base.option_types import check_option_types
from espnet_vivit.base.text_file import read_lines
from espnet_vivit.base.torch_file import check_numbers, read_tensors
from espnet_vivit.data.token_list import BLANK, END, UNKNOWN
from espnet_vivit.errors import ConfigError, DataError, WeightsError, unknown_name
from espnet_vivit.espnet_compat import get_default_kwargs
from espnet_vivit.model.adapters.attach import base_of
from espnet_vivit.model.adapters.config import read_tower_adapters
from espnet_vivit.model.init_parts import load_parts, weights_table
from espnet_vivit.model.options import TOWER_CONFIGS, check_model_conf, modality_of, weight_sources
from espnet_vivit.model.stored_tokens import differing
from espnet_vivit.tasks.init_param import check_init_param
from espnet_vivit.tasks.options import refused
from espnet_vivit.tasks.training_facts import STARTED_FROM

log = logging.getLogger(__name__)  # logging.warning() would set up logging before ESPnet does, see preflight/tokens.py

_PART_KINDS = ("vision_encoder", "audio_encoder", "encoder", "decoder")


def check_model_options(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that no model can have; fill in the modality that follows from the encoders."""
    known = model_conf_defaults()
    for option in args.model_conf:
        if option not in known:
            raise unknown_name("option in model_conf", option, known)
    check_option_types("model_conf", args.model_conf, model_module().E2E)
    check_model_conf(**args.model_conf)
    if getattr(args, "use_adapter", False):
        raise refused("use_adapter", "in the configuration")
    args.modality = modality_of(args.modality, args.vision_encoder, args.audio_encoder)


def check_adapters(args: argparse.Namespace) -> None:
    """Raise ConfigError for `tower_adapters` that cannot be; warn of adapters on weights that nobody has trained."""
    adapters = read_tower_adapters(args.tower_adapters)
    if adapters and args.init_param and args.ignore_init_mismatch:
        raise ConfigError(
            "with ignore_init_mismatch ESPnet would leave out the weights of every layer that has adapters",
            fix="Leave it out, and name in init_param what fits: init_param: [file.pth:encoder:encoder]",
        )
    pretrained = sources_of(args)
    started = args.vision_encoder == "vivit" and args.vision_encoder_conf.get("pretrained", True)
    for name in adapters:
        if not args.init_param and name not in pretrained and not (name == "vision_encoder" and started):
            log.warning("adapters of %s: its own weights are random, stay frozen, and no init_param is given", name)


def read_token_list(token_list: str | Path | list[str] | None) -> list[str]:
    """The tokens of a file, or the list itself. Raises DataError for a missing file or tokens that cannot be used."""
    if isinstance(token_list, str | Path):
        path = Path(token_list)
        if not path.is_file():
            raise DataError(f"the token list {path} does not exist", fix="Make it with espnet_vivit.bin.avsr_tokens")
        token_list = list(read_lines(path))
    tokens = list(token_list or ())
    if len(tokens) < 3 or tokens[0] != BLANK or tokens[-1] != END or UNKNOWN not in tokens:
        raise DataError(
            "the token list is not in ESPnet's order",
            found=f"{len(tokens)} tokens, {tokens[:2]} … {tokens[-1:]}",
            expected="<blank>, <unk>, the tokens, <sos/eos>",
            fix="Make it with espnet_vivit.bin.avsr_tokens",
        )
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise DataError(f"the token {twice!r} stands twice in the token list")
    return tokens


def check_resumed_tokens(args: argparse.Namespace) -> None:
    """Raise ConfigError if a training would go on with other tokens than those that its folder says it has learnt."""
    folder = Path(args.output_dir)
    if (
        args.collect_stats
        or not args.resume
        or not all((folder / n).is_file() for n in ("checkpoint.pth", "config.yaml"))
    ):
        return
    there, here = read_config(folder / "config.yaml").get("token_list"), read_token_list(args.token_list)
    if isinstance(there, list) and (different := differing(there, here)):
        fix = "Go on with its token list, or name a new --output_dir"
        raise ConfigError(f"{folder} was trained with other tokens", found=different, expected="the same list", fix=fix)


def check_built_from(config: dict, path: str | Path) -> dict:
    """An experiment's configuration, if it says all that its model is built from; ConfigError otherwise.

    Part options that are null count as none.
    """
    confs = ("vision_encoder_conf", "audio_encoder_conf", "encoder_conf", "decoder_conf", "ctc_conf", "model_conf")
    names = ("vision_encoder", "audio_encoder", "fusion", "feature_rate", "modality_dropout", "encoder", "decoder")
    names += ("init", "modality", "token_list", "token_type", "preprocessor_conf")
    lacking = [name for name in (*names, *confs) if name not in config]
    if lacking:
        fix = "Is it the config.yaml of a training, complete?"
        raise ConfigError(
            f"{path} does not say what the model is built from", found=f"no {', '.join(lacking)}", fix=fix
        )
    for name in confs:
        if config[name] is not None and not isinstance(config[name], dict):
            found = f"{name}: {config[name]!r}"[:100]
            raise ConfigError(f"{path}", found=found, expected="options, one a line, or null")
    return {**config, **{name: config[name] or {} for name in confs}}


def load_strictly(model: torch.nn.Module, model_file: str | Path) -> None:
    """Load a state dict that fits the model exactly; raise WeightsError, which names what does not fit."""
    state = read_tensors(model_file)
    check_numbers(state, model_file, like=model.state_dict())
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{model_file} does not fit its configuration: {error}") from error
    if missing or unexpected:
        raise WeightsError(
            f"{model_file} does not fit its configuration",
            found=f"{len(missing)} weights missing {_some(missing)}, {len(unexpected)} unknown {_some(unexpected)}",
            expected="exactly the model's weights",
            fix="Is it the config.yaml of the same experiment and the same version of the package?",
        )


def note_towers(args: argparse.Namespace, towers: Mapping[str, torch.nn.Module | None]) -> None:
    """Note the towers' own sizes in `args`, and so in config.yaml: loading needs neither the hub nor its cache."""
    for part, key in TOWER_CONFIGS.items():
        tower = towers.get(part)
        config = None if tower is None else getattr(base_of(tower), "config", None)
        if config is not None:
            setattr(args, key, config.to_diff_dict())


def start_from_parts(args: argparse.Namespace, model: torch.nn.Module) -> None:
    """Fill the parts that `init_parts` names, and log where every part starts from.

    A training that is resumed has its weights in its checkpoint: the files are not asked for again. `init_parts` None
    says that all weights come from elsewhere. Raises ConfigError and WeightsError as `init_parts.load_parts` and
    `init_param.check_init_param` do; ESPnet loads what the latter has looked through.
    """
    if getattr(args, "init_parts", None) is None:
        return
    sources = _flat(args.init_parts)
    on_top = getattr(args, "init_param", None) or ()
    if getattr(args, "resume", False) and (Path(args.output_dir or ".") / "checkpoint.pth").exists():
        if sources:
            logging.info("init_parts: not loaded, the training is resumed from its checkpoint")
            return
        on_top = ()  # ESPnet's resuming replaces what it loads
    loaded = load_parts(model, sources)
    loaded += check_init_param(model, on_top, ignore_mismatch=bool(getattr(args, "ignore_init_mismatch", False)))
    by_name = sources_of(args)
    setattr(args, STARTED_FROM, [dict(part.terms) for part in loaded if part.terms is not None])
    logging.info("parts start from:\n%s", weights_table(model, loaded, by_name))


def sources_of(args: argparse.Namespace) -> dict[str, str]:
    """`weight_sources` of a training's options."""
    vision, audio = ((getattr(args, kind), getattr(args, f"{kind}_conf")) for kind in _PART_KINDS[:2])
    return weight_sources(vision_encoder=vision, audio_encoder=audio)


def _flat(sources: Mapping, prefix: str = "") -> dict[str, str]:
    """{"decoder": {"decoders": file}}, which a dot on the command line makes, as {"decoder.decoders": file}."""
    flat = {}
    for name, value in sources.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | Path):
            flat[f"{prefix}{name}"] = str(value)
        else:
            found = f"{prefix}{name}: {value!r}"
            raise ConfigError("init_parts", found=found, expected="a file, a folder or a hub id for each part")
    return flat


def _some(names: list[str]) -> str:
    return "(" + ", ".join(names[:3]) + (", …)" if len(names) > 3 else ")")


def model_module() -> ModuleType:
    """`e2e_asr_conformer`, imported late: its import of ESPnet shall come after the quiet one of `espnet_compat`."""
    return import_module("espnet_vivit.e2e_asr_conformer")


def model_conf_defaults() -> dict:
    """The options of `model_conf`: what E2E takes beside the keys that the YAML has at its top level."""
    top_level = {"odim", "token_list", "modality", "vision_model_name", "fusion", "feature_rate", "modality_dropout"}
    top_level |= {"fusion_place", "fusion_conf", "init", "ctc_conf", "tower_adapters", "amp_dtype"} | {
        name for kind in _PART_KINDS for name in (kind, f"{kind}_conf")
    }
    return {k: v for k, v in get_default_kwargs(model_module().E2E).items() if k not in top_level}
