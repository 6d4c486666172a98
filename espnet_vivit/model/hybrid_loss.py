"""The losses of E2E: CTC and attention in the hybrid sum of ESPnet2, intermediate CTC, and one on frame labels.

In: encoder states (B, T', D), their lengths, the tokens. Out: one loss and its statistics. CTC, the attention decoder's
loss and the error rates are ESPnet2's. Different here: the dropout before CTC ends with training, and padded steps are
no part of the CTC error rate. New: the frame loss, a cross-entropy on one token label per encoder step.
"""

from typing import Any

import torch
import torch.nn.functional as F
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from torch import nn

from espnet_vivit.errors import InputError
from espnet_vivit.espnet_compat import th_accuracy
from espnet_vivit.frontend.masking import length_mask
from espnet_vivit.model.error_rates_in_training import TrainingErrorCalculator
from espnet_vivit.model.precision import Precision

_FRAME_LOSS_SMOOTHING = 0.1
_NOT_OURS: dict[str, Any] = dict.fromkeys(
    ("frontend", "specaug", "normalize", "preencoder", "postencoder", "joint_network")
)


class HybridLoss(ESPnetASRModel):
    """`ESPnetASRModel` with these losses; `E2E` makes the parts and sets the weights.

    Args:
        token_list: the V tokens; index 0 is the CTC blank.
        encoder, decoder, ctc: the parts; decoder is None for a model of CTC alone.
        ctc_dropout_rate: of the encoder states (B, T', D) before CTC, in training.
        frame_loss_weight: weight of the frame loss; 0: off.
        ctc_weight, lsm_weight, …: as in ESPnet2's `model_conf`.
    """

    encoder: AbsEncoder  # ESPnet2 also has models without one; here each has
    precision: Precision  # set by E2E

    def __init__(
        self,
        token_list: list[str],
        *,
        encoder: nn.Module,
        decoder: nn.Module | None,
        ctc: nn.Module,
        ctc_dropout_rate: float,
        frame_loss_weight: float,
        ctc_weight: float,
        lsm_weight: float,
        interctc_weight: float,
        length_normalized_loss: bool,
        report_cer: bool,
        report_wer: bool,
        sym_space: str,
        sym_blank: str,
        sym_sos: str,
        sym_eos: str,
        extract_feats_in_collect_stats: bool,
    ):
        parts: dict[str, Any] = {"encoder": encoder, "decoder": decoder, "ctc": ctc}
        super().__init__(
            vocab_size=len(token_list),
            token_list=token_list,
            **parts,
            **_NOT_OURS,
            ctc_weight=float(ctc_weight),
            lsm_weight=float(lsm_weight),
            interctc_weight=float(interctc_weight),
            length_normalized_loss=length_normalized_loss,
            report_cer=report_cer,
            report_wer=report_wer,
            sym_space=sym_space,
            sym_blank=sym_blank,
            sym_sos=sym_sos,
            sym_eos=sym_eos,
            extract_feats_in_collect_stats=extract_feats_in_collect_stats,
        )
        if report_cer or report_wer:
            symbols = (token_list, sym_space, sym_blank)
            self.error_calculator = TrainingErrorCalculator(*symbols, report_cer, report_wer)
        self.ctc_dropout_rate = ctc_dropout_rate
        self.frame_loss_weight = frame_loss_weight
        self.frame_head = nn.Linear(self.encoder.output_size(), len(token_list)) if frame_loss_weight else None

    def _losses(self, states, lengths, text, text_lengths, frame_labels) -> tuple[torch.Tensor, dict]:
        """The weighted sum of all losses and the statistics of each, from what `encode` gives."""
        states, intermediate = states if isinstance(states, tuple) else (states, [])
        stats: dict[str, torch.Tensor | float | None] = {}
        loss = states.new_zeros(())
        if self.ctc_weight > 0:
            loss_ctc, stats["cer_ctc"] = self._calc_ctc_loss(states, lengths, text, text_lengths)
            stats["loss_ctc"] = loss_ctc.detach()
            if intermediate and self.interctc_weight > 0:
                inner = [self._calc_ctc_loss(x, lengths, text, text_lengths)[0] for _, x in intermediate]
                loss_interctc = torch.stack(inner).mean()
                stats["loss_interctc"] = loss_interctc.detach()
                loss_ctc = (1 - self.interctc_weight) * loss_ctc + self.interctc_weight * loss_interctc
            loss = loss + self.ctc_weight * loss_ctc
        if self.ctc_weight < 1:
            with self.precision.autocast(text.device):
                loss_att, *rates = self._calc_att_loss(states, lengths, text, text_lengths)
            stats |= dict(zip(("acc", "cer", "wer"), rates, strict=True)) | {"loss_att": loss_att.detach()}
            loss = loss + (1 - self.ctc_weight) * loss_att
        if self.frame_head is not None:
            loss_frame, stats["acc_frame"] = self._frame_loss(self.frame_head, states, frame_labels)
            stats["loss_frame"] = loss_frame.detach()
            loss = loss + self.frame_loss_weight * loss_frame
        return loss, stats

    def _calc_ctc_loss(self, encoder_out, encoder_out_lens, ys_pad, ys_pad_lens) -> tuple[torch.Tensor, float | None]:
        """ESPnet2's, but its dropout ends with training, and padded steps are no part of the error rate."""
        assert self.ctc is not None  # it is where ctc_weight is above 0
        kept = F.dropout(encoder_out, self.ctc_dropout_rate, self.training)
        loss = self.ctc(kept, encoder_out_lens, ys_pad, ys_pad_lens)
        if self.training or self.error_calculator is None:
            return loss, None
        padding = ~length_mask(encoder_out_lens, encoder_out.size(1))
        best = self.ctc.argmax(encoder_out).masked_fill(padding, self.blank_id)
        rate: Any = self.error_calculator(best.cpu(), ys_pad.cpu(), is_ctc=True)  # of an attention decoder it were two
        return loss, rate

    def _frame_loss(self, head: nn.Linear, states, labels) -> tuple[torch.Tensor, float | None]:
        """Cross-entropy of (B, T', D) states against one token label per step (B, T'), and the share that is right."""
        if labels is None:
            raise InputError(
                "frame_loss_weight is set, but the batch has no frame_labels",
                expected="a token label per encoder step, which the preprocessing makes from word_times",
                fix="Add word_times to the training and validation data, or set frame_loss_weight: 0",
            )
        labels = labels[:, : states.size(1)]
        if labels.shape != states.shape[:2]:
            found, expected = tuple(labels.shape), tuple(states.shape[:2])
            raise InputError("frame_labels do not match the encoder's steps", found=found, expected=expected)
        logits = head(states)  # (B, T', V)
        if (labels == -1).all():  # no clip of the batch has word times: nothing to learn, and no mean over nothing
            return 0.0 * logits.sum(), None
        smoothing = _FRAME_LOSS_SMOOTHING if self.training else 0.0
        flat = logits.flatten(0, 1).float()
        loss = F.cross_entropy(flat, labels.flatten(), ignore_index=-1, label_smoothing=smoothing)
        return loss, th_accuracy(logits.flatten(0, 1), labels, ignore_label=-1)
