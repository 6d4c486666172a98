"""What a training tells of itself while it runs, epoch by epoch: progress, `log.jsonl`, dev word error rate, warnings.

In: what ESPnet's trainer does, through the three calls below. Out: lines in the log, `log.jsonl`, and `wer_ctc` among
the numbers of the validation, so that TensorBoard, W&B, `best_model_criterion` and the results line have it as well.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from espnet_vivit.espnet_compat import aggregate
from espnet_vivit.tasks.training.collapse_watch import collapse_warnings
from espnet_vivit.tasks.training.greedy_transcripts import GreedyTranscripts
from espnet_vivit.tasks.training.progress import Batches, Progress
from espnet_vivit.tasks.training.run_log import RunLog

if TYPE_CHECKING:
    from espnet2.train.reporter import SubReporter

    from espnet_vivit.e2e_asr_conformer import E2E

WER = "wer_ctc"
_RECENT = 10  # batches over which progress shows the loss


class TrainingReport:
    """Of one run. `first`: whether this process writes; `distributed`: whether there are others."""

    def __init__(
        self,
        folder: Path,
        *,
        finished_epochs: int,
        max_epoch: int,
        token_type: str,
        first: bool = True,
        distributed: bool = False,
    ):
        self.max_epoch, self.token_type = max_epoch, token_type
        self.first, self.distributed = first, distributed
        self.log = RunLog(folder, finished_epochs=finished_epochs) if first else None
        self.epoch_s: float | None = None  # how long the epoch before took
        self._trained: tuple[dict, int, float] | None = None  # means, frames, seconds of this epoch, after `trained`

    def train_progress(self, batches: Batches, reporter: "SubReporter") -> Progress:
        """`batches` on their way to the trainer; `reporter` is ESPnet's for this epoch."""
        return Progress(
            batches,
            epoch=reporter.get_epoch(),
            max_epoch=self.max_epoch,
            stats=lambda: means(reporter, last=_RECENT, names=("loss", "acc")),
            epoch_s=self.epoch_s,
            processes=torch.distributed.get_world_size() if self.distributed else 1,
            show=self.first,
        )

    def trained(self, progress: Progress, reporter: "SubReporter") -> None:
        """An epoch's training is over, in this process and the others, who all call this."""
        shares = [progress.frames]
        if self.distributed:
            shares *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(shares, progress.frames)
        self._trained = means(reporter), sum(shares), progress.seconds

    @contextmanager
    def validating(self, model: "E2E", reporter: "SubReporter") -> Iterator[None]:
        """Around an epoch's validation of `model` (E2E)."""
        begun_s = time.perf_counter()
        transcripts = GreedyTranscripts(self.token_type)
        with transcripts.listening(model):
            yield
        if self.distributed:
            transcripts.gather()
        wer = transcripts.word_error_rate()
        if wer is not None:
            reporter.register({WER: wer})
            reporter.next()
        if self.log is not None:
            self._write(self.log, transcripts, reporter, time.perf_counter() - begun_s)

    def _write(self, log: RunLog, transcripts: GreedyTranscripts, reporter, valid_s: float) -> None:
        assert self._trained is not None
        train, frames, train_s = self._trained
        valid = means(reporter)
        warnings = []
        if WER in valid:
            history = [*log.values("valid", WER), valid[WER]]
            said = [transcripts.hypotheses[utt_id] for utt_id in transcripts.references]
            warnings = collapse_warnings(said, list(transcripts.references.values()), history)
        for warning in warnings:
            logging.warning("epoch %d: %s", reporter.get_epoch(), warning)
        self.epoch_s = train_s + valid_s
        log.add(
            epoch=reporter.get_epoch(),
            train=train,
            valid=valid,
            train_s=train_s,
            valid_s=valid_s,
            frames=frames,
            warnings=warnings,
        )


def means(
    reporter: "SubReporter", *, last: int | None = None, names: tuple[str, ...] | None = None
) -> dict[str, float]:
    """Of each number that ESPnet's SubReporter has, over all batches so far or the `last` ones."""
    return {
        name: float(aggregate(values[-last:] if last else values))
        for name, values in reporter.stats.items()
        if values and (names is None or name in names)
    }
