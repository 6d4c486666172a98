"""The model for isolated words: one clip in, the loss of its one word out, as ESPnet2's trainer expects.

A visual encoder and `VivitClassifier`'s head; cross entropy with label smoothing (Szegedy et al., CVPR 2016), top-1 and
top-5 accuracy. Protocol of LRW: J. S. Chung and A. Zisserman, "Lip reading in the wild", ACCV 2016.
"""

from collections.abc import Sequence
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch.nn.functional import cross_entropy

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.vivit.classifier import VivitClassifier
from espnet_vivit.model.labels import check_labels
from espnet_vivit.model.nonfinite import NonFiniteLosses
from espnet_vivit.model.precision import Precision

FIRST_WORD = 2  # of a token list (data/token_list.py): behind <blank> and <unk>; the last is <sos/eos>
MOST = 5  # guesses of top-5 accuracy, which says nothing of five classes or fewer


class WordModel(AbsESPnetModel):
    """`model(video, video_lengths, text, text_lengths) -> (loss, stats, weight)`; `classifier` gives the logits.

    Args:
        token_list: words as `data.token_list` writes them, between <blank>, <unk> and <sos/eos>; class c is token
            c + 2.
        vision_encoder: visual frontend.
        pooling, representation_size: of `VivitClassifier`.
        lsm_weight: share of the target that label smoothing spreads over all words.
        amp_dtype: dtype in which the classifier computes; the loss is computed in float32.

    Raises:
        ConfigError: fewer than two words, or a `lsm_weight` outside of [0, 1).
    """

    ctc = None  # what the trainer asks for greedy transcripts

    def __init__(
        self,
        token_list: Sequence[str],
        vision_encoder: Any,
        *,
        pooling: str = "mean",
        representation_size: int | None = None,
        lsm_weight: float = 0.1,
        amp_dtype: str | None = None,
    ):
        super().__init__()
        if not 0 <= lsm_weight < 1:
            raise ConfigError("lsm_weight", found=lsm_weight, expected="0 or more, below 1")
        self.words = list(token_list[FIRST_WORD:-1])
        self.classifier = VivitClassifier(
            vision_encoder, len(self.words), pooling=pooling, representation_size=representation_size
        )
        self.lsm_weight, self.precision, self.non_finite = lsm_weight, Precision(amp_dtype), NonFiniteLosses()

    def towers(self) -> dict[str, Any]:
        """The parts that `gradient_checkpointing` can name."""
        return {"vision_encoder": self.classifier.encoder}

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: nothing here is scheduled by epoch."""

    def forward(
        self,
        video: torch.Tensor,
        video_lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        utt_id: list[str] | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Video (B, T, H, W) as the encoder takes it; text (B, 1) token ids. Raises InputError for another text."""
        labels = self._labels(text, text_lengths, utt_id)
        with self.precision.autocast(video.device):
            logits = self.classifier(video, video_lengths)
        with self.precision.exact(video.device):
            logits = logits.float()
            loss = cross_entropy(logits, labels, label_smoothing=self.lsm_weight)
        ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
        stats = {"loss": loss.detach(), "acc": (ranks < 1).float().mean()}
        if len(self.words) > MOST:
            stats["acc5"] = (ranks < MOST).float().mean()
        if self.training:
            loss = self.non_finite.check(loss, utt_id)
        return force_gatherable((loss, stats, len(labels)), loss.device)  # pyright: ignore[reportReturnType]

    def _labels(self, text: torch.Tensor, text_lengths: torch.Tensor, utt_id: list[str] | None) -> torch.Tensor:
        """Classes (B,) of token ids (B, 1)."""
        check_labels(text, text_lengths, size=FIRST_WORD + len(self.words), utt_id=utt_id)
        for row in range(len(text)):
            count, token = int(text_lengths[row]), int(text[row, 0])
            if count == 1 and token >= FIRST_WORD:
                continue
            clip = f"clip {row} of the batch" if utt_id is None else f"utterance {utt_id[row]!r}"
            found = f"{count} words" if count != 1 else "a word that is not in the token list"
            raise InputError(f"the text of {clip} is no isolated word", found=found, expected="one word of the list")
        return text[:, 0] - FIRST_WORD

    def collect_feats(self, video: torch.Tensor, video_lengths: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        """The video itself: nothing here normalizes by statistics of the corpus."""
        return {"video": video, "video_lengths": video_lengths}
