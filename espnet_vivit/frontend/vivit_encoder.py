"""BATCH → FEATURES: a Video Vision Transformer over mouth crops of any length.

In: video `(B, T, H, W)` uint8 or normalised float, and each utterance's length in frames. Out: `(B, T', D)` and T'.
Wraps Hugging Face's `VivitModel` (Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021; weights of
google-research/scenic). What differs from calling the library: clips of any length (windows, or sampling to the 32
frames it expects), each utterance's own length, gray input, any picture size, and no step that is only padding is
computed.
"""

from typing import Any

import torch

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.embedding import ConvStem
from espnet_vivit.frontend.vivit.encoder import VivitEncoder, check_options
from espnet_vivit.frontend.vivit.tower import recompute_layers
from espnet_vivit.frontend.vivit.weights import dtype_named, load_vivit

STEMS = ("tubelet", "conv")


def vivit_encoder(
    model_name: str = "google/vivit-b-16x2-kinetics400",
    *,
    frozen: bool = False,
    output_dim: int | None = None,
    num_frames: int = 32,
    temporal_pooling: str = "mean",
    frame_adjust: str = "sample",
    window_overlap: int = 8,
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
) -> VivitEncoder:
    """Build a `VivitEncoder`: `encoder(video)` -> features, `encoder(video, lengths)` -> (features, lengths).

    Args:
        model_name: hub id, local folder, or with `pretrained=False` a size such as "vivit-ti-8x2".
        frozen: no gradients into the tower, which stays in eval mode; projection and upsampling still train.
        output_dim: width of the features; None keeps the tower's.
        num_frames: frames of one window; other than the checkpoint's (32) resizes its position table.
        temporal_pooling: how a tubelet step's spatial tokens become one vector: "mean", "max", or "cls" (the
            window's CLS vector, repeated: for labels of whole clips).
        frame_adjust: "sample" brings every clip to `num_frames` frames; "window" thins nothing (see `windows`).
        window_overlap: frames shared by neighbouring windows, even.
        max_windows: windows computed in one pass; None: 8 in inference (4 on a CPU), no bound in training.
        feature_rate: "tubelet" (12.5 Hz, max(1, T // 2) steps) or "frame" (25 Hz, T steps).
        image_size: height and width in pixels; other than the checkpoint's resizes its position table.
        normalization: of uint8 input: "scenic" is [-1, 1], "huggingface" what its processors give, [-3, 1].
        pretrained: False builds random weights from `config` (VivitConfig fields) or the size in `model_name`.
        dtype: of the tower's weights; features come out in float32.
        revision, cache_dir, local_files_only: as in Hugging Face's `from_pretrained`.
        feature_cache: folder that keeps a frozen tower's features of clips, for when they come again with the same
            pixels. Random crops, flips and masks hardly ever give the same: a training is to leave them out.
        attn_implementation: transformers' name: "sdpa", "eager", "flash_attention_2", …
        gradient_checkpointing: recompute the tower's layers in the backward pass, to save memory.
        stem: how tubelets become tokens: "tubelet" is the checkpoint's linear projection, "conv" a convolutional stem
            for towers trained from scratch, which learn much faster with it.
        patch_dropout: share of each step's patches that training leaves out, at random; see `PatchDropout`.

    Raises:
        ConfigError: an option that does not exist or contradicts another.
        WeightsError: no such weights here, and no network to fetch them.
    """
    check_options(temporal_pooling, frame_adjust, normalization, feature_rate, output_dim, max_windows)
    if stem not in STEMS:
        raise unknown_name("stem", stem, STEMS)
    if stem == "conv" and pretrained:
        raise ConfigError("pretrained weights come with their own stem", found="stem='conv'", expected="'tubelet'")
    if isinstance(dtype, str):
        dtype = dtype_named(dtype)
    tower = load_vivit(
        model_name,
        pretrained=pretrained,
        config=config,
        image_size=image_size,
        num_frames=num_frames,
        dtype=dtype,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        attn_implementation=attn_implementation,
    )
    if stem == "conv":
        _, height, width = tower.config.tubelet_size
        conv_stem: Any = ConvStem(tower.config.hidden_size, (height, width))  # stands where a linear layer did
        tower.embeddings.patch_embeddings = conv_stem
    if gradient_checkpointing:
        recompute_layers(tower)
    return VivitEncoder(
        tower,
        frozen=frozen,
        output_dim=output_dim,
        temporal_pooling=temporal_pooling,
        frame_adjust=frame_adjust,
        window_overlap=window_overlap,
        max_windows=max_windows,
        feature_rate=feature_rate,
        normalization=normalization,
        feature_cache=feature_cache,
        patch_dropout=patch_dropout,
    )
