"""A causal ViViT over a clip that arrives in pieces: frames in, the new feature steps out.

    stream = encoder.stream()
    for frames in camera:                    # (t, H, W), t any number
        features = stream(frames)            # (new steps, D)
    features = stream.finish()               # what the length law owes for the last frames

The steps are those that `encoder(clip)` gives for the whole clip. Their latency is one tubelet: with two frames, a step
is there 40 ms after its first frame. The state is bounded where `left_context` is finite: for each temporal block the
rotated keys and values of so many steps, and fewer frames than a tubelet has. A Conformer behind it streams where it
was trained in chunks (decode/model_stream.py).
"""

import torch

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.masking import check_video
from espnet_vivit.frontend.vivit.causal import KeysAndValues
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.frontend.vivit.factorised_encoder import FactorisedEncoder
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from espnet_vivit.frontend.vivit.tower import check_picture_size, normalise


class VisualStream:
    """The state of one clip of a causal `FamilyEncoder`.

    `steps` counts the tubelet steps that are done, `frames` the frames that have arrived.
    """

    def __init__(self, encoder: VivitEncoder):
        config = encoder.vivit.config
        if not (isinstance(encoder.vivit, FactorisedEncoder) and config.causal):
            raise ConfigError(
                "this encoder looks ahead, it cannot stream",
                found=f"attention={config.attention}",
                expected="causal",
                fix="Train with attention: causal",
            )
        self.encoder, self.tower, self.stride = encoder, encoder.vivit, config.stride[0]
        self.steps = self.frames = 0
        self.finished = False
        self._states: list[KeysAndValues | None] = [None] * len(self.tower.temporal.layers)
        self._waiting: torch.Tensor | None = None  # (C, m, H, W) frames that no step, or not every one, has seen

    @torch.no_grad()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (t, H, W) gray or (C, t, H, W), uint8 or normalised float -> the features of new steps (n, D) float32.

        Raises InputError as `VivitEncoder.forward` does, and after `finish`.
        """
        if self.finished:
            raise InputError("the stream is finished", found="more frames", fix="Call encoder.stream() for each clip")
        if self.encoder.training:
            raise InputError("a stream needs an encoder in evaluation", found="training", fix="Call encoder.eval()")
        clip = check_video(frames[None], None, channels=(1, self.tower.config.num_channels))[0][0]
        check_picture_size(clip, self.tower.config.picture)
        self.frames += clip.size(1)
        self._waiting = self._joined(clip)
        size, stride = self.tower.config.tubelet_size[0], self.stride
        count = max(0, (self._waiting.size(1) - size) // stride + 1)
        features = self._advance(self._waiting[:, : (count - 1) * stride + size], count)
        self._waiting = self._waiting[:, count * stride :]
        return features

    @torch.no_grad()
    def finish(self) -> torch.Tensor:
        """The features that the last frames still give: at 12.5 Hz those of a clip of one frame, at 25 Hz the last one
        of an odd number of frames; else none, (0, D)."""
        self.finished = True
        over = self.frames - self.steps * self.stride  # frames behind the last whole step
        owed = over > 0 and (self.encoder.upsample is not None or self.steps == 0)
        if self._waiting is None or not owed:
            return self._nothing()
        last = self._waiting[:, -1:].expand(-1, self.stride - over, -1, -1)
        features = self._advance(torch.cat([self._waiting, last], dim=1), 1)
        return features[:over] if self.encoder.upsample is not None else features

    def _joined(self, clip: torch.Tensor) -> torch.Tensor:
        """What was waiting, and the new frames behind it."""
        config = self.tower.config
        before = config.tubelet_size[0] - self.stride  # frames that overlapping tubelets see before the clip
        if before:
            clip = normalise(clip, self.encoder.pixel_affine)
        if self._waiting is None:
            return torch.cat([clip.new_zeros(clip.size(0), before, *clip.shape[2:]), clip], dim=1)
        if self._waiting.dtype != clip.dtype or self._waiting.size(0) != clip.size(0):
            found = (
                f"{clip.dtype} with {clip.size(0)} channels after {self._waiting.dtype} with {self._waiting.size(0)}"
            )
            raise InputError("the frames of a stream are of one kind", found=found)
        return torch.cat([self._waiting, clip], dim=1)

    def _advance(self, frames: torch.Tensor, count: int) -> torch.Tensor:
        """The features (n, D) of `count` steps over frames (C, t, H, W)."""
        if count == 0:
            return self._nothing()
        config, encoder = self.tower.config, self.encoder
        steps = frames.unfold(1, config.tubelet_size[0], self.stride).permute(1, 0, 4, 2, 3)  # (n, C, size, H, W)
        layout = StepLayout.of_equal(1, count, device=frames.device)
        tracks = self.tower.in_space(steps, encoder.pixel_affine, layout)
        tracks, self._states = self.tower.temporal.advance(tracks, self._states, self.steps)
        self.steps += count
        return encoder._finish(self.tower.pool_tracks(tracks)).flatten(0, 1).float()

    def _nothing(self) -> torch.Tensor:
        return torch.zeros(0, self.encoder.output_size(), device=self.tower.device)
