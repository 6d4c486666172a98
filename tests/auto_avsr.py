"""State dicts shaped like Auto-AVSR's published ones, of any size, and the rule of ../shared/fixtures that fills them.

`shapes` is written from the published tables, not from our modules; at their sizes, a test holds it against them.
"""

import zlib
from functools import partial

import numpy as np
import torch

PUBLISHED = {"odim": 5049, "width": 768, "heads": 12, "units": 3072, "blocks": 12, "decoder_blocks": 6, "channels": 64}
PUBLISHED["kernel"] = 31
TINY = {"odim": 9, "width": 16, "heads": 4, "units": 24, "blocks": 2, "decoder_blocks": 3, "channels": 2, "kernel": 7}


def shapes(modality, *, odim, width, heads, units, blocks, decoder_blocks, channels, kernel):
    """{published parameter name: shape} of the "video" or "audio" model."""
    table = {}
    _frontend(table, modality, channels)
    linear = partial(_linear, table)
    linear("proj_encoder", 8 * channels, width)
    for number in range(blocks):
        block = f"encoder.encoders.{number}"
        for name in ("pos_bias_u", "pos_bias_v"):
            table[f"{block}.self_attn.{name}"] = [heads, width // heads]
        table[f"{block}.self_attn.linear_pos.weight"] = [width, width]
        _attention(table, f"{block}.self_attn", width)
        for name in ("feed_forward", "feed_forward_macaron"):
            _feed_forward(table, f"{block}.{name}", width, units)
        convolution = f"{block}.conv_module"
        for name, shape in (
            ("pointwise_cov1", [2 * width, width, 1]),
            ("depthwise_conv", [width, 1, kernel]),
            ("pointwise_cov2", [width, width, 1]),
        ):
            table[f"{convolution}.{name}.weight"], table[f"{convolution}.{name}.bias"] = shape, shape[:1]
        _batch_norm(table, f"{convolution}.norm", width)
        _norms(table, block, ("norm_ff", "norm_mha", "norm_ff_macaron", "norm_conv", "norm_final"), width)
    _norms(table, "encoder", ("after_norm",), width)
    table["decoder.embed.0.weight"] = [odim, width]
    for number in range(decoder_blocks):
        block = f"decoder.decoders.{number}"
        for name in ("self_attn", "src_attn"):
            _attention(table, f"{block}.{name}", width)
        _feed_forward(table, f"{block}.feed_forward", width, units)
        _norms(table, block, ("norm1", "norm2", "norm3"), width)
    _norms(table, "decoder", ("after_norm",), width)
    linear("decoder.output_layer", width, odim)
    linear("ctc.ctc_lo", width, odim)
    return table


def state_dict(modality, table=None, **sizes):
    """`table`, or that of `TINY` with `sizes` changed, filled by the rule; as a published file holds it."""
    table = shapes(modality, **{**TINY, **sizes}) if table is None else table
    return {name: drawn(name, shape) for name, shape in table.items()}


def drawn(name, shape):
    """The value of the parameter `name`, by the rule of fixtures/README.md; 0 for BatchNorm's counters."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    w = np.random.default_rng([7, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
    if len(shape) >= 2:
        w /= np.float32(np.sqrt(np.prod(shape[1:])))
    elif name.endswith("running_var"):
        w = 1 + 0.5 * np.abs(w)
    elif name.endswith("weight"):
        w = 1 + 0.1 * w
    else:
        w = 0.1 * w
    return torch.from_numpy(np.asarray(w, dtype=np.float32))


def drawn_input(shape):
    return torch.from_numpy(np.random.default_rng([7, 12345]).standard_normal(shape, dtype=np.float32))


def _frontend(table, modality, channels):
    ones = [3, 3] if modality == "video" else [3]
    if modality == "video":
        table["frontend.frontend3D.0.weight"] = [channels, 1, 5, 7, 7]
        _batch_norm(table, "frontend.frontend3D.1", channels)
    else:
        table["frontend.trunk.conv1.weight"] = [channels, 1, 80]
        _batch_norm(table, "frontend.trunk.bn1", channels)
    inputs = channels
    for stage in range(1, 5):
        outputs = channels * 2 ** (stage - 1)
        for number in range(2):
            block = f"frontend.trunk.layer{stage}.{number}"
            table[f"{block}.conv1.weight"] = [outputs, inputs, *ones]
            table[f"{block}.conv2.weight"] = [outputs, outputs, *ones]
            _batch_norm(table, f"{block}.bn1", outputs)
            _batch_norm(table, f"{block}.bn2", outputs)
            if inputs != outputs:
                table[f"{block}.downsample.0.weight"] = [outputs, inputs, *(1 for _ in ones)]
                _batch_norm(table, f"{block}.downsample.1", outputs)
            inputs = outputs


def _linear(table, name, inputs, outputs):
    table[f"{name}.weight"], table[f"{name}.bias"] = [outputs, inputs], [outputs]


def _attention(table, name, width):
    for projection in ("linear_q", "linear_k", "linear_v", "linear_out"):
        _linear(table, f"{name}.{projection}", width, width)


def _feed_forward(table, name, width, units):
    _linear(table, f"{name}.w_1", width, units)
    _linear(table, f"{name}.w_2", units, width)


def _norms(table, prefix, names, width):
    for name in names:
        table[f"{prefix}.{name}.weight"], table[f"{prefix}.{name}.bias"] = [width], [width]


def _batch_norm(table, name, width):
    for entry in ("weight", "bias", "running_mean", "running_var"):
        table[f"{name}.{entry}"] = [width]
    table[f"{name}.num_batches_tracked"] = []
