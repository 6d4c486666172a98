"""Auto-AVSR's and VSR-ML's Conformers: lips, sound and both, each publication's names beside ours.

Sources: mpc001/auto_avsr, branch main (182b628) and tag v1.0.0 (30951b5), Apache-2.0 (Ma et al., ICASSP 2023,
arXiv:2303.14307); mpc001/Visual_Speech_Recognition_for_Multiple_Languages (5e1405d; Ma et al. 2022, arXiv:2202.13084),
"VSR-ML" below. v1.0.0 and VSR-ML have the same names for the same models; main keeps the frontend beside the encoder
where they have it inside.
"""

from espnet_vivit.model.published.layout import Layout, Sizes, Terms

_SPELLING = (r"(conv_module\.pointwise_co)nv", r"\1v")
_MAIN_NAMES = (
    (r"^(vision|audio)_encoder\.", "frontend."),
    (r"^fusion\.", "proj_encoder."),
    _SPELLING,
)
_INSIDE_NAMES = (
    (r"^(vision|audio)_encoder\.", "encoder.frontend."),
    (r"^fusion\.", "encoder.embed.0."),
    _SPELLING,
)
_LATE_NAMES = (
    (r"^vision_encoder\.", "encoder.frontend."),
    (r"^audio_encoder\.", "aux_encoder.frontend."),
    (r"^encoder\.video_projection\.", "encoder.embed.0."),
    (r"^encoder\.audio_projection\.", "aux_encoder.embed.0."),
    (r"^encoder\.video\.", "encoder."),
    (r"^encoder\.audio\.", "aux_encoder."),
    (r"^fusion\.hidden\.", "fusion.fc1."),
    (r"^fusion\.norm\.", "fusion.bn1."),
    (r"^fusion\.output\.", "fusion.fc2."),
    _SPELLING,
)
_VIDEO_STEM, _AUDIO_STEM = "C, 1, 5, 7, 7", "C, 1, 80"
_RAVEN = "encoder.encoders.0.gamma_mha"  # of a block that is not a Conformer's (relative.py)
_TERMS = Terms(
    license="Auto-AVSR: Apache-2.0 code; VSR-ML: non-commercial, for comparison or benchmarking"
    " (read the repository's)",
    source="github.com/mpc001/auto_avsr or github.com/mpc001/Visual_Speech_Recognition_for_Multiple_Languages",
    attribution="Ma et al., Auto-AVSR, ICASSP 2023, or Visual Speech Recognition for Multiple Languages, 2022",
)
_DECODING = {"beam_size": 40, "ctc_weight": 0.1}  # of every configuration of VSR-ML but those of es, pt, fr, zh, GRID


def encoder_sizes(sizes: Sizes) -> dict:
    """`encoder_conf` of the Conformer under `encoder.`."""
    return {
        "output_size": sizes("ctc.ctc_lo.weight", "V, D", "D"),
        "attention_heads": sizes("encoder.encoders.0.self_attn.pos_bias_u", "heads, D / heads", "heads"),
        "linear_units": sizes("encoder.encoders.0.feed_forward.w_1.weight", "units, D", "units"),
        "num_blocks": sizes.count("encoder.encoders"),
        "cnn_module_kernel": sizes("encoder.encoders.0.conv_module.depthwise_conv.weight", "D, 1, kernel", "kernel"),
    }


def decoder_sizes(sizes: Sizes, heads: int) -> dict:
    """`decoder_conf`. No shape tells the decoder's heads: in all published models each has 64 numbers."""
    return {
        "attention_heads": heads,
        "linear_units": sizes("decoder.decoders.0.feed_forward.w_1.weight", "units, D", "units"),
        "num_blocks": sizes.count("decoder.decoders"),
    }


def one_stream(modality: str, stem: str):
    """The options of a model of one stream whose frontend's first weight is called `stem`."""
    axes, part = {
        "video": (_VIDEO_STEM, {"vision_encoder": "resnet"}),
        "audio": (_AUDIO_STEM, {"audio_encoder": "resnet1d"}),
    }[modality]

    def options(sizes: Sizes) -> dict:
        channels = sizes(stem, axes, "C")
        encoder = encoder_sizes(sizes)
        return {
            "odim": sizes("ctc.ctc_lo.weight", "V, D", "V"),
            "modality": modality,
            **part,
            **{f"{kind}_conf": {"channels": channels} for kind in part},
            "encoder_conf": encoder,
            "decoder_conf": decoder_sizes(sizes, encoder["attention_heads"]),
        }

    return options


def _two_streams(sizes: Sizes) -> dict:
    encoder = encoder_sizes(sizes)
    return {
        "odim": sizes("ctc.ctc_lo.weight", "V, D", "V"),
        "modality": "multimodal",
        "vision_encoder": "resnet",
        "vision_encoder_conf": {"channels": sizes("encoder.frontend.frontend3D.0.weight", _VIDEO_STEM, "C")},
        "audio_encoder": "resnet1d",
        "audio_encoder_conf": {"channels": sizes("aux_encoder.frontend.trunk.conv1.weight", _AUDIO_STEM, "C")},
        "fusion": "mlp",
        "fusion_place": "encoder",
        "fusion_conf": {"hidden_units": sizes("fusion.fc1.weight", "hidden, 2 D", "hidden")},
        "encoder_conf": encoder,
        "decoder_conf": decoder_sizes(sizes, encoder["attention_heads"]),
    }


def _single(title: str, modality: str, stem: str, names, lacks=()) -> Layout:
    axes = _VIDEO_STEM if modality == "video" else _AUDIO_STEM
    return Layout(
        title=title,
        marks={stem: axes},
        lacks=(*lacks, _RAVEN),
        names=names,
        options=one_stream(modality, stem),
        terms=_TERMS,
        modality=modality,
        decoding=_DECODING,
    )


MAIN_VIDEO = _single("Auto-AVSR (main), video", "video", "frontend.frontend3D.0.weight", _MAIN_NAMES)
MAIN_AUDIO = _single("Auto-AVSR (main), audio", "audio", "frontend.trunk.conv1.weight", _MAIN_NAMES)
INSIDE_VIDEO = _single(
    "Auto-AVSR v1.0.0 or VSR-ML, video",
    "video",
    "encoder.frontend.frontend3D.0.weight",
    _INSIDE_NAMES,
    ("aux_encoder.",),
)
INSIDE_AUDIO = _single(
    "Auto-AVSR v1.0.0 or VSR-ML, audio",
    "audio",
    "encoder.frontend.trunk.conv1.weight",
    _INSIDE_NAMES,
    ("aux_encoder.",),
)
LATE_FUSION = Layout(
    title="Auto-AVSR v1.0.0 or VSR-ML, audio-visual",
    marks={
        "encoder.frontend.frontend3D.0.weight": _VIDEO_STEM,
        "aux_encoder.frontend.trunk.conv1.weight": _AUDIO_STEM,
        "fusion.fc1.weight": "hidden, 2 D",
    },
    names=_LATE_NAMES,
    options=_two_streams,
    terms=_TERMS,
    modality="multimodal",
    decoding=_DECODING,
)
LAYOUTS = (LATE_FUSION, MAIN_VIDEO, MAIN_AUDIO, INSIDE_VIDEO, INSIDE_AUDIO)
