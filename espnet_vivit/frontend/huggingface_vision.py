"""Vision towers of the Hugging Face hub behind our contracts: pictures frame by frame, videos in windows.

In: gray mouth clips (B, T, S, S), uint8 or float in [-1, 1], and each clip's frames. Out: (B, T', D) and T'.

A tower of pictures (ViT, CLIP, SigLIP, DINOv2, DINOv3) sees each valid frame alone: a step a frame, 25 Hz. A tower of
videos (VideoMAE, TimeSformer, V-JEPA 2, VideoPrism) sees windows, cut and joined as `vivit_encoder` does it; behind a
clip's end its last frame is repeated where the tower knows full windows only. The layers are transformers' own.
"""

from typing import Any

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.hub.gray_tower import GRAY, fit_tower, frames_per_token, side
from espnet_vivit.frontend.hub.stored import Source, build_tower, check_source, keep_layers, read_tower
from espnet_vivit.frontend.hub.vision_kinds import KINDS
from espnet_vivit.frontend.masking import check_video, length_mask, pack_valid, unpack_valid, zero_padding
from espnet_vivit.frontend.presets import VisualPreset, vivit_preset
from espnet_vivit.frontend.vivit.feature_cache import FeatureCache, Fingerprint
from espnet_vivit.frontend.vivit.frame_adjust import RepeatUpsample, Tower, check_overlap, window_steps
from espnet_vivit.frontend.vivit.tower import check_picture_size, normalise
from espnet_vivit.units import TUBELET_FRAMES

_AFFINE = (1 / (255 * GRAY[1]), -GRAY[0] / GRAY[1])  # uint8 to [-1, 1]
_PICTURES_PER_PASS, _WINDOWS_PER_PASS = 64, 4  # in inference, where nothing else bounds the memory of a long clip


class HuggingFaceVision(nn.Module):
    """`forward(video (B, T, S, S), lengths (B,)) -> (features (B, T', D), lengths (B,))` of a tower of the hub.

    Args:
        model_name: hub id or local folder.
        image_size: side of the pictures in pixels; the tower's position tables are resized to it (default: its own).
        output_dim: width of the features; None is the tower's width.
        frozen: no gradients reach the tower, which stays in evaluation mode; the layers behind it still train.
        layer: number of layers that are kept, 1 is the first alone; -1 keeps all of them and the last norm, -2 leaves
            out the last layer. Of VideoPrism, its temporal layers.
        pooling: how the tokens of a step become one vector: "mean" of its places, or the tower's own pooling of a
            picture: "cls" (ViT, CLIP, DINOv2, DINOv3) or "attention" (SigLIP).
        num_frames: frames of one window of a tower of videos (default: its own).
        window_overlap: frames shared by neighboring windows, an even number (default: about a quarter of a window).
        feature_rate: "frame" (25 Hz) or "tubelet" (12.5 Hz).
        pretrained: False builds random weights from `config`.
        config: `model_type` and fields of the library's configuration.
        revision, cache_dir, local_files_only: as in Hugging Face's `from_pretrained`.
        feature_cache: folder for the features of a frozen tower, which are read again for clips with equal pixels.

    Raises:
        ConfigError: an option that does not exist, another kind of tower, or sizes that do not fit it.
        WeightsError: weights that are not on this machine and cannot be downloaded, or a gated model without a token.
    """

    def __init__(
        self,
        model_name: str | None = None,
        *,
        image_size: int | None = None,
        output_dim: int | None = None,
        frozen: bool = False,
        layer: int = -1,
        pooling: str = "mean",
        num_frames: int | None = None,
        window_overlap: int | None = None,
        feature_rate: str = "frame",
        pretrained: bool = True,
        config: dict | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
        feature_cache: str | None = None,
    ):
        super().__init__()
        self.feature_rate = check_feature_rate(feature_rate)
        check_source(model_name, pretrained, config)
        if pretrained:
            stored = read_tower(str(model_name), KINDS, Source(revision, cache_dir, local_files_only))
        else:
            stored = build_tower(config or {}, KINDS)
        self.kind, self.pooling, self.frozen = KINDS[stored.kind], pooling, frozen
        self._check_options(stored.kind, num_frames, window_overlap)
        sizes = {"image_size": image_size, "num_frames": num_frames}
        self.tower: Any = fit_tower(stored, self.kind, pooling=pooling, **sizes)
        keep_layers(self.tower, self.kind.blocks, self.kind.norm, layer)
        size_name, frames_name, _ = self.kind.sizes
        self.image_size = side(getattr(self.tower.config, size_name))
        self.length = frames_per_token(self.tower, self.kind)  # frames of a step
        if self.kind.video:
            self.num_frames = getattr(self.tower.config, frames_name)
            quarter = self.num_frames // 4 // TUBELET_FRAMES * TUBELET_FRAMES
            self.window_overlap = quarter if window_overlap is None else window_overlap
            check_overlap(self.num_frames, self.window_overlap)
        width = self.tower.config.hidden_size
        self.projection = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self._output_size = output_dim or width
        doubles = self.length == TUBELET_FRAMES and feature_rate == "frame"
        self.upsample = RepeatUpsample(self._output_size) if doubles else None
        if frozen:
            self.tower.requires_grad_(False).eval()
        self._weights_fingerprint = Fingerprint()
        self.feature_cache = None if feature_cache is None else self._open_cache(feature_cache)

    def _check_options(self, name: str, num_frames: int | None, window_overlap: int | None) -> None:
        if self.pooling not in self.kind.poolings:
            raise unknown_name(f"pooling of {name}", self.pooling, self.kind.poolings)
        if not self.kind.video and (num_frames, window_overlap) != (None, None):
            found = f"num_frames={num_frames}, window_overlap={window_overlap}"
            raise ConfigError(f"{name} sees each picture alone, without windows", found=found, fix="Leave them out")

    def _open_cache(self, folder: str) -> FeatureCache:
        if not self.frozen:
            fix = "Set frozen: true, or leave feature_cache out"
            raise ConfigError("feature_cache keeps what must not change", found="frozen=False", fix=fix)
        return FeatureCache(folder, self._tower_fingerprint)

    def _tower_fingerprint(self) -> str:
        """All that decides a clip's features."""
        device = next(self.tower.parameters()).device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        steps = (self.pooling, self.window_overlap if self.kind.video else None)
        return f"{self._weights_fingerprint(self.tower)} {self.tower.config.to_dict()} {steps} {autocast}"

    @property
    def preset(self) -> VisualPreset:
        """The crop that the preprocessing must deliver."""
        return vivit_preset(self.image_size)

    def output_size(self) -> int:
        return self._output_size

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of clips with `lengths` (B,) frames: T at 25 Hz, max(1, T // 2) at 12.5 Hz."""
        return steps_at_rate(lengths, self.feature_rate)

    def train(self, mode: bool = True) -> "HuggingFaceVision":
        super().train(mode)
        if self.frozen:
            self.tower.eval()
        return self

    def forward(self, video: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        clips, lengths = check_video(video, lengths)
        check_picture_size(clips, (self.image_size, self.image_size))
        if torch.compiler.is_compiling():
            return self._finish(self._in_graph(clips), lengths)
        frames = lengths.tolist()
        # of a video's frames, steps are counted by two, however many steps these are
        counts = [self._count(n) for n in frames] if self.kind.video else frames
        if self.feature_cache is None:
            return self._finish(self._steps(clips, frames, counts), lengths)
        known = self.feature_cache.lookup(clips, frames, counts, self._steps)
        return self._finish(nn.utils.rnn.pad_sequence(known, batch_first=True), lengths)

    def _count(self, frames: int) -> int:
        odd_is_dropped = self.length == TUBELET_FRAMES and self.feature_rate == "tubelet"
        return max(1, frames // TUBELET_FRAMES) if odd_is_dropped else (frames + 1) // TUBELET_FRAMES

    def _steps(self, clips: Tensor, frames: list[int], counts: list[int]) -> Tensor:
        """(B, 1, T, S, S) -> (B, S, hidden), or two steps side by side (B, S, 2 * hidden); zero beyond each clip's."""
        bounded = self.frozen or not torch.is_grad_enabled()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.kind.video:
                at_once = _WINDOWS_PER_PASS if bounded else None
                tower = Tower(self._encode_windows, nn.Identity(), self.num_frames, at_once)
                return window_steps(clips, frames, counts, tower, overlap=self.window_overlap)
            mask = length_mask(torch.tensor(frames, device=clips.device), max(frames))
            pictures = pack_valid(clips.transpose(1, 2)[:, : max(frames)], mask)  # (N, 1, S, S)
            passes = pictures.split(_PICTURES_PER_PASS) if bounded else [pictures]
            return unpack_valid(torch.cat([self._encode_pictures(some) for some in passes]), mask)

    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        """(N, 1, S, S) -> (N, hidden)."""
        found = self._answer(pictures)
        if self.pooling == "mean":
            return found.last_hidden_state[:, self._first_tokens() :].mean(1)
        pooled = getattr(found, "pooler_output", None)
        return found.last_hidden_state[:, 0] if pooled is None else pooled

    def _encode_windows(self, windows: Tensor) -> Tensor:
        """(W, 1, n, S, S) -> (W, n / 2, hidden), or (W, n / 2, 2 * hidden) of a tower with a step for each frame."""
        frames = windows.size(2)
        if not self.kind.any_length and frames < self.num_frames:
            rest = windows[:, :, -1:].expand(-1, -1, self.num_frames - frames, -1, -1)
            windows = torch.cat([windows, rest], dim=2)
        tokens = self._answer(windows.transpose(1, 2)).last_hidden_state[:, self._first_tokens() :]
        steps = windows.size(2) // self.length
        grid = tokens.unflatten(1, (steps, -1) if self.kind.fastest == "s" else (-1, steps))
        pooled = grid.mean(2 if self.kind.fastest == "s" else 1)[:, : frames // self.length]
        return pooled.unflatten(1, (frames // TUBELET_FRAMES, -1)).flatten(2)

    def _answer(self, pictures: Tensor) -> Any:
        """What the library's tower says to uint8 or normalized pictures (N, 1, S, S) or windows (N, n, 1, S, S)."""
        return self.tower(normalise(pictures, _AFFINE).to(self.tower.dtype), **self.kind.call)

    def _first_tokens(self) -> int:
        return self.kind.first + getattr(self.tower.config, "num_register_tokens", 0)

    def _in_graph(self, clips: Tensor) -> Tensor:
        """Every frame of a padded batch, the padded ones too: where a graph is traced, lengths have no values."""
        self.check_exportable()
        steps = self._encode_pictures(clips.transpose(1, 2).flatten(0, 1))
        return steps.unflatten(0, (clips.size(0), clips.size(2)))

    def check_exportable(self) -> None:
        """Raise ConfigError for a tower whose windows depend on the values of lengths, which no graph knows."""
        if self.kind.video:
            raise ConfigError(
                "towers of videos are neither exported nor compiled as a whole",
                found=self.kind.model,
                expected="a tower of pictures such as DINOv2, or vision_encoder: vivit",
            )

    def _finish(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The layers behind the tower: what `_steps` gives -> (features (B, T', D) float32, lengths (B,))."""
        if self.kind.video and self.length == 1:
            steps = steps.unflatten(2, (TUBELET_FRAMES, -1)).flatten(1, 2)
        for layer in (self.projection, self.upsample):
            if layer is not None:
                steps = layer(steps.to(next(layer.parameters(), steps).dtype))
        if self.upsample is not None:
            steps = steps.flatten(1, 2)
        out_lengths = self.output_lengths(lengths)
        if self.length == TUBELET_FRAMES:
            features = zero_padding(steps, out_lengths)
        else:
            features = zero_padding(steps, lengths.long())
            if self.feature_rate == "tubelet":
                features, out_lengths = average_pairs(features, lengths.long())
        if not torch.compiler.is_compiling():
            features = features[:, : int(out_lengths.max())]
        if features.dtype != torch.float32 and not torch.is_autocast_enabled(features.device.type):
            features = features.float()
        return features, out_lengths
