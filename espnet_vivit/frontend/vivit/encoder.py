"""ViViT over clips of any length: what happens between a padded batch of video and its features.

In: video `(B, T, H, W)` uint8 or normalised float, and each clip's frames. Out: `(B, T', D)` and T'. Around the tower's
own pass (`vivit_tower`) stand the checks, the cutting into windows or the sampling (`frame_adjust`), the cache of a
frozen tower, the projection and the step from 12.5 to 25 Hz.
"""

import warnings
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import VivitModel

from espnet_vivit.base.option_types import check_values
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.feature_rate import at_least_one, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import check_video, zero_padding
from espnet_vivit.frontend.presets import VisualPreset
from espnet_vivit.frontend.vivit.embedding import NORMALIZATIONS, PatchDropout
from espnet_vivit.frontend.vivit.feature_cache import FeatureCache, Fingerprint
from espnet_vivit.frontend.vivit.frame_adjust import (
    FRAME_ADJUSTS,
    Finish,
    RepeatUpsample,
    Tower,
    check_overlap,
    sampled_steps,
    window_steps,
)
from espnet_vivit.frontend.vivit.frame_adjust_graph import PaddedClips, has_tail, sampled_in_graph, windowed_in_graph
from espnet_vivit.frontend.vivit.packed_layers import PackedLayers, check_packable
from espnet_vivit.frontend.vivit.tower import POOLINGS, check_picture_size, normalise, tower_steps
from espnet_vivit.frontend.vivit.weights import pair, rename_v4_keys
from espnet_vivit.units import TUBELET_FRAMES, tubelet_steps

# In inference, where nothing else bounds the memory of a ten-minute clip. On a CPU more would be slower: what a pass
# holds leaves the cache (8 windows take 3 to 9 % longer than 4, measured with ViViT-Ti and a smaller one).
_WINDOWS_PER_PASS, _WINDOWS_PER_PASS_ON_CPU = 8, 4


class VivitEncoder(nn.Module):
    """A `VivitModel` that takes clips of any length; made by `vivit_encoder`, whose docstring describes the options."""

    poolings: tuple[str, ...] = POOLINGS
    frame_adjusts: tuple[str, ...] = FRAME_ADJUSTS

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
        patch_dropout: float = 0.0,
    ):
        super().__init__()
        for kind, name, choices in (
            ("temporal_pooling", temporal_pooling, self.poolings),
            ("frame_adjust", frame_adjust, self.frame_adjusts),
        ):
            if name not in choices:
                raise unknown_name(kind, name, choices)
        check_options(normalization, feature_rate, output_dim, max_windows)
        self.num_frames = vivit.config.num_frames
        if frame_adjust == "window":
            check_overlap(self.num_frames, window_overlap)
        if frozen and patch_dropout:
            raise ConfigError(
                "a frozen tower drops nothing", found=f"patch_dropout={patch_dropout}", expected="0", fix="Leave it out"
            )
        dropout: Any = PatchDropout(patch_dropout)  # beside the library's own layers
        vivit.embeddings.patch_dropout = dropout
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
        self._tower_steps = tower_steps
        self._packed: PackedLayers | None = None
        self._warned_of_thinning = False
        self._weights_fingerprint = Fingerprint()
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
        """All that decides a clip's features."""
        device = next(self.vivit.parameters()).device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        frames_to_steps = (self.temporal_pooling, self.frame_adjust, self.window_overlap, self.pixel_affine)
        return f"{self._weights_fingerprint(self.vivit)} {self.vivit.config.to_dict()} {frames_to_steps} {autocast}"

    def _load_from_state_dict(self, state_dict, prefix, *args):
        rename_v4_keys(state_dict, prefix + "vivit.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def preset(self) -> VisualPreset:
        """The crop that the preprocessing must deliver."""
        scale, shift = self.pixel_affine
        white = scale * 255
        return VisualPreset(
            crop=pair(self.vivit.config.image_size), crop_ratio=None, mean=-shift / white, std=1 / white
        )

    @property
    def repeats_one_vector(self) -> bool:
        """Whether all steps of a window are the same."""
        return self.temporal_pooling == "cls"

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

    def compile_tower(self, **options: Any) -> "VivitEncoder":
        """Let `torch.compile(..., fullgraph=True, **options)` make one kernel graph of each pass through the tower.

        What surrounds it stays as it is, so that still only windows of the clips themselves are computed: for ragged
        batches cheaper than compiling the whole encoder, whose graph computes padding too. After `pack_weights`, the
        graphs of inference on a CPU use the packed weights.
        """
        self._tower_steps = torch.compile(tower_steps, fullgraph=True, **options)
        return self

    def pack_weights(self) -> "VivitEncoder":
        """Let inference on the CPU use a second copy of the tower's weights, in the order that oneDNN reads.

        The same features faster, in float32 and bfloat16, for twice the memory of the tower's weights. Training and
        graphs of the whole encoder (`torch.compile(encoder)`, export) go on as before. Weights that change are packed
        anew, unless they are changed behind autograd's back (`parameter.data.add_`): then call this again. Hooks on
        the library's layers do not see passes with packed weights.

        Raises ConfigError where the tower or the machine is not fit for it.
        """
        check_packable(self.vivit)
        self._packed = PackedLayers()
        return self

    def forward(
        self, video: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
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
        check_picture_size(clips, pair(self.vivit.config.image_size))
        if torch.compiler.is_compiling():
            return self._forward_in_graph(clips, clip_lengths, all_of_them=lengths is None)
        frames = clip_lengths.tolist()
        out_lengths = self.output_lengths(clip_lengths)
        longest = int(out_lengths.max())
        features = self._features(clips, frames)[:, :longest]
        if self.upsample is not None and any(n % TUBELET_FRAMES and n < longest for n in frames):
            features = zero_padding(features, out_lengths)  # the second half of an odd clip's last step
        if features.dtype != torch.float32 and not torch.is_autocast_enabled(features.device.type):
            features = features.float()
        return features if lengths is None else (features, out_lengths)

    def _forward_in_graph(self, clips: torch.Tensor, frames: torch.Tensor, *, all_of_them: bool):
        """What `torch.compile` and `torch.export` trace instead of `forward`'s own way: see `frame_adjust_graph`.

        T' is that of the padded batch, not of its longest clip.
        """
        total = clips.size(2)
        if self.upsample is None:
            counts, size = steps_at_rate(frames, "tubelet"), at_least_one(total // TUBELET_FRAMES)
        else:
            counts, size = (frames + 1) // TUBELET_FRAMES, (total + 1) // TUBELET_FRAMES
        if self.frame_adjust == "window":
            windows = {"num_frames": self.num_frames, "overlap": self.window_overlap}
            full = all_of_them and torch.compiler.is_dynamo_compiling() and not has_tail(size, **windows)
            batch = PaddedClips(clips, frames, counts, size)
            steps = windowed_in_graph(batch, self._encode, **windows, tail=not full)
        else:
            batch = PaddedClips(normalise(clips, self.pixel_affine), frames, counts, size)
            steps = sampled_in_graph(batch, self._encode, num_frames=self.num_frames)
        features = self._finish(steps.flatten(0, 1)).unflatten(0, (-1, size)).flatten(1, 2)  # (B, S or 2S, D)
        return self._close_graph(features, frames, total, all_of_them=all_of_them)

    def _close_graph(self, features: torch.Tensor, frames: torch.Tensor, total: int, *, all_of_them: bool):
        """Features of padded clips of `total` frames, cut to their length law, and their lengths where asked for."""
        out_lengths = self.output_lengths(frames)
        if self.upsample is not None:  # as an index: of a slice, its length would not be known to be `total`
            features = features[:, torch.arange(total, device=features.device)]
        features = zero_padding(features, out_lengths)
        if not torch.is_autocast_enabled(features.device.type):
            features = features.float()
        return features if all_of_them else (features, out_lengths)

    def _features(self, clips: torch.Tensor, frames: list[int]) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, S, D), or (B, 2S, D) at 25 Hz; zero beyond each clip's steps."""
        counts = self._counts(frames)
        if self.feature_cache is None:
            steps = self._steps(clips, frames, counts, self._finish)
        else:  # it keeps what comes before the layers that train
            steps = self.feature_cache.lookup(clips, frames, counts, partial(self._steps, finish=nn.Identity()))
            steps = nn.utils.rnn.pad_sequence([self._finish(one) for one in steps], batch_first=True)
        return steps.flatten(1, 2)  # (B, S, 1 or 2, D)

    def _counts(self, frames: list[int]) -> list[int]:
        """Tubelet steps of clips of `frames` frames."""
        return [(n + 1) // TUBELET_FRAMES if self.upsample is not None else tubelet_steps(n) for n in frames]

    def _finish(self, steps: torch.Tensor) -> torch.Tensor:
        """The layers behind the tower: (S, hidden) -> (S, 1, D), or (S, 2, D) at 25 Hz."""
        steps = self.projection(steps.to(_dtype_of(self.projection, steps)))
        if self.upsample is None:
            return steps[:, None]
        return self.upsample(steps.to(_dtype_of(self.upsample, steps)))

    def _steps(self, clips: torch.Tensor, frames: list[int], counts: list[int], finish: Finish) -> torch.Tensor:
        """Finished steps (B, S, ...)."""
        tower = Tower(self._encode, finish, self.num_frames, self._at_once(clips.device))
        if self.frame_adjust == "window":
            return window_steps(clips, frames, counts, tower, overlap=self.window_overlap)
        self._warn_of_thinning(max(frames))
        return sampled_steps(clips, frames, counts, tower, pixel_affine=self.pixel_affine)

    def _at_once(self, device: torch.device) -> int | None:
        """Windows in one pass at most; None: no bound."""
        trains = torch.is_grad_enabled() and not self.frozen
        bound = _WINDOWS_PER_PASS_ON_CPU if device.type == "cpu" else _WINDOWS_PER_PASS
        return self.max_windows or (None if trains else bound)

    def _encode(self, windows: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        """Windows (W, C, n, H, W'), n frames -> pooled steps (W, n / 2, hidden); `own` as in `tower_tokens`."""
        packed = None if torch.compiler.is_compiling() else self._packed  # no graph can see that weights have changed
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if packed is not None:
                packed.refresh(self.vivit)
            return self._tower_steps(self.vivit, windows, self.pixel_affine, self.temporal_pooling, own, packed)

    def _warn_of_thinning(self, longest: int) -> None:
        if longest > self.num_frames and not self._warned_of_thinning:
            self._warned_of_thinning = True
            warnings.warn(
                f'frame_adjust="sample" keeps {self.num_frames} of {longest} frames of a clip; '
                'frame_adjust="window" keeps them all',
                stacklevel=2,
            )


def _dtype_of(module: nn.Module, default: torch.Tensor) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), default.dtype)


def check_options(normalization: str, feature_rate: str, output_dim: int | None, max_windows: int | None) -> None:
    """Raise `ConfigError` for a name or a number that no encoder takes."""
    if normalization not in NORMALIZATIONS:
        raise unknown_name("normalization", normalization, NORMALIZATIONS)
    check_feature_rate(feature_rate)
    check_values("vivit", {"output_dim": output_dim, "max_windows": max_windows}, where="{name} is too small")
