"""video ⊕ audio: two feature streams at one rate become the Conformer's input.

In: features (B, T', D_v) and (B, T', D_a) whose lengths agree, either absent. Out: (B, T', D). With one modality there
is no fusion, but exactly one linear layer with bias, as in Auto-AVSR, so that its parameters map one to one. A stream
that is missing or dropped is zeros, never a skipped branch: distributed training waits for the gradients of each.
`concat`, `add` and `gated` join the streams step by step; `cross_attention` lets each read the other's whole clip.
joint_fusion.py has those of published models, and the table of all.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.base.option_types import is_kind
from espnet_vivit.errors import ConfigError, InputError, unknown_name
from espnet_vivit.model.by_epoch import read_by_epoch
from espnet_vivit.units import SAMPLES_PER_FRAME, seconds_of_frames, seconds_of_samples

DROPPED_STREAMS = ("video", "audio")


class Fusion(nn.Module, ABC):
    """Base: projects what is there to `output_size`; subclasses say how two streams meet."""

    def __init__(self, video_size: int, audio_size: int, output_size: int):
        super().__init__()
        self.video_size, self.audio_size, self._output_size = video_size, audio_size, output_size

    def output_size(self) -> int:
        return self._output_size

    def forward(
        self, video: torch.Tensor | None, audio: torch.Tensor | None, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """video (B, T', D_v), audio (B, T', D_a), at most one of them None -> (B, T', D).

        lengths (B,): valid steps of each clip; None: all of them.
        """
        if video is None:
            if audio is None:
                raise InputError("nothing to fuse", found="neither video nor audio", expected="at least one of them")
            video = audio.new_zeros(*audio.shape[:2], self.video_size)
        if audio is None:
            audio = video.new_zeros(*video.shape[:2], self.audio_size)
        if video.shape[:2] != audio.shape[:2]:
            raise InputError(
                "video and audio features do not run in step",
                found=f"(B, T') = {tuple(video.shape[:2])} and {tuple(audio.shape[:2])}",
                expected="equal batch and number of steps",
            )
        return self.fuse(video, audio, lengths)

    @abstractmethod
    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Both streams present, in step: (B, T', D_v), (B, T', D_a) -> (B, T', D)."""


class ConcatFusion(Fusion):
    """One linear layer over both vectors side by side."""

    def __init__(self, video_size: int, audio_size: int, output_size: int):
        super().__init__(video_size, audio_size, output_size)
        self.linear = nn.Linear(video_size + audio_size, output_size)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return self.linear(torch.cat([video, audio], dim=-1))


class AddFusion(Fusion):
    """The sum of the two streams, each with its own linear layer."""

    def __init__(self, video_size: int, audio_size: int, output_size: int):
        super().__init__(video_size, audio_size, output_size)
        self.video_linear = nn.Linear(video_size, output_size)
        self.audio_linear = nn.Linear(audio_size, output_size)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return self.video_linear(video) + self.audio_linear(audio)


class GatedFusion(AddFusion):
    """A gate in (0, 1) for each step and feature decides how much of either stream to trust.

    Gated multimodal unit: Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR 2017 workshop.
    """

    def __init__(self, video_size: int, audio_size: int, output_size: int):
        super().__init__(video_size, audio_size, output_size)
        self.gate = nn.Linear(video_size + audio_size, output_size)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        gate = torch.sigmoid(self.gate(torch.cat([video, audio], dim=-1)))
        return gate * self.video_linear(video) + (1 - gate) * self.audio_linear(audio)


class CrossAttentionFusion(AddFusion):
    """Each stream also reads the other: the sum of both, plus what video finds in audio and audio in video.

    Attention of several heads (Vaswani et al. 2017, arXiv:1706.03762) over layer-normalised streams. As the two run in
    step, scores fall with the distance in time, by a slope per head (ALiBi, Press et al., ICLR 2022, here
    to both sides). Output projections start at zero: before training, this is `add`. Padded steps are never read.
    """

    def __init__(self, video_size: int, audio_size: int, output_size: int, heads: int = 4):
        super().__init__(video_size, audio_size, output_size)
        if heads < 1 or output_size % heads:
            raise ConfigError(
                "heads that do not divide the size of cross-attention",
                found=f"{heads} heads for {output_size}",
                expected="a divisor",
                fix="It takes encoder_conf's attention_heads and output_size",
            )
        self.video_norm, self.audio_norm = nn.LayerNorm(output_size), nn.LayerNorm(output_size)
        self.audio_to_video = CrossAttention(output_size, heads)
        self.video_to_audio = CrossAttention(output_size, heads)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        video, audio = self.video_linear(video), self.audio_linear(audio)
        seen, heard = self.video_norm(video), self.audio_norm(audio)
        found = self.audio_to_video(seen, heard, lengths) + self.video_to_audio(heard, seen, lengths)
        return video + audio + found


class CrossAttention(nn.Module):
    """`forward(reader (B, T, D), source (B, T, D), lengths (B,) or None) -> (B, T, D)`: what the reader finds."""

    slopes: torch.Tensor

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))
        self.espnet_initialization_fn()
        slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)  # 1/4 to 1/256 for four heads
        self.register_buffer("slopes", slopes, persistent=False)

    def espnet_initialization_fn(self) -> None:
        """Zeros, also after ESPnet has drawn all weights anew, as `init: xavier_uniform` lets it."""
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, reader: torch.Tensor, source: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
            for layer, x in ((self.query, reader), (self.key, source), (self.value, source))
        )
        steps = torch.arange(reader.size(1), device=reader.device)
        bias = -self.slopes[:, None, None] * (steps[:, None] - steps[None, :]).abs()  # (heads, T, T)
        if lengths is not None:
            padded = steps >= lengths.to(steps.device)[:, None]  # (B, T)
            bias = bias.masked_fill(padded[:, None, None, :], -torch.inf)  # (B, heads, T, T)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.output(found.transpose(1, 2).flatten(2))


class ModalityDropout(nn.Module):
    """In training, silences one whole stream of an utterance with the given probability, never both.

    probabilities: {"video": p, "audio": q}, p + q <= 1; each utterance draws once. Either may be a schedule by epoch,
    `{1: 0.0, 10: 0.5}`; `set_epoch` says which it is, the first until then.
    """

    def __init__(self, probabilities: Mapping[str, float | Mapping[int, float]] | None = None):
        super().__init__()
        probabilities = dict(probabilities or {})
        for stream in probabilities:
            if stream not in DROPPED_STREAMS:
                raise unknown_name("stream in modality_dropout", stream, DROPPED_STREAMS)
        self.schedules = [read_by_epoch(f"modality_dropout of {s}", probabilities.get(s, 0.0)) for s in DROPPED_STREAMS]
        for epoch in sorted({1, *self.schedules[0].epochs, *self.schedules[1].epochs}, reverse=True):
            video, audio = shares = [schedule(epoch) for schedule in self.schedules]  # the sum is straight in between
            if not all(is_kind(share, float) and share >= 0 for share in shares) or not video + audio <= 1:
                raise ConfigError(
                    "modality_dropout holds probabilities that cannot be",
                    found=f"video {video}, audio {audio}" + (f" in epoch {epoch}" if epoch > 1 else ""),
                    expected="two numbers from 0, together at most 1",
                    fix="{video: 0.25, audio: 0.25} leaves half of the utterances with both streams",
                )
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Take the probabilities of this epoch, from 1."""
        self.video, self.audio = (float(schedule(epoch)) for schedule in self.schedules)

    def forward(self, video: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T', D_v), (B, T', D_a) -> the same, some utterances of one of them multiplied by zero."""
        if not self.training or self.video + self.audio == 0:
            return video, audio
        draw = torch.rand(video.size(0), 1, 1, device=video.device)
        keep_video = draw >= self.video
        keep_audio = draw < 1 - self.audio
        return video * keep_video, audio * keep_audio

    def extra_repr(self) -> str:
        return ", ".join(f"{s}={schedule}" for s, schedule in zip(DROPPED_STREAMS, self.schedules, strict=True))


def align_audio(
    speech: torch.Tensor, speech_lengths: torch.Tensor, video_lengths: torch.Tensor, utt_id: list[str] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Trim or zero-pad each waveform to its video, 640 samples per frame; more than one frame apart is an error."""
    frames = video_lengths.tolist()
    for b, (samples, count) in enumerate(zip(speech_lengths.tolist(), frames, strict=True)):
        check_durations(samples, count, clip=utt_id[b] if utt_id else f"clip {b} of the batch")
    wanted = video_lengths.to(speech.device) * SAMPLES_PER_FRAME  # the caller's lengths may be on the CPU
    kept, longest = torch.minimum(speech_lengths.to(speech.device), wanted), max(frames) * SAMPLES_PER_FRAME
    speech = F.pad(speech, (0, max(0, longest - speech.size(1))))[:, :longest]
    beyond = torch.arange(longest, device=speech.device)[None, :] >= kept[:, None]
    return speech.masked_fill(beyond, 0.0), wanted


def check_durations(samples: int, frames: int, *, clip: str) -> None:
    """Raise InputError, which names `clip` and both durations, if its two streams are more than a frame apart."""
    if abs(samples - frames * SAMPLES_PER_FRAME) > SAMPLES_PER_FRAME:
        raise InputError(
            f"audio and video of {clip} differ in length",
            found=f"{seconds_of_samples(samples):.3f} s of audio, {seconds_of_frames(frames):.3f} s of video",
            expected="at most one video frame (0.040 s) between them",
            fix="Check that both streams were cut from the same recording, at 16 kHz and 25 fps",
        )
