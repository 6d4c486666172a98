"""A whole model over a clip that arrives in pieces: frames and samples in, encoder states out.

    stream = ModelStream(model)              # chunks of `model.encoder.chunk` steps
    states = stream.push(frames, samples)    # (n, H, W) and (m,) -> (k, D), k a multiple of the chunk
    states = stream.finish()                 # the last chunk

The states are those of `model.encode` for the whole clip, in chunks of the same size; they are computed in float32,
whatever the model's amp_dtype. Memory does not grow with the clip.
"""

import torch
from torch import Tensor

from espnet_vivit.e2e_asr_conformer import E2E
from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.bounded_stream import BoundedStream, SoundStream
from espnet_vivit.frontend.vivit.stream import VisualStream
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.model.conformer_stream import ConformerStream
from espnet_vivit.model.fusion import CrossAttentionFusion
from espnet_vivit.units import FEATURE_RATES, SAMPLES_PER_FRAME, STREAMS_OF, VIDEO_RATE_HZ


class ModelStream:
    """One clip.

    modality: the streams that will be pushed, of those that the model takes; None: all of them.
    Raises ConfigError for a part that needs the whole clip, by its name.
    """

    def __init__(self, model: E2E, *, modality: str | None = None):
        if model.training:
            raise InputError("a stream needs a model in evaluation", found="training", fix="Call model.eval()")
        check_streams(model)
        self.model, self.modality = model, modality or model.modality
        streams = STREAMS_OF[self.modality]
        self.video = _frontend_stream(model.vision_encoder, "vision_encoder") if "video" in streams else None
        self.audio = _frontend_stream(model.audio_encoder, "audio_encoder") if "speech" in streams else None
        assert isinstance(model.encoder, Conformer)  # check_streams
        self.encoder = ConformerStream(model.encoder, ctc=model.ctc)
        self.frames = self.samples = 0  # that have arrived
        self._early = torch.zeros(0)  # samples of frames that have not arrived
        self._seen: Tensor | None = None  # (n, D_v) and (m, D_a): features whose counterpart is not there yet
        self._heard: Tensor | None = None

    @property
    def step_s(self) -> float:
        """Seconds from a step of the encoder to the next."""
        return FEATURE_RATES[self.model.feature_rate] / VIDEO_RATE_HZ

    @property
    def latency_s(self) -> float:
        """Seconds by which a state may be behind its input: a chunk, and what the frontends look ahead."""
        ahead = [_steps_ahead(stream) for stream in (self.video, self.audio) if stream is not None]
        return (self.encoder.chunk + max(ahead)) * self.step_s

    @torch.no_grad()
    def push(self, frames: Tensor | None = None, samples: Tensor | None = None) -> Tensor:
        """Frames (n, H, W) uint8 or normalised float, samples (m,) float at 16 kHz -> states (k, D) float32.

        Frame i shows what samples 640 i to 640 i + 639 are heard with; either may run ahead of the other.
        Raises InputError for a stream that the model was not said to get.
        """
        for name, stream, given in (("video", self.video, frames), ("sound", self.audio, samples)):
            if given is not None and stream is None:
                raise InputError(f"{name} for a stream of {self.modality}", found=f"{len(given)} of it")
        if frames is not None and len(frames) and self.video is not None:
            self.frames += len(frames)
            self._seen = _joined(self._seen, self.video(frames))
        if self.audio is not None:
            self._listen(samples)
        return self._encode()

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The states of the last steps. Sound is cut to the video, or padded with silence, as in `model.encode`; but
        streams that end at different times are no error, as a camera and a microphone do."""
        if self.video is not None and self.audio is not None:
            self._listen(torch.zeros(max(0, self.frames * SAMPLES_PER_FRAME - self.samples)), counted=False)
        if self.video is not None:
            self._seen = _joined(self._seen, self.video.finish())
        if self.audio is not None:
            self._heard = _joined(self._heard, self.audio.finish())
        return torch.cat([self._encode(), self.encoder.finish().float()])

    def _listen(self, samples: Tensor | None, *, counted: bool = True) -> None:
        """Give the audio frontend what has arrived, but nothing beyond the last frame: the clip might end with it."""
        assert self.audio is not None
        before = self.samples - len(self._early)
        if samples is not None:
            self._early = torch.cat([self._early.to(samples), samples])
            self.samples += len(samples) if counted else 0
        due = len(self._early) if self.video is None else max(0, self.frames * SAMPLES_PER_FRAME - before)
        self._heard = _joined(self._heard, self.audio(self._early[:due]))
        self._early = self._early[due:].clone()

    def _encode(self) -> Tensor:
        """The states of the steps whose features are there from every stream."""
        count = min(len(x) if x is not None else 0 for x in self._of_each())
        seen = heard = None
        if self.video is not None and self._seen is not None:
            seen, self._seen = self._seen[None, :count], self._seen[count:]
        if self.audio is not None and self._heard is not None:
            heard, self._heard = self._heard[None, :count], self._heard[count:]
        if not count:
            return self.encoder(torch.zeros(0, self.encoder.encoder.output_size())).float()
        if self.model.modality == "multimodal":
            fused = self.model.fusion(seen, heard)
        else:
            fused = self.model.fusion(heard if seen is None else seen)
        return self.encoder(fused[0]).float()

    def _of_each(self) -> list[Tensor | None]:
        return [x for stream, x in ((self.video, self._seen), (self.audio, self._heard)) if stream is not None]


def check_streams(model: E2E) -> None:
    """Raise ConfigError for a model of which some part needs the whole clip; frontends say so themselves."""
    if not isinstance(model.encoder, Conformer):
        found = f"fusion_place={model.fusion_place}, {type(model.encoder).__name__}"
        raise ConfigError("this model's encoder cannot stream", found=found, expected="one Conformer behind the fusion")
    if isinstance(model.fusion, CrossAttentionFusion):
        fix = "Train with fusion: concat, add or gated"
        raise ConfigError("this fusion reads the whole clip, it cannot stream", found="cross_attention", fix=fix)


def _frontend_stream(frontend, name: str) -> VisualStream | BoundedStream | SoundStream:
    if not hasattr(frontend, "stream"):
        raise ConfigError(
            f"this {name} needs the whole clip, it cannot stream",
            found=type(frontend).__name__,
            expected="vivit with attention: causal, resnet or linear; resnet1d or logmel",
        )
    stream = frontend.stream()
    if isinstance(stream, VisualStream) and stream.tower.config.left_context is None:
        fix = "Train with vision_encoder_conf: {left_context: 16}"
        raise ConfigError("a vision encoder whose memory grows with the clip", found="left_context=None", fix=fix)
    return stream


def _steps_ahead(stream: VisualStream | BoundedStream | SoundStream) -> int:
    if isinstance(stream, VisualStream):
        return 0
    return stream.bounded.behind if isinstance(stream, SoundStream) else stream.behind


def _joined(before: Tensor | None, features: Tensor) -> Tensor:
    return features if before is None else torch.cat([before, features])
