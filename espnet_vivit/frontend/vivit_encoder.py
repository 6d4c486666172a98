"""BATCH → FEATURES: a Video Vision Transformer over mouth crops of any length.

In: video `(B, T, H, W)` uint8 or normalised float, and each utterance's length in frames. Out: `(B, T', D)` and T'.
Joint attention wraps Hugging Face's `VivitModel` (Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021; weights
of google-research/scenic); the paper's factorised variants, and a causal one, are ours (`vivit/family_tower.py`). What
differs from calling the library: clips of any length (whole, in windows, or sampled to the 32 frames it expects), each
utterance's own length, gray input, any picture size, and no step that is only padding is computed.
"""

from typing import Any

import torch
from transformers import VivitModel

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.embedding import ConvStem
from espnet_vivit.frontend.vivit.encoder import VivitEncoder, check_options
from espnet_vivit.frontend.vivit.family_encoder import FamilyEncoder, default_adjust
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.tower import recompute_layers
from espnet_vivit.frontend.vivit.tower_choice import TowerRequest, check_trained_pooling, choose_tower
from espnet_vivit.frontend.vivit.weights import dtype_named

STEMS = ("tubelet", "conv")
WINDOW_OVERLAP = 8  # frames


def vivit_encoder(
    model_name: str = "google/vivit-b-16x2-kinetics400",
    *,
    frozen: bool = False,
    output_dim: int | None = None,
    num_frames: int | None = None,
    temporal_pooling: str | None = None,
    spatial_pooling: str | None = None,
    frame_adjust: str | None = None,
    window_overlap: int | None = None,
    max_windows: int | None = None,
    feature_rate: str = "tubelet",
    image_size: int | None = None,
    normalization: str = "scenic",
    pretrained: bool = True,
    config: dict | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    feature_cache: str | None = None,
    attn_implementation: str = "sdpa",
    gradient_checkpointing: bool = False,
    stem: str = "tubelet",
    patch_dropout: float = 0.0,
    attention: str | None = None,
    attention_order: str | None = None,
    temporal_layers: int | None = None,
    temporal_tokens: str | None = None,
    temporal_positions: str | None = None,
    left_context: int | None = None,
    registers: int | None = None,
    drop_path: float | None = None,
    attention_dropout: float | None = None,
    mlp_dropout: float | None = None,
    rope_base: float | None = None,
    tubelet_stride: list[int] | None = None,
    weights: str | None = None,
    image_weights: str | None = None,
    kernel_init: str | None = None,
    gaussian_masks: int | None = None,
) -> VivitEncoder:
    """Build a `VivitEncoder`: `encoder(video)` -> features, `encoder(video, lengths)` -> (features, lengths).

    Args:
        model_name: hub id, local folder, or with `pretrained=False` a size such as "vivit-ti-8x2".
        frozen: no gradients reach the tower, which stays in evaluation mode; projection and upsampling still train.
        output_dim: width of the features; None is the tower's width.
        num_frames: frames of one window (default: 32); the checkpoint's position table is resized to it.
        temporal_pooling: how a step's spatial tokens become one vector: "mean" (default), "max", "cls" or "gaussian"
            (learned masks, factorised variants only). Joint attention has one CLS vector per window, the factorised
            encoder one per step; scenic's checkpoints of the factorised encoder were trained with "cls".
        spatial_pooling: another name of `temporal_pooling`; give one of the two.
        frame_adjust: how clips meet the tower's length: "sample" (default) samples every clip to `num_frames` frames,
            "window" cuts it into overlapping windows, "whole" (default with rotary positions) takes it as it is.
        window_overlap: frames shared by neighboring windows, an even number (default: 8).
        max_windows: windows computed in one pass; None is 8 in inference (4 on a CPU) and unlimited in training.
        feature_rate: "tubelet" (12.5 Hz, max(1, T // 2) steps) or "frame" (25 Hz, T steps).
        image_size: height and width in pixels; the checkpoint's position table is resized to it.
        normalization: range to which uint8 pixels are mapped: "scenic" is [-1, 1]; "huggingface" is [-3, 1], as
            transformers' image processor computes it.
        pretrained: False builds random weights from `config` (VivitConfig fields) or the size in `model_name`.
        dtype: dtype of the tower's weights; features are float32.
        revision, cache_dir, local_files_only: as in Hugging Face's `from_pretrained`.
        feature_cache: folder for the features of a frozen tower, which are read again for clips with equal pixels.
            Train without random crops, flips and masks, which change the pixels in each epoch.
        attn_implementation: attention implementation of transformers: "sdpa", "eager", "flash_attention_2", …
        gradient_checkpointing: recompute the tower's layers in the backward pass, to save memory.
        stem: how tubelets become tokens: "tubelet" is the checkpoint's linear projection, "conv" a convolutional stem
            for towers trained from scratch, which learn much faster with it.
        patch_dropout: share of each step's patches that are dropped at random in training; see `PatchDropout`.
        attention: pattern of attention: "joint" (default: all tokens of a window), "factorised_encoder" (space, then
            time on pooled steps), "factorised_self_attention" (space and time in each block), "factorised_dot_product"
            (half of the heads each), or "causal" (a factorised encoder that attends to earlier steps only and streams,
            see `FamilyEncoder.stream`). None is the pattern of `weights`, `config` or the folder. The options below
            are for all patterns but "joint".
        attention_order: order in factorised_self_attention: "space_time" (default) or "time_space" (scenic's).
        temporal_layers: temporal blocks after the spatial ones in factorised_encoder and causal (default: 4).
        temporal_tokens: "steps" (default) pools each step before the temporal blocks; "places" attends over time for
            each place of the picture separately.
        temporal_positions: "learned" (windows of `num_frames`) or "rope" (rotary, clips of any length). None is "rope"
            for factorised_encoder and causal, unless `weights` have learned positions.
        left_context: earlier steps to which a causal step attends in each block; None is all.
        registers: number of register tokens of each step (factorised_encoder, causal).
        drop_path: share of clips for which training skips the last block (stochastic depth); the share grows linearly
            from 0 at the first block.
        attention_dropout, mlp_dropout: dropout rates in training.
        rope_base: base of the rotary positions (default: 10000).
        tubelet_stride: [frames, height, width] from one tubelet to the next; less than its size makes tubelets overlap.
        weights: checkpoint file of scenic; sizes and variant are read from it.
        image_weights: 2-D ViT (`ViTModel`), folder or hub id, to start from.
        kernel_init: how image patches become tubelets: "central_frame" (default), "average" or "average_arp".
        gaussian_masks: number of masks of gaussian pooling (default: 4).

    Raises:
        ConfigError: an option that does not exist or contradicts another.
        WeightsError: weights that are not in the local cache and cannot be downloaded.
    """
    pooling = _one_pooling(temporal_pooling, spatial_pooling)
    check_options(normalization, feature_rate, output_dim, max_windows)
    _check_names(pooling, frame_adjust, stem, pretrained=pretrained)  # before weights are looked for
    family = {
        "pooling": pooling,
        "attention_order": attention_order,
        "temporal_layers": temporal_layers,
        "temporal_tokens": temporal_tokens,
        "temporal_positions": temporal_positions,
        "left_context": left_context,
        "registers": registers,
        "drop_path": drop_path,
        "attention_dropout": attention_dropout,
        "mlp_dropout": mlp_dropout,
        "rope_base": rope_base,
        "tubelet_stride": tubelet_stride,
        "gaussian_masks": gaussian_masks,
    }
    request = TowerRequest(
        model_name=model_name,
        pretrained=pretrained,
        config=config,
        weights=weights,
        image_weights=image_weights,
        kernel_init=kernel_init,
        attention=attention,
        image_size=image_size,
        num_frames=num_frames,
        options={name: value for name, value in family.items() if value is not None},
        source={
            "dtype": dtype_named(dtype) if isinstance(dtype, str) else dtype,
            "revision": revision,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "attn_implementation": attn_implementation,
        },
    )
    tower = choose_tower(request)
    if gradient_checkpointing:
        recompute_layers(tower)
    around = {
        "frozen": frozen,
        "output_dim": output_dim,
        "window_overlap": window_overlap,
        "max_windows": max_windows,
        "feature_rate": feature_rate,
        "normalization": normalization,
        "feature_cache": feature_cache,
        "patch_dropout": patch_dropout,
    }
    if frozen and isinstance(tower, FamilyTower):
        check_trained_pooling(request, tower.config)
    return _encoder_of(tower, stem, pooling=pooling, frame_adjust=frame_adjust, around=around)


def _one_pooling(temporal_pooling: str | None, spatial_pooling: str | None) -> str | None:
    """The pooling under either of its names."""
    if spatial_pooling is not None and temporal_pooling not in (None, spatial_pooling):
        found = f"spatial_pooling={spatial_pooling}, temporal_pooling={temporal_pooling}"
        raise ConfigError("the pooling is given twice, differently", found=found, fix="Give one of the two")
    return spatial_pooling if temporal_pooling is None else temporal_pooling


def _check_names(pooling: str | None, frame_adjust: str | None, stem: str, *, pretrained: bool) -> None:
    for kind, name, choices in (
        ("temporal_pooling", pooling, FamilyEncoder.poolings),
        ("frame_adjust", frame_adjust, FamilyEncoder.frame_adjusts),
    ):
        if name is not None and name not in choices:
            raise unknown_name(kind, name, choices)
    if stem not in STEMS:
        raise unknown_name("stem", stem, STEMS)
    if stem == "conv" and pretrained:
        raise ConfigError("pretrained weights come with their own stem", found="stem='conv'", expected="'tubelet'")


def _encoder_of(
    tower: VivitModel | FamilyTower, stem: str, *, pooling: str | None, frame_adjust: str | None, around: dict[str, Any]
) -> VivitEncoder:
    """The encoder around a tower; `around` has the options that both kinds of encoders take."""
    overlap = around["window_overlap"]
    around = around | {"window_overlap": WINDOW_OVERLAP if overlap is None else overlap}
    if isinstance(tower, FamilyTower):
        if stem == "conv":
            fix = "Leave stem out"
            raise ConfigError("the convolutional stem is for joint attention", found=tower.config.attention, fix=fix)
        frame_adjust = frame_adjust or default_adjust(tower.config)
        if frame_adjust == "whole" and overlap is not None:
            found, fix = f"window_overlap={overlap}", "Leave window_overlap out"
            raise ConfigError("clips that go through whole have no windows to overlap", found=found, fix=fix)
        return FamilyEncoder(tower, frame_adjust=frame_adjust, **around)
    if stem == "conv":
        _, height, width = tower.config.tubelet_size
        conv_stem: Any = ConvStem(tower.config.hidden_size, (height, width))  # stands where a linear layer did
        tower.embeddings.patch_embeddings = conv_stem
    return VivitEncoder(tower, temporal_pooling=pooling or "mean", frame_adjust=frame_adjust or "sample", **around)
