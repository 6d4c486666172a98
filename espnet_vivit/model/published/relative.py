"""RAVEn's, BRAVEn's and USR's Transformers: the block without macaron and convolution, each publication's names.

Sources: ahaliassos/raven 11fb53f, MIT (Haliassos et al., ICLR 2023, arXiv:2212.06246; BRAVEn: ICASSP 2024,
arXiv:2404.02098); ahaliassos/usr 6115c87, without a licence file (Haliassos et al., NeurIPS 2024, arXiv:2411.02256).
Read there: pre-norm, the scale before the dropout, SiLU in the ResNets, ReLU in the feed-forward, relative positions in
their later form. RAVEn normalizes before the feed-forward by BatchNorm, USR by LayerNorm.

USR is three recognizers around one encoder: lips, sound, both. Each is a layout of its own here, so that what is
imported is an ordinary model of ours; the heads of the other two stay behind, and are counted.
"""

from espnet_vivit.model.published.conformers import decoder_sizes
from espnet_vivit.model.published.layout import Layout, Sizes, Terms

_VIDEO_STEM, _AUDIO_STEM = "C, 1, 5, 7, 7", "C, 1, 80"
_SCALE = "encoder.encoders.0.gamma_mha"
_RAVEN_TERMS = Terms(
    license="MIT",
    source="github.com/ahaliassos/raven",
    attribution="Haliassos et al., Jointly Learning Visual and Auditory Speech Representations, ICLR 2023",
)
_USR_TERMS = Terms(
    license="none stated: github.com/ahaliassos/usr has no licence file; ask before you use or share it",
    source="github.com/ahaliassos/usr",
    attribution="Haliassos et al., Unified Speech Recognition, NeurIPS 2024",
)
_DECODER_HEAD_WIDTH = 64  # of RAVEn's and USR's decoders, as of their encoders
_HEADS = {"video": "v", "audio": "a", "multimodal": "av"}


def _encoder_sizes(sizes: Sizes) -> dict:
    batch_norm = "encoder.encoders.0.norm_ff.running_mean" in sizes.state
    return {
        "output_size": sizes(_SCALE, "D", "D"),
        "attention_heads": sizes("encoder.encoders.0.self_attn.pos_bias_u", "heads, D / heads", "heads"),
        "linear_units": sizes("encoder.encoders.0.feed_forward.w_1.weight", "units, D", "units"),
        "num_blocks": sizes.count("encoder.encoders"),
        "ff_norm": "batch" if batch_norm else "layer",
    }


def _recognizer(sizes: Sizes, modality: str, stems: dict[str, str], vocabulary: str) -> dict:
    """The options of a model whose frontends' first weights are `stems`, and whose CTC head is called `vocabulary`."""
    options: dict = {"odim": sizes(vocabulary, "V, D", "V"), "modality": modality, "encoder": "relative_transformer"}
    if "video" in stems:
        channels = sizes(stems["video"], _VIDEO_STEM, "C")
        options |= {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": channels}}
    if "audio" in stems:
        channels = sizes(stems["audio"], _AUDIO_STEM, "C")
        conf = {"channels": channels, "waveform_normalization": "none"}
        options |= {"audio_encoder": "resnet1d", "audio_encoder_conf": conf}
    width = sizes("decoder.embed.0.weight", "V, D", "D")
    options["encoder_conf"] = _encoder_sizes(sizes)
    options["decoder_conf"] = decoder_sizes(sizes, max(1, width // _DECODER_HEAD_WIDTH))
    return options


def _raven(modality: str, stem: str) -> Layout:
    return Layout(
        title=f"RAVEn or BRAVEn, {modality}",
        marks={
            stem: _VIDEO_STEM if modality == "video" else _AUDIO_STEM,
            _SCALE: "D",
            "ctc.ctc_lo.weight": "V, D",
        },
        names=((r"^(vision|audio)_encoder\.", "encoder.frontend."), (r"^fusion\.", "encoder.embed.0.")),
        options=lambda sizes: _recognizer(sizes, modality, {modality: stem}, "ctc.ctc_lo.weight"),
        terms=_RAVEN_TERMS,
        modality=modality,
        decoding={"beam_size": 40, "ctc_weight": 0.1},
    )


def _usr(modality: str) -> Layout:
    head = _HEADS[modality]
    others = "|".join(other for other in _HEADS.values() if other != head)
    stems = {"video": "encoder.frontend_v.frontend3D.0.weight", "audio": "encoder.frontend_a.trunk.conv1.weight"}
    used = stems if modality == "multimodal" else {modality: stems[modality]}
    unused = {
        rf"encoder\.linear_({others})\.": "projections of the other modalities",
        rf"ctc_({others})\.": "CTC heads of the other modalities",
        rf"decoder\.out_layer_({others})\.": "output layers of the other modalities",
        r"decoder\.output_layer\.": "an output layer that USR does not use",
    }
    if modality != "multimodal":
        other = "a" if modality == "video" else "v"
        unused[rf"encoder\.frontend_{other}\."] = "the frontend of the other stream"
    projection = r"^fusion\.linear\." if modality == "multimodal" else r"^fusion\."
    return Layout(
        title=f"USR, {modality}",
        marks={stems["video"]: _VIDEO_STEM, stems["audio"]: _AUDIO_STEM, _SCALE: "D", "ctc_av.ctc_lo.weight": "V, D"},
        names=(
            (r"^vision_encoder\.", "encoder.frontend_v."),
            (r"^audio_encoder\.", "encoder.frontend_a."),
            (projection, f"encoder.linear_{head}."),
            (r"^ctc\.", f"ctc_{head}."),
            (r"^decoder\.output_layer\.", f"decoder.out_layer_{head}."),
        ),
        options=lambda sizes: _recognizer(sizes, modality, used, f"ctc_{head}.ctc_lo.weight"),
        terms=_USR_TERMS,
        unused=unused,
        modality=modality,
        decoding={"beam_size": 40, "ctc_weight": 0.1},
    )


RAVEN_VIDEO = _raven("video", "encoder.frontend.frontend3D.0.weight")
RAVEN_AUDIO = _raven("audio", "encoder.frontend.trunk.conv1.weight")
USR_MULTIMODAL, USR_VIDEO, USR_AUDIO = _usr("multimodal"), _usr("video"), _usr("audio")
LAYOUTS = (RAVEN_VIDEO, RAVEN_AUDIO, USR_MULTIMODAL, USR_VIDEO, USR_AUDIO)
