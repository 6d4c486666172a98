"""Frontends that look a bounded number of steps ahead, over a clip that arrives in pieces.

    stream = frontend.stream()               # of linear, resnet, resnet1d and logmel
    features = stream(frames or samples)     # (n, …) -> the new steps (m, D)
    features = stream.finish()               # the steps that waited for what did not come

The features are those of the whole clip (1e-5; other sizes of a convolution may be computed in another order). A new
step is computed together with its neighbours, as many as it depends on, and waits for those behind it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.masking import check_float
from espnet_vivit.frontend.running_normalization import RunningNormalization
from espnet_vivit.units import SAMPLES_PER_FRAME


class BoundedStream:
    """One clip.

    Args:
        frontend: `frontend(clip (1, n, …), lengths (1,)) -> (features (1, m, D), lengths)`, in evaluation.
        features: what computes them, if that is not the frontend itself.
        per_step: inputs (frames or samples) of one step.
        before, behind: steps that a step depends on, on either side.
    """

    def __init__(
        self,
        frontend: Any,
        *,
        features: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        per_step: int,
        before: int,
        behind: int,
    ):
        self.frontend, self.features = frontend, features or frontend
        self.per_step, self.before, self.behind = per_step, before, behind
        self.steps = self.inputs = 0  # steps that have been given out; frames or samples that have arrived
        self.finished = False
        self._held: Tensor | None = None  # what steps to come depend on, from step `_first` on
        self._first = 0

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Frames (n, H, W) or samples (n,), n any number -> the features (m, D) of the steps that are complete."""
        if self.finished:
            raise InputError("the stream is finished", found="more input", fix="Call stream() for each clip")
        if self.frontend.training:
            raise InputError("a stream needs a frontend in evaluation", found="training", fix="Call .eval()")
        self._held = inputs if self._held is None else torch.cat([self._held, inputs])
        self.inputs += len(inputs)
        return self._advance(self.inputs // self.per_step - self.behind)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The features of the last steps."""
        self.finished = True
        if not self.inputs:
            return self._nothing()
        return self._advance(int(self.frontend.output_lengths(torch.tensor(self.inputs))))

    def _advance(self, ready: int) -> Tensor:
        """The features of the steps up to `ready`, one past the last."""
        if ready <= self.steps:
            return self._nothing()
        assert self._held is not None
        features = self.features(self._held[None], torch.tensor([len(self._held)], device=self._held.device))[0][0]
        features = features[self.steps - self._first : ready - self._first].float()
        self.steps = ready
        first = max(0, ready - self.before)
        self._held = self._held[(first - self._first) * self.per_step :].clone()  # a view would keep the whole clip
        self._first = first
        return features

    def _nothing(self) -> Tensor:
        return torch.zeros(0, self.frontend.output_size(), device=next(self.frontend.parameters()).device)


class SoundStream:
    """One clip of sound for a frontend of waveforms: normalised by what has been heard, then a `BoundedStream`.

    normalization: the frontend's waveform_normalization. Raises ConfigError for one that needs the whole clip.
    """

    def __init__(self, normalization: str, bounded: BoundedStream):
        if normalization == "utterance":
            raise ConfigError(
                f"this {type(bounded.frontend).__name__} normalises over the whole clip, it cannot stream",
                found=f"waveform_normalization={normalization}",
                expected="running",
                fix="Train with audio_encoder_conf: {waveform_normalization: running}.",
            )
        self.bounded = bounded
        self._normalize = RunningNormalization() if normalization == "running" else torch.Tensor.float
        self._waiting: Tensor | None = None  # fewer samples than a block

    def __call__(self, samples: Tensor) -> Tensor:
        """Samples (n,) float at 16 kHz -> the features (m, D) of new steps. Raises InputError as the frontend does."""
        if samples.dim() != 1:
            raise InputError("sound that a stream cannot read", found=tuple(samples.shape), expected="samples (n,)")
        if len(samples):
            check_float(samples[None], torch.tensor([len(samples)]), kind="speech", raw="int16 divided by 32768")
        held = samples if self._waiting is None else torch.cat([self._waiting, samples])
        whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        self._waiting = held[whole:].clone()
        if whole:
            return self.bounded(self._normalize(held[None, :whole])[0])
        return self.bounded(held[:0].float())

    def finish(self) -> Tensor:
        """The features of the last steps; samples that make no whole block are dropped, as in a whole clip."""
        return self.bounded.finish()
