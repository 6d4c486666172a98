"""Factorised and causal ViViTs over clips of any length: `VivitEncoder` with another way from frames to steps.

With rotary temporal positions a clip goes through whole (`frame_adjust: whole`): its spatial work is done on the valid
steps of the batch alone, one after another, and no window or seam exists. With learned ones the clip is cut into
windows or sampled as for joint attention; the spatial stage of a factorised encoder, which sees every step alone, is
then computed once for all windows that share a step.

Self-attention and dot product hold all tokens of a whole clip at a time: give them minutes of video in windows. The
factorised encoder's memory is that of a few steps and of one vector for each.
"""

from typing import Any

import torch
from torch import nn

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.feature_rate import at_least_one
from espnet_vivit.frontend.vivit.blocks import by_rows
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.family_config import POOLINGS, FamilyConfig
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.frame_adjust import Finish, Tower, window_steps
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from espnet_vivit.frontend.vivit.stream import VisualStream
from espnet_vivit.frontend.vivit.tower import normalise
from espnet_vivit.units import TUBELET_FRAMES

_STEPS_PER_WINDOW = 16  # what `max_windows` counts, in spatial work on whole clips


class FamilyEncoder(VivitEncoder):
    """`encoder(video)` -> features, `encoder(video, lengths)` -> (features, lengths); made by `vivit_encoder`."""

    poolings = POOLINGS
    frame_adjusts = ("whole", "window", "sample")
    vivit: FamilyTower

    def __init__(
        self, tower: FamilyTower, *, frame_adjust: str, feature_rate: str, patch_dropout: float, **options: Any
    ):
        config = tower.config
        check_rates(config, frame_adjust, feature_rate)
        if patch_dropout and config.pooling == "gaussian":
            fix = "Leave patch_dropout out, or pool by mean"
            raise ConfigError("gaussian pooling needs every place", found=f"patch_dropout={patch_dropout}", fix=fix)
        super().__init__(
            tower,  # pyright: ignore[reportArgumentType]  has what a VivitModel is asked for
            frame_adjust=frame_adjust,
            feature_rate=feature_rate,
            patch_dropout=patch_dropout,
            temporal_pooling=config.pooling,
            **options,
        )
        self.stride = config.stride[0]  # frames from a step to the next
        if self.stride == 1:
            self.upsample = None  # a step for each frame already

    @property
    def repeats_one_vector(self) -> bool:
        """A factorised encoder has a CLS vector for each step."""
        return False

    def stream(self) -> VisualStream:
        """A clip that arrives in pieces: `stream(frames)` -> its new steps, `stream.finish()` -> the rest.

        Raises ConfigError for an encoder that looks ahead.
        """
        return VisualStream(self)

    def compile_tower(self, **options: Any) -> "FamilyEncoder":
        raise ConfigError("the tower of a factorised ViViT is not compiled by itself", fix="Use torch.compile(encoder)")

    def pack_weights(self) -> "FamilyEncoder":
        raise ConfigError("weights are packed for joint attention", found=self.vivit.config.attention, expected="joint")

    def _counts(self, frames: list[int]) -> list[int]:
        return frames if self.stride == 1 else super()._counts(frames)

    def _finish(self, steps: torch.Tensor) -> torch.Tensor:
        if self.training:
            return super()._finish(steps)
        if isinstance(self.projection, nn.Linear):
            steps = by_rows(self.projection, steps.to(self.projection.weight.dtype))
        if self.upsample is None:
            return steps[:, None]
        return by_rows(self.upsample.linear, steps.to(self.upsample.linear.weight.dtype)).unflatten(-1, (2, -1))

    def _steps(self, clips: torch.Tensor, frames: list[int], counts: list[int], finish: Finish) -> torch.Tensor:
        if self.frame_adjust == "sample":
            return super()._steps(clips, frames, counts, finish)
        if self.frame_adjust == "window" and not isinstance(self.vivit, FactorisedEncoder):
            return super()._steps(clips, frames, counts, finish)
        layout, lengths = StepLayout.of(counts, clips.device), torch.tensor(frames, device=clips.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if isinstance(self.vivit, FactorisedEncoder):
                tracks = self._in_space(clips, lengths, layout)
                if self.frame_adjust == "whole":
                    steps = self.vivit.in_time(tracks, layout)
            else:
                steps = cut_steps(clips, lengths, layout, self.vivit.config, self.pixel_affine)
                steps = self.vivit(steps, self.pixel_affine, layout)
        if self.frame_adjust == "window":
            return self._windows_of_steps(layout.to_clips(tracks), counts, finish)
        return layout.to_clips(finish(steps))

    def _in_space(self, clips: torch.Tensor, lengths: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        """The spatial stage over all valid steps (S, tracks, D), in inference some of them at a time."""
        assert isinstance(self.vivit, FactorisedEncoder)
        config, at_once = self.vivit.config, self._at_once(clips.device)
        if at_once is None or self.vivit.training:  # stochastic depth must know which steps are one clip's
            steps = cut_steps(clips, lengths, layout, config, self.pixel_affine)
            return self.vivit.in_space(steps, self.pixel_affine, layout)
        parts, total = [], len(layout.clip_of_step)
        for start in range(0, total, at_once * _STEPS_PER_WINDOW):
            some = slice(start, start + at_once * _STEPS_PER_WINDOW)
            steps = cut_steps(clips, lengths, layout, config, self.pixel_affine, some=some)
            parts.append(self.vivit.in_space(steps, self.pixel_affine, layout.part(some)))
        return torch.cat(parts)

    def _windows_of_steps(self, tracks: torch.Tensor, counts: list[int], finish: Finish) -> torch.Tensor:
        """Finished steps of windows, cut from steps (B, n, 1, D) of which each stands for its two frames."""
        vivit = self.vivit
        assert isinstance(vivit, FactorisedEncoder)

        def encode(windows: torch.Tensor) -> torch.Tensor:  # (W, 1, frames, 1, D)
            steps = windows[:, 0, ::TUBELET_FRAMES]
            layout = StepLayout.of_equal(*steps.shape[:2], device=steps.device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                return layout.to_clips(vivit.in_time(layout.to_steps(steps), layout))

        clips = tracks.repeat_interleave(TUBELET_FRAMES, dim=1)[:, None]  # (B, 1, frames, 1, D)
        frames = [count * TUBELET_FRAMES for count in counts]
        tower = Tower(encode, finish, self.num_frames, self._at_once(tracks.device))
        return window_steps(clips, frames, counts, tower, overlap=self.window_overlap)

    def _encode(self, windows: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        """Windows (W, C, n, H, W'), n frames -> pooled steps (W, n / 2, D); own: (W, n / 2) bool, their valid steps."""
        count = windows.size(2) // TUBELET_FRAMES
        layout = StepLayout.of_equal(windows.size(0), count, device=windows.device)
        if own is not None:
            layout = StepLayout(own.sum(1), count, packed=False)
        steps = windows.unflatten(2, (count, TUBELET_FRAMES)).transpose(1, 2).flatten(0, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return layout.to_clips(self.vivit(steps, self.pixel_affine, layout))

    def _forward_in_graph(self, clips: torch.Tensor, frames: torch.Tensor, *, all_of_them: bool):
        if self.frame_adjust != "whole":
            return super()._forward_in_graph(clips, frames, all_of_them=all_of_them)
        total = clips.size(2)
        if self.stride == 1:
            counts, size = frames, total
        elif self.upsample is None:
            counts, size = (frames // TUBELET_FRAMES).clamp(min=1), at_least_one(total // TUBELET_FRAMES)
        else:
            counts, size = (frames + 1) // TUBELET_FRAMES, (total + 1) // TUBELET_FRAMES
        layout = StepLayout(counts, size, packed=False)
        steps = cut_steps(clips, frames, layout, self.vivit.config, self.pixel_affine)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            steps = self.vivit(steps, self.pixel_affine, layout)
        features = layout.to_clips(self._finish(steps)).flatten(1, 2)
        return self._close_graph(features, frames, total, all_of_them=all_of_them)


def cut_steps(
    clips: torch.Tensor,
    lengths: torch.Tensor,
    layout: StepLayout,
    config: FamilyConfig,
    pixel_affine: tuple[float, float],
    *,
    some: slice = slice(None),
) -> torch.Tensor:
    """The frames of the steps in `layout`, or of `some` of them: clips (B, C, T, H, W) -> (S, C, frames, H, W).

    Step k ends with frame `stride * (k + 1) - 1`; behind the clip's end its last frame is repeated. Tubelets longer
    than their stride begin before the clip, where frames of zeros (after normalisation) stand.
    """
    size, stride = config.tubelet_size[0], config.stride[0]
    clip, step = layout.clip_of_step[some], layout.number_of_step[some]
    frames = step[:, None] * stride + torch.arange(stride - size, stride, device=clips.device)  # (S, size)
    index = torch.minimum(frames, lengths[clip][:, None] - 1)
    found = clips.transpose(1, 2)[clip[:, None], index.clamp(min=0)].transpose(1, 2)
    if size == stride:
        return found
    return normalise(found, pixel_affine).masked_fill((frames < 0)[:, None, :, None, None], 0)


def default_adjust(config: FamilyConfig) -> str:
    """The `frame_adjust` of a tower unless told otherwise."""
    return "whole" if config.takes_whole_clips else "sample"


def check_rates(config: FamilyConfig, frame_adjust: str, feature_rate: str) -> None:
    """Raise `ConfigError` where temporal positions, frame_adjust and feature_rate contradict each other."""
    if config.takes_whole_clips != (frame_adjust == "whole"):
        raise ConfigError(
            "frame_adjust does not fit the temporal positions",
            found=f"frame_adjust={frame_adjust} with temporal_positions={config.temporal_positions}",
            expected="whole" if config.takes_whole_clips else "window or sample",
            fix="Leave frame_adjust out" if config.takes_whole_clips else "Set frame_adjust: window",
        )
    if config.stride[0] == 1 and feature_rate != "frame":
        raise ConfigError(
            "tubelets of one frame give a step for each frame",
            found=f"feature_rate={feature_rate}",
            expected="frame",
            fix="Set feature_rate: frame, or tubelets of two frames",
        )
