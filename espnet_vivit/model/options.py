"""What `E2E`'s options and streams mean: defaults that follow from others, names given twice, no input."""

import warnings
from collections.abc import Mapping
from typing import Any

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.units import MODALITIES, STREAMS_OF

STARTS = ("weights", "image_weights", "kernel_init")  # of `vivit_encoder`: what a trained model no longer needs
FROM_CHECKPOINTS = ("vivit", "huggingface")  # encoders whose towers have sizes of their own, which config.yaml notes:
TOWER_CONFIGS = {"vision_encoder": "vision_tower", "audio_encoder": "audio_tower"}  # part -> key of these
ENCODER_SIZES = {"output_size": 768, "attention_heads": 12, "linear_units": 3072}  # Auto-AVSR's
DECODER_BLOCKS = 6


def decoder_sizes(encoder_conf: Mapping) -> dict[str, int]:
    """What `decoder_conf` is where it says nothing: six blocks, heads and units as in the encoder."""
    same = {name: encoder_conf.get(name, ENCODER_SIZES[name]) for name in ("attention_heads", "linear_units")}
    return {**same, "num_blocks": DECODER_BLOCKS}


def named_modality(modality: str | None, vision_encoder: str | None, audio_encoder: str | None) -> str:
    """The modality asked for, or the one that follows from the encoders named; those of the first may be missing."""
    if modality is not None:
        if modality not in MODALITIES:
            raise unknown_name("modality", modality, MODALITIES)
        return modality
    if vision_encoder is None and audio_encoder is None:
        raise ConfigError(
            "the model has no input",
            found="neither vision_encoder nor audio_encoder",
            expected="at least one",
            fix="Set vision_encoder: vivit for lip reading, audio_encoder: resnet1d for sound, or both",
        )
    if vision_encoder is None:
        return "audio"
    return "video" if audio_encoder is None else "multimodal"


def modality_of(modality: str | None, vision_encoder: str | None, audio_encoder: str | None) -> str:
    """`named_modality`, whose encoders must all be named. Raises ConfigError."""
    modality = named_modality(modality, vision_encoder, audio_encoder)
    needs = {"video": {"vision_encoder": vision_encoder}, "audio": {"audio_encoder": audio_encoder}}
    needs["multimodal"] = needs["video"] | needs["audio"]
    for option, value in needs[modality].items():
        if value is None:
            fix = f"Set {option}, or another modality"
            raise ConfigError(f"modality {modality} needs a {option}", found="none", fix=fix)
    return modality


def check_model_conf(**options: Any) -> None:
    """Raise ConfigError for a value that no option of `model_conf` can have, such as a ctc_weight of 2."""
    check_values("model_conf", options, where="{name} in model_conf")


def with_model_name(conf: Mapping | None, model_name: str | None) -> dict:
    """`vision_encoder_conf` with `vision_model_name` in it. Raises ConfigError where the two disagree."""
    conf = dict(conf or {})
    if model_name is not None and conf.setdefault("model_name", model_name) != model_name:
        raise ConfigError(
            "the vision tower is named twice, differently",
            found=f"vision_model_name={model_name!r}, vision_encoder_conf['model_name']={conf['model_name']!r}",
            fix="Keep one of the two",
        )
    return conf


def weight_sources(**parts: tuple[str | None, Mapping | None]) -> dict[str, str]:
    """The towers whose weights are loaded by name, and from where; parts: vision_encoder and audio_encoder."""
    sources = {}
    for part, (name, conf) in parts.items():
        conf = conf or {}
        if name == "vivit":
            sources |= _vivit_source(part, conf)
        elif name == "huggingface" and conf.get("pretrained", True):
            sources[part] = str(conf.get("model_name")) + _revision(conf)
    return sources


def built_again(config: Mapping, part: str) -> dict:
    """Options of a trained model's `part` that build it with the noted sizes, without the checkpoint it started from.

    A tower with adapters on weights that are loaded by name is built from these, as before.
    """
    conf, tower = dict(config.get(f"{part}_conf") or {}), config.get(TOWER_CONFIGS[part])
    base_elsewhere = part in (config.get("tower_adapters") or {}) and conf.get("pretrained", True)
    if tower is None or base_elsewhere:
        return conf
    kept = {name: value for name, value in conf.items() if name not in STARTS}
    return {**kept, "pretrained": False, "config": tower}


def _vivit_source(part: str, conf: Mapping) -> dict[str, str]:
    if not conf.get("pretrained", True) or conf.get("image_weights"):
        return {}  # what an image does not give starts at random, and could not be loaded again
    if conf.get("weights"):
        return {} if conf.get("registers") or "gaussian" in _poolings(conf) else {part: conf["weights"]}
    return {part: conf.get("model_name", "its default checkpoint") + _revision(conf)}


def _revision(conf: Mapping) -> str:
    return f" ({conf['revision']})" if conf.get("revision") else ""


def _poolings(conf: Mapping) -> tuple:
    return conf.get("temporal_pooling"), conf.get("spatial_pooling")


def warn_of_pooling(vision_tower: object) -> None:
    """Warn of a vision tower whose features CTC cannot spell from."""
    if getattr(vision_tower, "repeats_one_vector", False):
        warnings.warn(
            'temporal_pooling="cls" gives every step of a window the same vector, from which CTC cannot spell; '
            'use "mean" or "max" for transcripts',
            stacklevel=3,
        )


def token_names(odim: int, token_list: list[str] | None) -> list[str]:
    """The V tokens, or numbers that stand for them. Raises ConfigError for another number of tokens."""
    if token_list is None:
        return ["<blank>", *(str(index) for index in range(1, odim - 1)), "<sos/eos>"]
    if len(token_list) != odim:
        raise ConfigError("token_list and odim disagree", found=f"{len(token_list)} tokens", expected=f"odim = {odim}")
    return list(token_list)


def check_input_streams(modality: str, *, speech: tuple, video: tuple) -> None:
    """Raise InputError unless (stream, lengths) are what a model of `modality` takes; a stream left out is None."""
    given = [name for name, (stream, _) in (("speech", speech), ("video", video)) if stream is not None]
    for name, (_, lengths) in (("speech", speech), ("video", video)):
        if name in given and lengths is None:
            fix = f"Pass {name}_lengths, {'samples' if name == 'speech' else 'frames'} of each clip before padding"
            raise InputError(f"{name} comes without its lengths", found=f"{name}_lengths=None", fix=fix)
    takes = STREAMS_OF[modality]
    if not given or not set(given) <= set(takes):
        raise InputError(
            f"the model's modality is {modality}",
            found=" and ".join(given) or "no stream at all",
            expected=" or ".join(takes) if modality != "multimodal" else "speech, video, or both",
            fix="Leave out streams that the model does not take",
        )
