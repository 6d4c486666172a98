"""The parts that a recipe's YAML names, and how one is built from its name and its `*_conf`.

A constructor's signature is the schema: a key that it does not have is an error that suggests the nearest one.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from espnet_vivit.base.option_types import check_option_types, check_sizes_and_rates
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.model.options import ENCODER_SIZES, decoder_sizes

if TYPE_CHECKING:
    from espnet_vivit.frontend.linear import LinearFrontend
    from espnet_vivit.frontend.log_mel import LogMel
    from espnet_vivit.frontend.resnet import ResNetFrontend
    from espnet_vivit.frontend.resnet1d import ResNet1d
    from espnet_vivit.frontend.vivit.encoder import VivitEncoder

    VisualFrontend = VivitEncoder | ResNetFrontend | LinearFrontend
    AudioFrontend = ResNet1d | LogMel

# name -> "module:callable"; imported when built, so that a ResNet does not pay for importing transformers
VISION_ENCODERS = {
    "vivit": "espnet_vivit.frontend.vivit_encoder:vivit_encoder",
    "resnet": "espnet_vivit.frontend.resnet:ResNetFrontend",
    "linear": "espnet_vivit.frontend.linear:LinearFrontend",
    "avhubert": "espnet_vivit.frontend.avhubert:AvHubertFrontend",
    "avhubert_video": "espnet_vivit.frontend.avhubert:AvHubertVideo",
    "huggingface": "espnet_vivit.frontend.huggingface_vision:HuggingFaceVision",
}
AUDIO_ENCODERS = {
    "resnet1d": "espnet_vivit.frontend.resnet1d:ResNet1d",
    "logmel": "espnet_vivit.frontend.log_mel:LogMel",
    "filterbanks": "espnet_vivit.frontend.filterbanks:FilterbankAudio",
    "huggingface": "espnet_vivit.frontend.huggingface_audio:HuggingFaceAudio",
}
ENCODERS = {
    "conformer": "espnet_vivit.model.conformer:Conformer",
    "relative_transformer": "espnet_vivit.model.relative_transformer:RelativeTransformer",
    "avhubert": "espnet_vivit.model.avhubert_encoder:AvHubertEncoder",
}
DECODERS = {
    "transformer": "espnet2.asr.decoder.transformer_decoder:TransformerDecoder",
    "fairseq": "espnet_vivit.model.fairseq_decoder:FairseqDecoder",
}
_CTC = "espnet2.asr.ctc:CTC"


def build_part(kind: str, name: str, table: Mapping[str, str], conf: Mapping | None, **given: Any) -> Any:
    """Build the part `name` of `table` from `conf` and from what the model itself decides (`given`).

    Raises:
        ConfigError: no part of that name, no option of that name, or an option in `conf` that contradicts `given`.
    """
    if name not in table:
        raise unknown_name(kind, name, table)
    return build_checked(f"{kind}_conf for {kind}: {name}", _load(table[name]), conf, **given)


def build_back_end(
    vocab_size: int,
    *,
    encoder: tuple[str, Mapping],
    decoder: tuple[str, Mapping | None] | None,
    ctc_conf: Mapping | None,
) -> dict[str, Any]:
    """The encoder, decoder, CTC and ctc_dropout_rate of a model, by these names; encoder and decoder: (name, conf).

    decoder: None for a model of CTC alone. The dropout before CTC is not ESPnet's, which does not end with training.
    """
    width = encoder[1].get("output_size", ENCODER_SIZES["output_size"])
    sizes = {"vocab_size": vocab_size, "encoder_output_size": width}
    ctc_conf = dict(ctc_conf or {})
    ctc_dropout_rate = ctc_conf.pop("dropout_rate", 0.0)
    built = {"encoder": build_part("encoder", encoder[0], ENCODERS, encoder[1], input_size=width), "decoder": None}
    if decoder is not None:
        decoder_conf = decoder_sizes(encoder[1]) | dict(decoder[1] or {})
        built["decoder"] = build_part("decoder", decoder[0], DECODERS, decoder_conf, **sizes)
    built["ctc"] = build_checked("ctc_conf", _load(_CTC), ctc_conf, odim=vocab_size, encoder_output_size=width)
    return built | {"ctc_dropout_rate": ctc_dropout_rate}


def build_frontends(
    modality: str, *, vision: tuple, audio: tuple, feature_rate: str
) -> tuple["VisualFrontend | None", "AudioFrontend | None"]:
    """(vision encoder, audio encoder) of a model of `modality`, None where it has none; each given as (name, conf)."""
    tower = ear = None
    if modality != "video":  # the sound first, as a seed gives other weights to what is drawn in another order
        ear = build_part("audio_encoder", audio[0], AUDIO_ENCODERS, audio[1], feature_rate=feature_rate)
    if modality != "audio":
        tower = build_part("vision_encoder", vision[0], VISION_ENCODERS, vision[1], feature_rate=feature_rate)
    return tower, ear


def build_checked(where: str, build: Callable, conf: Mapping | None, **given: Any) -> Any:
    """`build(**conf, **given)`; `where` names `conf` in the errors, which are those of `build_part`."""
    conf = dict(conf or {})
    known = inspect.signature(build).parameters
    for option in conf:
        if option not in known:
            raise unknown_name(f"option in {where}", option, known)
        if option in given and conf[option] != given[option]:
            raise ConfigError(
                f"{where} contradicts the model's own {option}",
                found=f"{option}={conf[option]!r} against {given[option]!r}",
                fix=f"Set {option} in one place only, at the top level",
            )
    check_option_types(where, conf, build)
    check_sizes_and_rates(where, {**conf, **given})
    return build(**{**conf, **given})


def _load(path: str) -> Callable:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
