"""State dicts shaped like published ones, at a size for quick tests: the tables of ../shared/fixtures/zoo, shrunk.

The names are the publishers'; every size is mapped to a small one, blocks beyond the second are left out, and the
weights are filled by the fixtures' rule.
"""

import json
import re

from tests.auto_avsr import drawn

HEADS = 4
CHANNELS = {64: 2, 128: 4, 256: 8, 512: 16}
WIDTHS = {768: 16, 512: 16, 256: 16, 1536: 32, 1024: 32, 3072: 24, 2048: 24, 8192: 20, 5049: 9, 1049: 9, 37: 9}
UNITS = "<unk> 1\n' 2\ns 3\n▁bin 4\n▁blue 5\n▁now 6\n▁set 7\n"  # as Auto-AVSR's file: blank and end are not in it
TOKENS = ["<blank>", "<unk>", "'", "s", "▁bin", "▁blue", "▁now", "▁set", "<sos/eos>"]
FILES = {  # family -> (file of the fixtures, its entry)
    "video": ("vsr_ml_reference.json", "video_big"),
    "audio": ("vsr_ml_reference.json", "audio_big"),
    "both": ("vsr_ml_reference.json", "av_big"),
    "small": ("vsr_ml_reference.json", "video_small"),
    "lm": ("vsr_ml_reference.json", "lm_small"),
    "raven": ("raven_usr_names.json", "raven_visual_base"),
    "usr": ("raven_usr_names.json", "usr_base"),
    "avhubert": ("avhubert_names.json", "base"),
}


def published_table(shared_dir, family):
    """{published name: shape} at full size."""
    file, entry = FILES[family]
    table = json.loads((shared_dir / "fixtures/zoo" / file).read_text())[entry]
    return table.get("state_dict", table)


def small_state(shared_dir, family):
    """The state dict, filled."""
    table = published_table(shared_dir, family)
    return {name: drawn(name, small_shape(name, shape)) for name, shape in table.items() if not _beyond(name)}


def fairseq_names(state):
    """AV-HuBERT's port -> the names that fairseq gives the same weights (av_hubert's hubert.py; fairseq's layers)."""
    renamed = {}
    for name, value in state.items():
        block = re.fullmatch(r"(encoder\.layers\.\d+\.)(.*)", name)
        if block:
            inner = block.group(2)
            for theirs, ours in (
                ("attention.", "self_attn."),
                ("layer_norm.", "self_attn_layer_norm."),
                ("feed_forward.intermediate_dense.", "fc1."),
                ("feed_forward.output_dense.", "fc2."),
            ):
                if inner.startswith(theirs):
                    inner = ours + inner.removeprefix(theirs)
                    break
            name = block.group(1) + inner
        name = name.replace(
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"
        )
        name = name.replace(
            "encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"
        )
        renamed[name.replace("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias")] = value
    return renamed


def decoder_state(prefix, *, width=16, units=24, vocabulary=10, blocks=2):
    """A decoder as fairseq and transformers' Speech2Text name it, filled."""
    table = {"embed_tokens.weight": [vocabulary, width], "layer_norm.weight": [width], "layer_norm.bias": [width]}
    for number in range(blocks):
        block = f"layers.{number}."
        for attention in ("self_attn", "encoder_attn"):
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                table[f"{block}{attention}.{projection}.weight"] = [width, width]
                table[f"{block}{attention}.{projection}.bias"] = [width]
        for norm in ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"):
            table[f"{block}{norm}.weight"], table[f"{block}{norm}.bias"] = [width], [width]
        table[f"{block}fc1.weight"], table[f"{block}fc1.bias"] = [units, width], [units]
        table[f"{block}fc2.weight"], table[f"{block}fc2.bias"] = [width, units], [width]
    return {f"{prefix}{name}": drawn(f"{prefix}{name}", shape) for name, shape in table.items()}


def small_shape(name, shape):
    if "pos_bias" in name:
        return [HEADS, 16 // HEADS]
    if "pointwise_cov1" in name:  # twice the width, which in the small model is a width of others
        return [32, 16, 1][: len(shape)]
    if name.endswith("original0"):
        return shape
    if name.endswith("original1"):
        return [16, 1, 128]
    if "frontend" in name or ".resnet." in name:
        return [CHANNELS.get(size, size) if position < 2 else size for position, size in enumerate(shape)]
    return [WIDTHS.get(size, size) for size in shape]


def _beyond(name):
    block = re.search(r"(encoders|decoders|encoder\.layers)\.(\d+)\.", name)
    return block is not None and int(block.group(2)) > 1
