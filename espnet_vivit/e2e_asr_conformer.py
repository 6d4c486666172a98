"""E2E: the whole model on one screen. Video and waveform in, hybrid CTC/attention loss or encoder states out.

    video  (B, T, H, W) ─ vision_encoder ─▶ (B, T', D_v) ┐
                                                        ├ fusion ─▶ (B, T', D) ─ Conformer ─▶ CTC + attention decoder
    speech (B, N)       ─ audio_encoder  ─▶ (B, T', D_a) ┘

With `fusion_place: encoder` each stream has a projection and an encoder of its own, and fusion joins their states.

One class serves video, audio and both, and is the `ESPnetASRModel` that the task trains. The default sizes are those of
Auto-AVSR (Ma et al., ICASSP 2023; github.com/mpc001/auto_avsr). Decoder, CTC and losses are ESPnet2's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.torch_utils.initialize import initialize

from espnet_vivit.frontend.feature_rate import check_feature_rate
from espnet_vivit.frontend.masking import zero_padding
from espnet_vivit.model.adapters.attach import attach_adapters, hold_statistics
from espnet_vivit.model.adapters.config import TOWERS, AdapterConfig, read_tower_adapters
from espnet_vivit.model.fusion import ModalityDropout, align_audio
from espnet_vivit.model.hybrid_loss import HybridLoss
from espnet_vivit.model.joint_fusion import build_fusion, check_place
from espnet_vivit.model.labels import check_labels, drop_attention_maps
from espnet_vivit.model.nonfinite import NonFiniteLosses
from espnet_vivit.model.options import (
    ENCODER_SIZES,
    check_input_streams,
    check_model_conf,
    modality_of,
    token_names,
    warn_of_pooling,
    weight_sources,
    with_model_name,
)
from espnet_vivit.model.parts import ENCODERS, build_back_end, build_frontends, build_part
from espnet_vivit.model.precision import ExactLoss, Precision
from espnet_vivit.model.published.catalog import find_layout
from espnet_vivit.model.published.tensor_file import read_state_dict
from espnet_vivit.model.stream_encoders import StreamEncoders

if TYPE_CHECKING:
    from espnet_vivit.model.conformer import Conformer
    from espnet_vivit.model.parts import AudioFrontend, VisualFrontend

    # (B, T', D); with intermediate CTC followed by [(block, (B, T', D)), …]
    EncoderStates = torch.Tensor | tuple[torch.Tensor, list[tuple[int, torch.Tensor]]]


class E2E(HybridLoss):
    """The model for lip reading, speech recognition or both: frontends, fusion, encoder, CTC and attention decoder.

    Args:
        odim: size of the vocabulary V; index 0 is the CTC blank, V - 1 both <sos> and <eos>.
        token_list: the V tokens (default: their numbers).
        modality: "video", "audio" or "multimodal" (default: that of the encoders given).
        vision_encoder: "vivit", "resnet", "linear" or "avhubert", "avhubert_video" for `encoder: avhubert`, or
            "huggingface" for a tower of the hub; `vision_encoder_conf` holds its options.
        vision_model_name: shorthand for vision_encoder_conf["model_name"].
        audio_encoder: "resnet1d" (raw waveform), "logmel", "filterbanks" for `encoder: avhubert`, or "huggingface" for
            a tower of the hub; `audio_encoder_conf` holds its options.
        fusion: "concat", "add", "gated", "cross_attention" (with the encoder's number of heads), "mlp" or
            "normalized_concat"; `fusion_conf` holds its options.
        fusion_place: "features" fuses before the encoder, "encoder" after two encoders, one for each stream.
        encoder: "conformer", "relative_transformer" or "avhubert".
        feature_rate: rate of both streams and of the encoder's output: "frame" (25 Hz) or "tubelet" (12.5 Hz).
        modality_dropout: {"video": p, "audio": q}, the probabilities with which training drops a whole stream of an
            utterance. p or q may be a schedule by epoch, such as {1: 0.0, 10: 0.5}, which follows `set_epoch`.
        encoder_conf, decoder_conf, ctc_conf: options of the encoder and of ESPnet2's decoder and CTC. The decoder has
            the encoder's numbers of heads and units by default.
        frame_loss_weight: weight of a cross-entropy on one token label per encoder step (`frame_labels`), added to the
            hybrid loss; 0 disables it. It shortens the plateau on which small models stay with CTC alone.
        init: ESPnet's initialization scheme for everything but the vision encoder, which may be pretrained.
        tower_adapters: {tower: {"type": "lora" or "qlora", "r": 16, …}} for vision_encoder, audio_encoder, encoder,
            decoder. The tower is frozen and gets adapters with the options of `AdapterConfig`.
        amp_dtype: "float16", "bfloat16" or "none", the dtype in which `forward` and `encode` compute. Losses are
            computed in float32.
        ctc_weight, lsm_weight, interctc_weight, …: as in ESPnet2's `model_conf`.

    Raises:
        ConfigError: an unknown name or option, or two options that contradict each other.
    """

    encoder: "Conformer | StreamEncoders"
    vision_encoder: "VisualFrontend | None"
    audio_encoder: "AudioFrontend | None"

    def __init__(
        self,
        odim: int,
        *,
        token_list: list[str] | None = None,
        modality: str | None = None,
        vision_encoder: str | None = None,
        vision_model_name: str | None = None,
        vision_encoder_conf: Mapping | None = None,
        audio_encoder: str | None = None,
        audio_encoder_conf: Mapping | None = None,
        fusion: str = "concat",
        fusion_place: str = "features",
        fusion_conf: Mapping | None = None,
        feature_rate: str = "frame",
        modality_dropout: Mapping[str, float | Mapping[int, float]] | None = None,
        encoder: str = "conformer",
        encoder_conf: Mapping | None = None,
        decoder: str = "transformer",
        decoder_conf: Mapping | None = None,
        ctc_conf: Mapping | None = None,
        frame_loss_weight: float = 0.0,
        init: str | None = None,
        tower_adapters: Mapping[str, Mapping] | None = None,
        amp_dtype: str | None = None,
        ctc_weight: float = 0.1,
        lsm_weight: float = 0.1,
        interctc_weight: float = 0.0,
        ignore_id: int = -1,
        length_normalized_loss: bool = False,
        report_cer: bool = True,
        report_wer: bool = True,
        sym_space: str = "<space>",
        sym_blank: str = "<blank>",
        sym_sos: str = "<sos/eos>",
        sym_eos: str = "<sos/eos>",
        extract_feats_in_collect_stats: bool = False,
    ):
        modality = modality_of(modality, vision_encoder, audio_encoder)
        check_place(fusion_place, modality)
        weights = {"ctc_weight": ctc_weight, "interctc_weight": interctc_weight, "lsm_weight": lsm_weight}
        check_model_conf(**weights, frame_loss_weight=frame_loss_weight, ignore_id=ignore_id)
        reports = {"report_cer": report_cer, "report_wer": report_wer, "length_normalized_loss": length_normalized_loss}
        symbols = {"sym_space": sym_space, "sym_blank": sym_blank, "sym_sos": sym_sos, "sym_eos": sym_eos}
        encoder_conf, vision_conf = dict(encoder_conf or {}), with_model_name(vision_encoder_conf, vision_model_name)
        adapters, precision = read_tower_adapters(tower_adapters), Precision(amp_dtype)
        parts = {"encoder": (encoder, encoder_conf), "decoder": (decoder, decoder_conf) if ctc_weight < 1 else None}
        # Four steps, each named. Their order is part of what a seed gives: all draw from the same random numbers.
        super().__init__(
            token_names(odim, token_list),
            **build_back_end(odim, **parts, ctc_conf=ctc_conf),
            frame_loss_weight=frame_loss_weight,
            **{**weights, **reports, **symbols, "extract_feats_in_collect_stats": extract_feats_in_collect_stats},
        )
        self.modality, self.feature_rate, self.fusion_place = modality, check_feature_rate(feature_rate), fusion_place
        vision, audio = (vision_encoder, vision_conf), (audio_encoder, audio_encoder_conf)
        tower, self.audio_encoder = build_frontends(modality, vision=vision, audio=audio, feature_rate=feature_rate)
        self._build_fusion(fusion, fusion_conf, modality_dropout, tower, parts["encoder"])
        self._initialize(init, tower)
        self._add_adapters(adapters, precision, weight_sources(vision_encoder=vision, audio_encoder=audio))

    def _split_encoder(self, encoder: str, encoder_conf: Mapping, vision_tower) -> None:
        """Add a second encoder of the same sizes, for the sound, and a projection before each of the two."""
        second = build_part("encoder", encoder, ENCODERS, encoder_conf, input_size=self.encoder.output_size())
        assert self.audio_encoder is not None  # `check_place` lets this place be chosen for both streams only
        sizes = {"video_size": vision_tower.output_size(), "audio_size": self.audio_encoder.output_size()}
        self.encoder = StreamEncoders(self.encoder, second, **sizes)

    def _build_fusion(
        self,
        fusion: str,
        fusion_conf: Mapping | None,
        modality_dropout: Mapping | None,
        vision_tower: "VisualFrontend | None",
        encoder: tuple[str, Mapping],
    ) -> None:
        """Add what joins the two streams, or the projection of the one there is, to the encoder's width.

        encoder: name and options, of which the second encoder is built where fusion stands behind two of them.
        """
        name, encoder_conf = encoder
        if self.fusion_place == "encoder":
            self._split_encoder(name, encoder_conf, vision_tower)
        self.modality_dropout = ModalityDropout(modality_dropout)
        video_size = None if vision_tower is None else vision_tower.output_size()
        audio_size = None if self.audio_encoder is None else self.audio_encoder.output_size()
        if self.fusion_place == "encoder":
            video_size = audio_size = self.encoder.output_size()
        self.fusion = build_fusion(
            fusion,
            video_size=video_size,
            audio_size=audio_size,
            output_size=self.encoder.output_size(),
            heads=encoder_conf.get("attention_heads", ENCODER_SIZES["attention_heads"]),
            conf=fusion_conf,
        )

    def _initialize(self, init: str | None, vision_tower: "VisualFrontend | None") -> None:
        """Apply ESPnet's scheme `init`, then add the vision encoder, whose pretrained weights it would overwrite."""
        if init is not None:
            initialize(self, init)
        self.vision_encoder = vision_tower

    def _add_adapters(
        self, adapters: Mapping[str, AdapterConfig], precision: Precision, sources: Mapping[str, str]
    ) -> None:
        """Attach `tower_adapters` to the towers, whose weights come from `sources`, and set the precision."""
        self.tower_adapters, self.precision, self.non_finite = adapters, precision, NonFiniteLosses()
        self.held_towers = set(adapters)  # whose BatchNorm keeps its statistics in training
        attach_adapters(self.towers(), adapters, sources=sources, default_compute_dtype=precision.dtype)
        if precision.dtype is not None and self.decoder is not None:
            self.criterion_att = ExactLoss(self.criterion_att)
        if self.ctc is not None:
            warn_of_pooling(self.vision_encoder)

    @classmethod
    def from_published(
        cls,
        checkpoint: str | Path | Mapping[str, torch.Tensor],
        *,
        token_list: list[str] | None = None,
        modality: str | None = None,
        options: Mapping | None = None,
    ) -> "E2E":
        """Load a published recognizer in evaluation mode; model/published/catalog.py lists the known layouts.

        checkpoint: the file, or its state dict under the published names. The layout and the sizes are read from names
        and shapes. token_list: the V tokens in ESPnet's order. modality: the recognizer to take from a file with
        several (USR). options: arguments of `E2E` that cannot be read from weights, in place of the publisher's.

        Raises:
            WeightsError: a file that cannot be read or does not hold exactly the weights of a known layout. The error
                names weights that are missing, unknown or of another shape.
            ConfigError: the length of token_list differs from the vocabulary's.
        """
        state = read_state_dict(checkpoint)
        layout = find_layout(state, modality)
        model = cls(**layout.recognizer_options(state) | dict(options or {}), token_list=token_list)
        layout.load(model, state)
        return model.eval()

    @classmethod
    def from_auto_avsr(
        cls,
        checkpoint: str | Path | Mapping[str, torch.Tensor],
        *,
        token_list: list[str] | None = None,
        waveform_normalization: str = "utterance",
        decoder_heads: int | None = None,
    ) -> "E2E":
        """Load a model of Auto-AVSR, as `from_published` does.

        waveform_normalization: option of the audio model; "utterance" is what Auto-AVSR's data loader does.
        decoder_heads: number of attention heads, which cannot be read from weights; None is the encoder's number, as in
        the published models.
        """
        state = read_state_dict(checkpoint)
        read = find_layout(state).recognizer_options(state)
        options = {}
        if "audio_encoder" in read:
            options["audio_encoder_conf"] = read["audio_encoder_conf"] | {
                "waveform_normalization": waveform_normalization
            }
        if decoder_heads is not None:
            options["decoder_conf"] = read["decoder_conf"] | {"attention_heads": decoder_heads}
        return cls.from_published(state, token_list=token_list, options=options)

    def forward(
        self,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        speech: torch.Tensor | None = None,
        speech_lengths: torch.Tensor | None = None,
        video: torch.Tensor | None = None,
        video_lengths: torch.Tensor | None = None,
        frame_labels: torch.Tensor | None = None,
        frame_labels_lengths: torch.Tensor | None = None,
        utt_id: list[str] | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Return the loss of a batch, its statistics and its weight (the batch size), as ESPnet2's trainer expects.

        text (B, L) int64, padded with -1; speech (B, N) float32 at 16 kHz; video (B, T, H, W) uint8 or normalized
        float; frame_labels (B, T') int64, -1 for steps without a label; utt_id: ids for error messages.
        """
        check_labels(text, text_lengths, size=self.vocab_size, utt_id=utt_id)
        text = text[:, : text_lengths.max()]
        streams = {"speech": speech, "speech_lengths": speech_lengths, "video": video, "video_lengths": video_lengths}
        states, lengths = self.encode(**streams, utt_id=utt_id)
        with self.precision.exact(text.device):
            loss, stats = self._losses(states, lengths, text, text_lengths, frame_labels)
        drop_attention_maps(self)
        stats["loss"] = loss.detach()
        if (cache := getattr(self.vision_encoder, "feature_cache", None)) is not None and video is not None:
            stats["cache_hits"] = cache.last_hits
        if self.training:
            loss = self.non_finite.check(loss, utt_id)
        return force_gatherable((loss, stats, text.size(0)), loss.device)  # pyright: ignore[reportReturnType] same type

    def encode(
        self,
        speech: torch.Tensor | None = None,
        speech_lengths: torch.Tensor | None = None,
        video: torch.Tensor | None = None,
        video_lengths: torch.Tensor | None = None,
        utt_id: list[str] | None = None,
    ) -> tuple["EncoderStates", torch.Tensor]:
        """Return encoder states (B, T', D) and their lengths (B,).

        With intermediate CTC the states are ((B, T', D), [(block, (B, T', D)), …]).
        """
        with self.precision.autocast(next(self.parameters()).device):
            seen, heard, lengths = self._features(speech, speech_lengths, video, video_lengths, utt_id)
            if self.fusion_place == "encoder":
                seen, heard = self.encoder(seen, heard, lengths)
                states = zero_padding(self._fuse(seen, heard, lengths), lengths)
            else:
                conditioning = {"ctc": self.ctc} if self.encoder.interctc_use_conditioning else {}
                states, lengths, _ = self.encoder(self._fuse(seen, heard, lengths), lengths, **conditioning)
        if self.precision.dtype is None:
            return states, lengths
        if isinstance(states, tuple):
            states, intermediate = states
            return (states.float(), [(block, x.float()) for block, x in intermediate]), lengths
        return states.float(), lengths

    def train(self, mode: bool = True) -> "E2E":
        super().train(mode)
        for name, tower in self.towers().items():
            if name in self.held_towers and tower is not None:
                hold_statistics(tower)
        return self

    def set_epoch(self, epoch: int) -> None:
        """Let what is scheduled by epoch be as in this one, from 1; the trainer calls it before each."""
        self.modality_dropout.set_epoch(epoch)

    def towers(self) -> dict[str, torch.nn.Module | None]:
        """The parts that `tower_adapters` can name; None where the model has none."""
        return {name: getattr(self, name) for name in TOWERS}

    def collect_feats(
        self,
        text: torch.Tensor | None = None,
        text_lengths: torch.Tensor | None = None,
        utt_id: list[str] | None = None,
        **streams: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """What the encoder would see: {"feats": (B, T', D), "feats_lengths": (B,)}; the arguments are `forward`'s.

        Of two encoders, what both would see side by side.
        """
        streams = {name: value for name, value in streams.items() if not name.startswith("frame_labels")}
        features, lengths = self._extract_feats(**streams, utt_id=utt_id)
        return {"feats": features, "feats_lengths": lengths}

    def _extract_feats(
        self, speech=None, speech_lengths=None, video=None, video_lengths=None, utt_id=None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes into the encoder -> (B, T', D), (B,)."""
        seen, heard, lengths = self._features(speech, speech_lengths, video, video_lengths, utt_id)
        if self.fusion_place == "encoder":
            return torch.cat([stream for stream in (seen, heard) if stream is not None], dim=-1), lengths
        return self._fuse(seen, heard, lengths), lengths

    def _fuse(self, seen: torch.Tensor | None, heard: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
        """Modality dropout and fusion of (B, T', D_v) and (B, T', D_a), or the projection of the one there is."""
        if seen is not None and heard is not None:
            seen, heard = self.modality_dropout(seen, heard)
        if self.modality == "multimodal":
            return self.fusion(seen, heard, lengths)
        return self.fusion(heard if seen is None else seen)

    def _features(
        self, speech=None, speech_lengths=None, video=None, video_lengths=None, utt_id=None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        """The frontends' features (B, T', D_v) and (B, T', D_a), None where there is none, and lengths (B,)."""
        check_input_streams(self.modality, speech=(speech, speech_lengths), video=(video, video_lengths))
        seen = heard = lengths = None
        if video is not None:
            assert self.vision_encoder is not None  # else check_input_streams has raised; so below
            seen, lengths = self.vision_encoder(video, video_lengths)
            seen = seen[:, : lengths.max()]  # a batch may be padded beyond its longest clip
        if speech is not None:
            assert self.audio_encoder is not None
            if video is not None:
                assert speech_lengths is not None and video_lengths is not None
                speech, speech_lengths = align_audio(speech, speech_lengths, video_lengths, utt_id)
            heard, heard_lengths = self.audio_encoder(speech, speech_lengths)
            lengths = heard_lengths if lengths is None else lengths
            heard = heard[:, : lengths.max()]
        assert lengths is not None
        return seen, heard, lengths
