"""Audio towers of the Hugging Face hub behind our contracts: Whisper's encoder, wav2vec2, HuBERT, WavLM.

In: speech (B, N) float at 16 kHz and each utterance's samples. Out: (B, N // 640, D), 25 steps per second, as many as
the video has; samples beyond the last full 640 are dropped. An utterance's features are what the library's tower gives
it alone, at its own length, whatever it is batched with. Nothing in the tower is masked or skipped at random.
"""

from typing import Any

import torch
from torch import Tensor, nn

from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.hub.speech_towers import KINDS, states_per_frame
from espnet_vivit.frontend.hub.stored import Source, build_tower, check_source, keep_layers, read_tower
from espnet_vivit.frontend.masking import check_speech, zero_padding
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME


class HuggingFaceAudio(nn.Module):
    """`forward(speech (B, N), lengths (B,)) -> (features (B, N // 640, D), lengths // 640)` of a tower of the hub.

    Args:
        model_name: hub id or local folder.
        output_dim: width of the features; None is the tower's width.
        frozen: no gradients reach the tower, which stays in evaluation mode; the projection behind it still trains.
        layer: number of layers that are kept, 1 is the first alone; -1 keeps all of them and the last norm, -2 leaves
            out the last layer.
        feature_rate: "frame" (25 Hz), or "tubelet": pairs averaged, 12.5 Hz.
        pretrained: False builds random weights from `config`.
        config: `model_type` and fields of the library's configuration.
        revision, cache_dir, local_files_only: as in Hugging Face's `from_pretrained`.

    Raises:
        ConfigError: an option that does not exist, another kind of tower, or states that cannot be brought to 25 Hz.
        WeightsError: weights that are not on this machine and cannot be downloaded, or a gated model without a token.
    """

    def __init__(
        self,
        model_name: str | None = None,
        *,
        output_dim: int | None = None,
        frozen: bool = False,
        layer: int = -1,
        feature_rate: str = "frame",
        pretrained: bool = True,
        config: dict | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ):
        super().__init__()
        self.feature_rate = check_feature_rate(feature_rate)
        check_source(model_name, pretrained, config)
        if pretrained:
            stored = read_tower(str(model_name), KINDS, Source(revision, cache_dir, local_files_only))
        else:
            stored = build_tower(config or {}, KINDS)
        self.kind, self.frozen = KINDS[stored.kind], frozen
        self.tower: Any = stored.tower
        sizes: Any = self.tower.config
        if not hasattr(sizes, "do_normalize"):  # with the sizes, so that a trained model knows it too
            sizes.do_normalize = bool(stored.preprocessing.get("do_normalize", True))
        self.per_step = states_per_frame(self.kind, sizes, stored.preprocessing.get("sampling_rate", AUDIO_RATE_HZ))
        keep_layers(self.tower, self.kind.blocks, self.kind.norm(sizes), layer)
        width = getattr(sizes, self.kind.width)
        self.projection = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self._output_size = output_dim or width
        if frozen:
            self.tower.requires_grad_(False).eval()

    def output_size(self) -> int:
        return self._output_size

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of utterances with `lengths` (B,) samples."""
        return steps_at_rate(lengths // SAMPLES_PER_FRAME, self.feature_rate)

    def train(self, mode: bool = True) -> "HuggingFaceAudio":
        super().train(mode)
        if self.frozen:
            self.tower.eval()
        return self

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        speech, lengths = check_speech(speech, lengths)
        steps = lengths // SAMPLES_PER_FRAME
        whole = speech.size(1) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        speech = zero_padding(speech[:, :whole], steps * SAMPLES_PER_FRAME)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states, counts = self.kind.states(self.tower, speech, steps * SAMPLES_PER_FRAME)
        features = self._average(zero_padding(states, counts), counts, int(steps.max()))
        weight = next(self.projection.parameters(), features)
        features = zero_padding(self.projection(features.to(weight.dtype)), steps)
        if self.feature_rate == "tubelet":
            features, steps = average_pairs(features, steps)
        if features.dtype != torch.float32 and not torch.is_autocast_enabled(features.device.type):
            features = features.float()
        return features, steps

    def _average(self, states: Tensor, counts: Tensor, size: int) -> Tensor:
        """States (B, L, D) -> (B, size, D): the mean of the states of each step that there are.

        wav2vec2 has one less than two a frame: its last window would reach beyond the end.
        """
        missing = size * self.per_step - states.size(1)
        states = nn.functional.pad(states, (0, 0, 0, missing))  # cut where it is negative
        number = torch.arange(size, device=states.device) * self.per_step
        present = (counts[:, None] - number).clamp(1, self.per_step)  # 1 behind the end, where the sum is zero
        return states.unflatten(1, (size, self.per_step)).sum(2) / present[..., None].to(states.dtype)
