"""BATCH → FEATURES: a Video Vision Transformer over mouth crops of any length.

In: video `(B, T, H, W)` uint8 or normalised float, and each utterance's length in frames. Out: `(B, T', D)` and T'.
Wraps Hugging Face's `VivitModel` (Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021; weights of
google-research/scenic). What differs from calling the library: clips of any length (windows, or sampling to the 32
frames it expects), each utterance's own length, gray input, any picture size, and no step that is only padding is
computed.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import nn
from transformers import VivitModel

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.conv_stem import ConvStem
from espnet_vivit.frontend.feature_cache import FeatureCache, fingerprint_of
from espnet_vivit.frontend.feature_rate import check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import check_video, zero_padding
from espnet_vivit.frontend.presets import VisualPreset
from espnet_vivit.frontend.sampling import RepeatUpsample, interpolate_frames, pick_frames, resample_steps
from espnet_vivit.frontend.tubelets import NORMALIZATIONS
from espnet_vivit.frontend.vivit_tower import POOLINGS, check_picture_size, normalise, pool_tokens, tower_tokens
from espnet_vivit.frontend.vivit_weights import dtype_named, load_vivit, rename_v4_keys
from espnet_vivit.frontend.windows import check_overlap, plan_windows
from espnet_vivit.units import TUBELET_FRAMES, tubelet_steps

FRAME_ADJUSTS = ("sample", "window")
STEMS = ("tubelet", "conv")
_WINDOWS_PER_PASS = 8  # in inference, where nothing else bounds the memory of a ten-minute clip

Finish = Callable[[torch.Tensor], torch.Tensor]  # pooled steps (S, hidden) -> what is kept of them, (S, ...)


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
) -> "VivitEncoder":
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
        max_windows: windows computed in one pass; None: 8 in inference, no bound in training.
        feature_rate: "tubelet" (12.5 Hz, max(1, T // 2) steps) or "frame" (25 Hz, T steps).
        image_size: height and width in pixels; other than the checkpoint's resizes its position table.
        normalization: of uint8 input: "scenic" is [-1, 1], "huggingface" what its processors give, [-3, 1].
        pretrained: False builds random weights from `config` (VivitConfig fields) or the size in `model_name`.
        dtype: of the tower's weights; features come out in float32.
        revision, cache_dir, local_files_only: as in Hugging Face's `from_pretrained`.
        feature_cache: folder that keeps a frozen tower's features between epochs.
        attn_implementation: transformers' name: "sdpa", "eager", "flash_attention_2", …
        gradient_checkpointing: recompute the tower's layers in the backward pass, to save memory.
        stem: how tubelets become tokens: "tubelet" is the checkpoint's linear projection, "conv" a convolutional stem
            for towers trained from scratch, which learn much faster with it.

    Raises:
        ConfigError: an option that does not exist or contradicts another.
        WeightsError: no such weights here, and no network to fetch them.
    """
    _check_options(temporal_pooling, frame_adjust, normalization, feature_rate, output_dim, max_windows)
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
        tower.embeddings.patch_embeddings = ConvStem(tower.config.hidden_size, tuple(tower.config.tubelet_size[1:]))
    if gradient_checkpointing:
        tower.gradient_checkpointing_enable()
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
    )


class VivitEncoder(nn.Module):
    """A `VivitModel` that takes clips of any length; made by `vivit_encoder`, whose docstring describes the options."""

    def __init__(
        self,
        vivit: VivitModel,
        *,
        frozen: bool = False,
        output_dim: int | None = None,
        temporal_pooling: str = "mean",
        frame_adjust: str = "sample",
        window_overlap: int = 8,
        max_windows: int | None = None,
        feature_rate: str = "tubelet",
        normalization: str = "scenic",
        feature_cache: str | None = None,
    ):
        super().__init__()
        _check_options(temporal_pooling, frame_adjust, normalization, feature_rate, output_dim, max_windows)
        self.num_frames = vivit.config.num_frames
        if frame_adjust == "window":
            check_overlap(self.num_frames, window_overlap)
        self.vivit = vivit
        self.frozen = frozen
        self.temporal_pooling = temporal_pooling
        self.frame_adjust = frame_adjust
        self.window_overlap = window_overlap
        self.max_windows = max_windows
        self.feature_rate = feature_rate
        self.pixel_affine = NORMALIZATIONS[normalization]
        hidden = vivit.config.hidden_size
        self.projection = nn.Identity() if output_dim is None else nn.Linear(hidden, output_dim)
        self._output_size = output_dim or hidden
        self.upsample = RepeatUpsample(self._output_size) if feature_rate == "frame" else None
        self._warned_of_thinning = False
        self._fingerprint = (None, "")  # the state of the tower's tensors, and their hash
        self.feature_cache = self._open_cache(feature_cache)
        if frozen:
            vivit.requires_grad_(False)
            vivit.eval()

    def _open_cache(self, folder: str | None) -> FeatureCache | None:
        if folder is None:
            return None
        if not self.frozen:
            raise ConfigError(
                "feature_cache keeps features that must not change, but the tower trains",
                found="frozen=False",
                expected="frozen=True",
                fix="Set frozen: true, or leave feature_cache out",
            )
        return FeatureCache(folder, self._tower_fingerprint)

    def _tower_fingerprint(self) -> str:
        """What decides a clip's features, as a hash; computed again only when a tensor of the tower has changed."""
        values = self.vivit.state_dict(keep_vars=True).values()
        state = [(value.data_ptr(), value._version, value.dtype) for value in values]
        if self._fingerprint[0] != state:
            self._fingerprint = (state, fingerprint_of(self.vivit))
        device = next(self.vivit.parameters()).device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        frames_to_steps = (self.temporal_pooling, self.frame_adjust, self.window_overlap, self.pixel_affine)
        return f"{self._fingerprint[1]} {self.vivit.config.to_dict()} {frames_to_steps} {autocast}"

    def _load_from_state_dict(self, state_dict, prefix, *args):
        rename_v4_keys(state_dict, prefix + "vivit.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def preset(self) -> VisualPreset:
        """The crop that the preprocessing must deliver."""
        scale, shift = self.pixel_affine
        white = scale * 255
        return VisualPreset(crop=self.vivit.config.image_size, crop_ratio=None, mean=-shift / white, std=1 / white)

    def output_size(self) -> int:
        return self._output_size

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        """Feature steps of clips of `lengths` frames: T at 25 Hz, max(1, T // 2) at 12.5 Hz."""
        return steps_at_rate(lengths, self.feature_rate)

    def train(self, mode: bool = True) -> "VivitEncoder":
        super().train(mode)
        if self.frozen:
            self.vivit.eval()
        return self

    def forward(self, video: torch.Tensor, lengths: torch.Tensor | None = None):
        """Features of a batch of clips.

        Args:
            video: (B, T, H, W) gray, or (B, C, T, H, W) with C = 1 or 3; uint8 pixels, or float normalised already.
            lengths: (B,) frames of each clip; None: all of them T, and the features alone are returned.

        Returns:
            features (B, T', D) float32, zero beyond each clip's end, and their lengths (B,).

        Raises:
            InputError: wrong rank, channels, size or lengths, NaN or infinity; TooShortError: no frames at all.
        """
        clips, clip_lengths = check_video(video, lengths, channels=(1, self.vivit.config.num_channels))
        check_picture_size(clips, self.vivit.config)
        frames = clip_lengths.tolist()
        out_lengths = self.output_lengths(clip_lengths)
        longest = int(out_lengths.max())
        features = self._features(clips, frames)[:, :longest]
        if self.upsample is not None and any(n % TUBELET_FRAMES and n < longest for n in frames):
            features = zero_padding(features, out_lengths)  # the second half of an odd clip's last step
        if features.dtype != torch.float32 and not torch.is_autocast_enabled(features.device.type):
            features = features.float()
        return features if lengths is None else (features, out_lengths)

    def _features(self, clips: torch.Tensor, frames: list[int]) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, S, D), or (B, 2S, D) at 25 Hz; zero beyond each clip's steps."""
        counts = [(n + 1) // TUBELET_FRAMES if self.upsample is not None else tubelet_steps(n) for n in frames]
        compute = self._window_steps if self.frame_adjust == "window" else self._sampled_steps
        if self.feature_cache is None:
            steps = compute(clips, frames, counts, self._finish)
        else:  # it keeps what comes before the layers that train
            keep = nn.Identity()
            steps = self.feature_cache.lookup(clips, frames, counts, lambda *some: compute(*some, keep))
            steps = nn.utils.rnn.pad_sequence([self._finish(one) for one in steps], batch_first=True)
        return steps.flatten(1, 2)  # (B, S, 1 or 2, D)

    def _finish(self, steps: torch.Tensor) -> torch.Tensor:
        """The layers behind the tower: (S, hidden) -> (S, 1, D), or (S, 2, D) at 25 Hz."""
        steps = self.projection(steps.to(_dtype_of(self.projection, steps)))
        if self.upsample is None:
            return steps[:, None]
        return self.upsample(steps.to(_dtype_of(self.upsample, steps)))

    def _window_steps(self, clips, frames, counts, finish: Finish) -> torch.Tensor:
        """Finished steps (B, S, ...). Each is written where it belongs as soon as its window is done, so that beyond
        the result itself only the windows of one pass need memory."""
        groups = defaultdict(list)  # window size in frames -> (clip, window): equal sizes share a pass
        for b, count in enumerate(counts):
            plan = plan_windows(count * TUBELET_FRAMES, num_frames=self.num_frames, overlap=self.window_overlap)
            for window in plan:
                groups[window.frames].append((b, window))
        longest, result = max(counts), None
        for some in (some for members in groups.values() for some in self._passes(members)):
            pooled = self._encode(torch.stack([_cut(clips[b], w.start, w.frames, frames[b]) for b, w in some]))
            offsets = [w.start // TUBELET_FRAMES for _, w in some]
            spans = [slice(w.first_step - o, w.last_step - o) for (_, w), o in zip(some, offsets, strict=True)]
            owned = finish(torch.cat([steps[span] for steps, span in zip(pooled, spans, strict=True)]))
            rows = [torch.arange(b * longest + w.first_step, b * longest + w.last_step) for b, w in some]
            if result is None:
                result = owned.new_zeros(len(counts) * longest, *owned.shape[1:])
            result = result.index_copy_(0, torch.cat(rows).to(owned.device), owned)
        return result.unflatten(0, (len(counts), longest))

    def _sampled_steps(self, clips, frames, counts, finish: Finish) -> torch.Tensor:
        """Finished steps (B, S, ...)."""
        self._warn_of_thinning(max(frames))
        steps = []
        for members in self._passes(list(range(len(frames)))):
            batch = [self._sample(clips[b, :, : frames[b]]) for b in members]
            if any(clip.is_floating_point() for clip in batch):  # one batch, one dtype
                batch = [normalise(clip, self.pixel_affine) for clip in batch]
            encoded = self._encode(torch.stack(batch))
            steps += [finish(resample_steps(pooled, counts[b])) for b, pooled in zip(members, encoded, strict=True)]
        return nn.utils.rnn.pad_sequence(steps, batch_first=True)

    def _passes(self, members: list) -> list[list]:
        trains = torch.is_grad_enabled() and not self.frozen
        at_once = self.max_windows or (max(1, len(members)) if trains else _WINDOWS_PER_PASS)
        return [members[i : i + at_once] for i in range(0, len(members), at_once)]

    def _sample(self, clip: torch.Tensor) -> torch.Tensor:
        """A clip (C, T, H, W) brought to `num_frames`: picked uniformly if longer, interpolated linearly if shorter."""
        if clip.size(1) >= self.num_frames:
            return pick_frames(clip, self.num_frames)
        clip = normalise(clip, self.pixel_affine)  # between two grays there is no uint8
        return interpolate_frames(clip, self.num_frames)

    def _encode(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (W, C, n, H, W'), n frames -> pooled steps (W, n / 2, hidden)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = tower_tokens(self.vivit, windows, self.pixel_affine)
            return pool_tokens(tokens, self.vivit.config, self.temporal_pooling)

    def _warn_of_thinning(self, longest: int) -> None:
        if longest > self.num_frames and not self._warned_of_thinning:
            self._warned_of_thinning = True
            warnings.warn(
                f'frame_adjust="sample" keeps {self.num_frames} of {longest} frames of a clip; '
                'frame_adjust="window" keeps them all',
                stacklevel=2,
            )


def _cut(clip: torch.Tensor, start: int, frames: int, length: int) -> torch.Tensor:
    """`frames` frames of (C, T, H, W) from `start`; beyond the clip's own end its last frame is repeated."""
    if start + frames <= length:
        return clip[:, start : start + frames]
    index = torch.arange(start, start + frames, device=clip.device).clamp(max=length - 1)
    return clip[:, index]


def _dtype_of(module: nn.Module, default: torch.Tensor) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), default.dtype)


def _check_options(temporal_pooling, frame_adjust, normalization, feature_rate, output_dim, max_windows) -> None:
    for kind, name, choices in (
        ("temporal_pooling", temporal_pooling, POOLINGS),
        ("frame_adjust", frame_adjust, FRAME_ADJUSTS),
        ("normalization", normalization, NORMALIZATIONS),
    ):
        if name not in choices:
            raise unknown_name(kind, name, choices)
    check_feature_rate(feature_rate)
    for name, value in (("output_dim", output_dim), ("max_windows", max_windows)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is too small", found=value, expected="1 or more, or None")
