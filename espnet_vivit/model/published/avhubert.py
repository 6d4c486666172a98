"""AV-HuBERT's files: fairseq's `.pt` and the port in safetensors, pretrained or fine-tuned, each with its names.

Sources: facebookresearch/av_hubert 258fb50 (Shi et al., ICLR 2022, arXiv:2201.02184); nguyenvulebinh/AV-HuBERT-S2S
e0065cd, the port behind AV-HuBERT and AV-HuBERT-MuAViC-{ar,de,el,en,es,fr,it,pt,ru,multilingual}. Only names and shapes
are from there. What these files hold for pretraining (mask, cluster embeddings) has no place in a recognizer.

The weights come under the AV-HuBERT licence, which allows non-commercial research alone: `TERMS`.
"""

from torch import Tensor

from espnet_vivit.errors import WeightsError
from espnet_vivit.model.published.layout import Layout, Sizes, Terms

TERMS = Terms(
    license="AV-HuBERT license: non-commercial research only; no production use, surveillance or biometric processing; "
    "no sublicensing",
    source="github.com/facebookresearch/av_hubert",
    attribution="AV-HuBERT is licensed under the AV-HuBERT license, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved.",
    license_text_needed=True,
)
HEAD_SIZE = 64  # numbers per attention head in all its models; no shape tells
BEGIN, PAD, END, UNKNOWN, SPECIAL = 0, 1, 2, 3, 4  # fairseq's first symbols <s> <pad> </s> <unk>, and how many
_STEM = "feature_extractor_video.resnet.frontend3D.0.weight"
_ENCODER_NAMES = (
    (r"^vision_encoder\.resnet\.", "feature_extractor_video.resnet."),
    (r"^vision_encoder\.proj\.", "feature_extractor_video.proj."),
    (r"^audio_encoder\.proj\.", "feature_extractor_audio.proj."),
    (r"^fusion\.norm\.", "layer_norm."),
    (r"^fusion\.linear\.", "post_extract_proj."),
    (r"^encoder\.transformer\.encoder\.", "encoder."),
)
_FAIRSEQ_NAMES = (
    (r"^(encoder\.layers\.\d+\.)attention\.", r"\1self_attn."),
    (r"^(encoder\.layers\.\d+\.)layer_norm\.", r"\1self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+\.)feed_forward\.intermediate_dense\.", r"\1fc1."),
    (r"^(encoder\.layers\.\d+\.)feed_forward\.output_dense\.", r"\1fc2."),
    (r"^encoder\.pos_conv_embed\.conv\.bias", "encoder.pos_conv.0.bias"),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
)
_DECODER_NAMES = (
    (r"^decoder\.embed\.0\.", "decoder.embed_tokens."),
    (r"^decoder\.output_layer\.", "decoder.embed_tokens."),  # one matrix for both
    (r"^decoder\.decoders\.", "decoder.layers."),
    (r"^(decoder\.layers\.\d+\.)src_attn\.", r"\1encoder_attn."),
    (r"^(decoder\.layers\.\d+\.\w+_attn\.)linear_(q|k|v)\.", r"\1\2_proj."),
    (r"^(decoder\.layers\.\d+\.\w+_attn\.)linear_out\.", r"\1out_proj."),
    (r"^(decoder\.layers\.\d+\.)norm1\.", r"\1self_attn_layer_norm."),
    (r"^(decoder\.layers\.\d+\.)norm2\.", r"\1encoder_attn_layer_norm."),
    (r"^(decoder\.layers\.\d+\.)norm3\.", r"\1final_layer_norm."),
    (r"^(decoder\.layers\.\d+\.)feed_forward\.w_([12])\.", r"\1fc\2."),
    (r"^decoder\.after_norm\.", "decoder.layer_norm."),
)


def reorder_vocabulary(rows: Tensor) -> Tensor:
    """(V, D) of fairseq -> (V - 1, D) of ours: <s> as the blank, <unk>, the tokens, </s>; <pad> stays behind."""
    return rows[[BEGIN, UNKNOWN, *range(SPECIAL, len(rows)), END]]


def token_list(symbols: list[str]) -> list[str]:
    """The tokens in our order, of fairseq's symbols (the special ones first). Raises WeightsError for another order."""
    if symbols[:SPECIAL] != ["<s>", "<pad>", "</s>", "<unk>"]:
        expected = "<s>, <pad>, </s>, <unk>, then the tokens"
        raise WeightsError("the vocabulary is not in fairseq's order", found=symbols[:SPECIAL], expected=expected)
    return ["<blank>", "<unk>", *symbols[SPECIAL:], "<sos/eos>"]


def _options(prefix: str, attention: str, first: str, decoder: str | None):
    """The reader of a layout whose encoder's names begin with `prefix`, whose decoder's begin with `decoder`."""

    def options(sizes: Sizes) -> dict:
        width = sizes(f"{prefix}post_extract_proj.weight", "D, 2 D", "D")
        block = f"{prefix}encoder.layers"
        sizes(f"{block}.0.{attention}.q_proj.weight", "D, D", "D")
        read = {
            "modality": "multimodal",
            "vision_encoder": "avhubert_video",
            "vision_encoder_conf": {
                "output_dim": width,
                "channels": sizes(f"{prefix}{_STEM}", "C, 1, 5, 7, 7", "C"),
            },
            "audio_encoder": "filterbanks",
            "audio_encoder_conf": {"output_dim": width},
            "fusion": "normalized_concat",
            "encoder": "avhubert",
            "encoder_conf": {
                "output_size": width,
                "attention_heads": max(1, width // HEAD_SIZE),
                "linear_units": sizes(f"{block}.0.{first}.weight", "units, D", "units"),
                "num_blocks": sizes.count(block),
            },
        }
        if decoder is None:
            return read
        return read | {
            "odim": sizes(f"{decoder}embed_tokens.weight", "V, D", "V") - 1,
            "decoder": "fairseq",
            "decoder_conf": {
                "attention_heads": max(1, width // HEAD_SIZE),
                "linear_units": sizes(f"{decoder}layers.0.fc1.weight", "units, D", "units"),
                "num_blocks": sizes.count(f"{decoder}layers"),
            },
            "ctc_weight": 0.0,
        }

    return options


def _layout(title: str, prefix: str, *, fairseq: bool, decoder: str | None) -> Layout:
    names = _ENCODER_NAMES + (_FAIRSEQ_NAMES if fairseq else ())
    if decoder is not None:
        names += _DECODER_NAMES
    if prefix:
        names += ((r"^(?!decoder\.)", prefix),)
    if decoder not in (None, "decoder."):
        names += ((r"^decoder\.", decoder),)
    attention, first = ("self_attn", "fc1") if fairseq else ("attention", "feed_forward.intermediate_dense")
    vocabulary = {} if decoder is None else {f"{decoder}embed_tokens.weight": reorder_vocabulary}
    own = prefix.replace(".", r"\.")
    return Layout(
        title=title,
        marks={
            f"{prefix}{_STEM}": "C, 1, 5, 7, 7",
            f"{prefix}encoder.layers.0.{attention}.q_proj.weight": "D, D",
            **{name: "V, D" for name in vocabulary},
        },
        lacks=() if decoder is not None else ("decoder.", "model.decoder."),
        names=names,
        options=_options(prefix, attention, first, decoder),
        terms=TERMS,
        unused={
            rf"{own}mask_emb$": "the mask of pretraining",
            rf"{own}(label_embs_concat$|final_proj\.)": "the clusters of pretraining",
            r"(model\.)?lm_head\.weight$": "a second name of the decoder's embedding",
            r"decoder\.(embed_positions\._float_tensor|version)$": "fairseq's counters",
        },
        values=vocabulary,
        modality="multimodal",
        decoding={"ctc_weight": 0.0} if decoder is not None else {},
    )


PORT = _layout("AV-HuBERT, the port, without a decoder", "", fairseq=False, decoder=None)
PORT_FINE_TUNED = _layout("AV-HuBERT, the port, fine-tuned", "model.encoder.", fairseq=False, decoder="model.decoder.")
FAIRSEQ = _layout("AV-HuBERT, fairseq, pretrained", "", fairseq=True, decoder=None)
FAIRSEQ_FINE_TUNED = _layout("AV-HuBERT, fairseq, fine-tuned", "encoder.w2v_model.", fairseq=True, decoder="decoder.")
LAYOUTS = (PORT_FINE_TUNED, FAIRSEQ_FINE_TUNED, PORT, FAIRSEQ)
