"""The table of audio towers of the hub, and what each makes of a batch of waveforms of different lengths.

In: a tower, speech (B, N) with zeros behind each utterance's own samples, a multiple of 640 of them, and these
lengths. Out: states (B, L, D) at 50 Hz and their numbers (B,). The layers and weights are transformers' own. What its
`forward` does to a whole batch is done here for each utterance by itself: Whisper hears its own seconds, not 30; the
normalizations and convolutions of wav2vec2, HuBERT and WavLM see its own samples, and attention its own steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.hub.stored import TowerClass
from espnet_vivit.frontend.masking import length_mask, zero_padding
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME

_FFT, _HOP = 400, 160  # samples, 25 and 10 ms: Whisper's
_FLOOR, _RANGE = 1e-10, 8.0  # of the energies, and how far below the loudest they may lie, in powers of ten
_VARIANCE_FLOOR = 1e-7  # that of transformers' Wav2Vec2FeatureExtractor


@dataclass(frozen=True, kw_only=True)
class SpeechKind(TowerClass):
    """What differs between audio towers.

    states: waveforms to states, as the module says. stride: samples from one state to the next. width: name of the
    states' size in the configuration. blocks: the layers. norm: the one behind them in a tower with this configuration.
    """

    states: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]
    stride: Callable[[Any], int]
    width: str = "hidden_size"
    blocks: str = "encoder.layers"
    norm: Callable[[Any], str | None]


def whisper_states(tower: Any, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Of `WhisperEncoder`, with as many positions as the utterance lasts. Raises InputError beyond its last one."""
    counts = lengths // whisper_stride(tower.config)
    positions = tower.embed_positions.weight
    if int(counts.max()) > len(positions):
        seconds = len(positions) * whisper_stride(tower.config) / AUDIO_RATE_HZ
        raise InputError(
            "speech is longer than this Whisper has positions for",
            found=f"{int(lengths.max()) / AUDIO_RATE_HZ:.1f} s",
            expected=f"at most {seconds:g} s",
            fix="Cut recordings before the model, or use a tower without positions such as wav2vec2",
        )
    x = log_mel(speech, lengths, tower.config.num_mel_bins).to(tower.conv1.weight.dtype)
    x = F.gelu(tower.conv2(F.gelu(tower.conv1(x)))).transpose(1, 2)  # (B, L, D)
    x = F.dropout(x + positions[: x.size(1)], tower.config.dropout, training=tower.training)
    mask = _score_mask(counts, x)
    for layer in tower.layers:
        x = layer(x, mask)
    return tower.layer_norm(x), counts


def waveform_states(tower: Any, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Of `Wav2Vec2Model`, `HubertModel` and `WavLMModel`."""
    rows = zip(_normalized(speech, lengths, tower.config), lengths.tolist(), strict=True)
    heard = [tower.feature_extractor(row[None, :count])[0].T for row, count in rows]  # (L, C) of each utterance
    counts = torch.tensor([len(one) for one in heard], device=speech.device)
    projected = tower.feature_projection(nn.utils.rnn.pad_sequence(heard, batch_first=True))
    x = zero_padding(projected[0] if isinstance(projected, tuple) else projected, counts)
    mask = length_mask(counts, x.size(1)) if len(set(counts.tolist())) > 1 else None
    return tower.encoder(x, attention_mask=mask).last_hidden_state, counts


def log_mel(speech: Tensor, lengths: Tensor, bins: int) -> Tensor:
    """Whisper's input (B, bins, N // 160) float32 of each utterance by itself, zero behind its end.

    As `WhisperFeatureExtractor` computes it: the waveform is mirrored at its ends, and the energies that lie more than
    80 dB below the utterance's loudest are raised to that.
    """
    index = torch.arange(-_FFT // 2, speech.size(1) + _FFT // 2, device=speech.device).abs()
    index = torch.where(index < lengths[:, None], index, 2 * (lengths[:, None] - 1) - index).clamp(min=0)
    with torch.autocast(speech.device.type, enabled=False):  # a power spectrum overflows float16
        mirrored = speech.float().gather(1, index)
        window = torch.hann_window(_FFT, device=speech.device)
        spectrum = torch.stft(mirrored, _FFT, _HOP, window=window, center=False, return_complex=True)[..., :-1]
        filters = mel_filter_bank(1 + _FFT // 2, bins, 0.0, 8000.0, AUDIO_RATE_HZ, norm="slaney", mel_scale="slaney")
        power = torch.view_as_real(spectrum).square().sum(-1)
        energies = torch.from_numpy(filters).to(power).T @ power
        energies = energies.clamp(min=_FLOOR).log10().transpose(1, 2)  # (B, N // 160, bins)
        own = length_mask(lengths // _HOP, energies.size(1))[..., None]
        loudest = energies.masked_fill(~own, -torch.inf).amax((1, 2), keepdim=True)
        return ((energies.maximum(loudest - _RANGE) + 4) / 4).masked_fill(~own, 0).transpose(1, 2)


def whisper_stride(config: Any) -> int:
    """Samples from one state to the next; its second convolution takes every other step."""
    return 2 * _HOP


def waveform_stride(config: Any) -> int:
    """Samples from one state to the next. Raises ConfigError for a tower that subsamples its states."""
    if getattr(config, "add_adapter", False):
        fix = "Use a checkpoint without it"
        raise ConfigError("the tower shortens its states behind its layers", found="add_adapter", fix=fix)
    stride = 1
    for step in config.conv_stride:
        stride *= step
    return stride


def _normalized(speech: Tensor, lengths: Tensor, config: Any) -> Tensor:
    """Mean 0 and variance 1 of each utterance where the tower was trained so, as its feature extractor does it."""
    if not config.do_normalize:
        return speech
    speech = speech.float()
    centred = zero_padding(speech - speech.sum(1, keepdim=True) / lengths[:, None], lengths)
    return centred * (centred.square().sum(1, keepdim=True) / lengths[:, None] + _VARIANCE_FLOOR).rsqrt()


def _score_mask(counts: Tensor, x: Tensor) -> Tensor | None:
    """(B, 1, 1, L) for attention scores: 0 at an utterance's own states, else lowest; None where all are."""
    if int(counts.min()) == x.size(1):
        return None
    scores = torch.zeros(len(counts), x.size(1), dtype=x.dtype, device=x.device)
    return scores.masked_fill(~length_mask(counts, x.size(1)), torch.finfo(x.dtype).min)[:, None, None]


_DROPS_NOTHING = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}


def _waveform_kind(model: str) -> SpeechKind:
    return SpeechKind(
        model=model,
        fields=_DROPS_NOTHING,
        states=waveform_states,
        stride=waveform_stride,
        norm=lambda config: "encoder.layer_norm" if config.do_stable_layer_norm else None,
    )


KINDS: dict[str, SpeechKind] = {  # transformers' model_type -> what differs
    "whisper": SpeechKind(
        model="WhisperModel",
        part="encoder",
        fields={"decoder_layers": 0, "encoder_layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0},
        states=whisper_states,
        stride=whisper_stride,
        width="d_model",
        blocks="layers",
        norm=lambda config: "layer_norm",
    ),
    "wav2vec2": _waveform_kind("Wav2Vec2Model"),
    "hubert": _waveform_kind("HubertModel"),
    "wavlm": _waveform_kind("WavLMModel"),
}


def states_per_frame(kind: SpeechKind, config: Any, rate_hz: int) -> int:
    """How many states stand for one video frame. Raises ConfigError where these are no whole number."""
    stride = kind.stride(config)
    if rate_hz != AUDIO_RATE_HZ or SAMPLES_PER_FRAME % stride:
        raise ConfigError(
            "the tower's states cannot be brought to 25 Hz",
            found=f"{rate_hz / stride:g} Hz, from sound of {rate_hz} Hz",
            expected="sound of 16000 Hz and a multiple of 25 states per second, such as 50",
        )
    return SAMPLES_PER_FRAME // stride
