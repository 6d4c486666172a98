"""How far the training is: batches go through here on their way to the trainer, and a bar or lines in the log come out.

In a terminal a bar (tqdm) shows loss, accuracy, frames per second, peak memory and the time left; in a log file the
same stands in a line every ten seconds, which `espnet_vivit.bin.avsr_progress` turns back into a bar:

    progress: epoch 3/40, batch 120/300, loss 41.2, acc 0.312, 839 frames/s, 3.1 GiB, 2 min left, 1 h 10 min in all
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from tqdm import tqdm

from espnet_vivit.tasks.training.run_log import peak_memory_bytes
from espnet_vivit.units import SAMPLES_PER_FRAME, duration

INTERVAL_S = 10.0
SHOWN = ("loss", "acc")


def frames_of(batch: Mapping) -> int:
    """Valid video frames of a batch; of one with sound alone, as many as it would have at 25 per second."""
    if "video_lengths" in batch:
        return int(batch["video_lengths"].sum())
    return int(batch["speech_lengths"].sum()) // SAMPLES_PER_FRAME


class Batches(Protocol):
    """As ESPnet's loaders are: (utterance ids, batch) each, and it is known how many."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[list[str], dict]]: ...


class Progress:
    """Iterates over `batches`, (utterance ids, batch) each, and tells of it. `len` is theirs.

    `stats()` gives the numbers of the batch before, such as {"loss": 41.2}; `epoch_s` is what an epoch before took,
    validation included, None in the first; `processes` train on batches of their own like this one, so that frames per
    second are that many times as many. Afterwards `frames` and `seconds` say what went through here, and how long.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        epoch: int,
        max_epoch: int,
        stats: Callable[[], Mapping[str, float]],
        epoch_s: float | None,
        processes: int = 1,
        show: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.batches, self.epoch, self.max_epoch = batches, epoch, max_epoch
        self.stats, self.epoch_s, self.show, self.clock = stats, epoch_s, show, clock
        self.processes = processes
        self.frames = self.done = 0
        self.begun_s = clock()

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def seconds(self) -> float:
        return max(self.clock() - self.begun_s, 1e-9)

    def __iter__(self) -> Iterator:
        self.begun_s = shown_s = self.clock()
        bar = None
        if self.show and sys.stderr.isatty():
            bar = tqdm(total=len(self), desc=f"epoch {self.epoch}/{self.max_epoch}", leave=False, unit="batch")
        for utt_ids, batch in self.batches:
            frames = frames_of(batch)
            yield utt_ids, batch
            self.frames += frames  # the trainer is back for the next one
            self.done += 1
            if bar is not None:
                bar.set_postfix_str(", ".join(self._numbers()), refresh=False)
                bar.update()
            elif self.show and self.clock() - shown_s >= INTERVAL_S:
                shown_s = self.clock()
                logging.info("progress: %s", self.line())
        if bar is not None:
            bar.close()

    def line(self) -> str:
        return ", ".join([f"epoch {self.epoch}/{self.max_epoch}", f"batch {self.done}/{len(self)}", *self._numbers()])

    def _numbers(self) -> list[str]:
        known = self.stats()
        numbers = [f"{name} {known[name]:.3g}" for name in SHOWN if name in known]
        frames_per_s = self.processes * self.frames / self.seconds
        numbers += [f"{frames_per_s:.0f} frames/s", f"{peak_memory_bytes() / 2**30:.1f} GiB"]
        left_s = self.seconds / max(self.done, 1) * (len(self) - self.done)
        whole_s = self.epoch_s or self.seconds / max(self.done, 1) * len(self)
        numbers.append(f"{duration(left_s)} left")
        numbers.append(f"{duration(left_s + whole_s * (self.max_epoch - self.epoch))} in all")
        return numbers
