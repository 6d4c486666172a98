"""What `espnet-vivit check` says of the model on the data: one batch learnt by heart, memory and time of the largest.

A model that cannot learn four clips by heart, with nothing dropped out and nothing augmented, has a fault in its data,
its labels or itself; one that can may still fail to learn the corpus. The largest batch is computed last, with the
configured optimizer, forward, backward and step: what it takes is what training takes.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from espnet_vivit.base.finding import FAIL, OK, WARN, Finding
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.rehearsal.batches import TrainingBatches
from espnet_vivit.tasks.training.out_of_memory import is_out_of_memory
from espnet_vivit.tasks.training.run_log import peak_memory_bytes
from espnet_vivit.units import duration

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

CLIPS = 4  # learnt by heart
LOOK_EVERY = 10  # steps
WARMUP_STEPS = 20
GRADIENT_NORM = 5.0
TOO_FULL = 0.9  # of the memory there is
GIB = 2**30


@dataclass(frozen=True)
class Learnt:
    """What became of one batch. Error rates are shares; None where the model has no such branch."""

    first_loss: float
    last_loss: float
    steps: int
    seconds: float
    ctc_errors: float | None  # of the best path, per token
    accuracy: float | None  # of the attention decoder, given the tokens before

    @property
    def by_heart(self) -> bool:
        return self.ctc_errors in (None, 0) and self.accuracy in (None, 1)


def model_finding(model: nn.Module) -> Finding:
    """How large the model is, and how much of it is trained."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in counts), sum(n for n, grad in counts if grad)
    found = f"{total / 1e6:.1f} M parameters, {trained / 1e6:.1f} M of them trained"
    if not trained:
        return Finding(FAIL, "model", found, "everything is frozen: see frozen, freeze_param and tower_adapters")
    return Finding(OK, "model", found)


def configured_optimizer(args: argparse.Namespace, model: "E2E") -> torch.optim.Optimizer:
    """The optimizer that training would have; raises ConfigError for options that it does not take."""
    try:
        (optimizer,) = AVSRTask.build_optimizers(args, model)
    except TypeError as error:
        raise ConfigError(f"optim_conf does not fit optim: {args.optim} ({error})") from error
    return optimizer


def clips_to_learn(batches: TrainingBatches, texts: Mapping[str, str], *, count: int = CLIPS) -> list[str]:
    """The shortest utterances that say different things: with equal texts a model learns without looking."""
    chosen: dict[str, str] = {}
    for utt_id in sorted(batches.frames, key=lambda utt_id: (batches.frames[utt_id], utt_id)):
        if utt_id in texts:
            chosen.setdefault(texts[utt_id], utt_id)
    return list(chosen.values())[:count]


def learn_by_heart(
    model: "E2E", optimizer: torch.optim.Optimizer, batch: Mapping[str, torch.Tensor], *, limit_s: float
) -> Learnt:
    """Train on one batch until it is known by heart, or for `limit_s` seconds."""
    rates = [group["lr"] for group in optimizer.param_groups]
    begun_s, losses, step, errors, accuracy = time.monotonic(), [], 0, None, None
    with without_dropout(model):
        while True:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / WARMUP_STEPS)
            losses.append(float(training_step(model, optimizer, batch)))
            step += 1
            late = time.monotonic() - begun_s >= limit_s
            if step % LOOK_EVERY == 0 or late:
                errors, accuracy = what_is_known(model, batch)
                learnt = Learnt(losses[0], losses[-1], step, time.monotonic() - begun_s, errors, accuracy)
                if late or learnt.by_heart or not torch.tensor(losses[-1]).isfinite():
                    return learnt


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """One forward and backward pass and step of the optimizer; the loss before it."""
    optimizer.zero_grad()
    loss, _, _ = model.train()(**batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    return loss.detach()


@contextmanager
def without_dropout(model: "E2E") -> Iterator[None]:
    """Inside the block nothing is dropped out: neither features nor a whole stream."""
    layers = [(layer, layer.p) for layer in model.modules() if isinstance(layer, nn.Dropout)]
    ctc_rate, streams = model.ctc_dropout_rate, model.modality_dropout
    try:
        for layer, _ in layers:
            layer.p = 0.0
        model.ctc_dropout_rate, model.modality_dropout = 0.0, type(streams)()
        yield
    finally:
        for layer, rate in layers:
            layer.p = rate
        model.ctc_dropout_rate, model.modality_dropout = ctc_rate, streams


@torch.no_grad()
def what_is_known(model: "E2E", batch: Mapping[str, torch.Tensor]) -> tuple[float | None, float | None]:
    """(token errors of CTC's best path per token, accuracy of the attention decoder), evaluated without training."""
    import jiwer

    model.eval()
    _, stats, _ = model(**batch)
    accuracy = None if stats.get("acc") is None else float(stats["acc"])
    if model.ctc is None:
        return None, accuracy
    streams = {name: batch[name] for name in batch if name.startswith(("speech", "video"))}
    states, lengths = model.encode(**streams, utt_id=None)
    states = states[0] if isinstance(states, tuple) else states
    said, wanted = [], []
    for row, length, text, count in zip(
        model.ctc.argmax(states), lengths, batch["text"], batch["text_lengths"], strict=True
    ):
        said.append(" ".join(str(label) for label, _ in groupby(row[:length].tolist()) if label != model.blank_id))
        wanted.append(" ".join(map(str, text[:count].tolist())))
    return jiwer.wer(wanted, said), accuracy


def learnt_finding(learnt: Learnt, clips: int) -> Finding:
    """The verdict on one batch."""
    known = []
    if learnt.ctc_errors is not None:
        known.append(f"CTC errors {learnt.ctc_errors:.0%}")
    if learnt.accuracy is not None:
        known.append(f"attention accuracy {learnt.accuracy:.0%}")
    found = (
        f"{clips} clips, {learnt.steps} steps in {learnt.seconds:.0f} s: loss {learnt.first_loss:.2f} to "
        f"{learnt.last_loss:.2f}, {', '.join(known)}"
    )
    name = "one batch"
    if learnt.by_heart and clips > 1:
        return Finding(OK, name, f"learnt by heart; {found}")
    if learnt.by_heart:
        return Finding(WARN, name, found, "one sentence can be learnt without looking; check more than one")
    if not learnt.last_loss < 0.9 * learnt.first_loss:
        fix = "the loss does not fall: compare clips with transcripts, try another --lr, unfreeze or simplify the model"
        return Finding(FAIL, name, found, fix)
    return Finding(WARN, name, f"not yet by heart; {found}", "the loss falls: give it more --seconds, or a GPU")


# --- memory ---


def largest_finding(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: TrainingBatches,
    device: torch.device,
    *,
    joined: bool = False,
) -> Finding:
    """Memory and time of the largest batch. A quarter of it goes first, so that the whole is not tried in vain.

    joined: training puts some clips one behind another, which this batch does not show; the row says so.
    """
    utt_ids = batches.largest
    frames = batches.padded(utt_ids)
    name, what = "largest batch", f"{len(utt_ids)} clips, {frames} frames padded"
    if joined:
        what += ", more where join_prob joins some"
    fix = "lower batch_frames, batch_bins or batch_size, or see gradient_checkpointing, amp_dtype and tower_adapters"
    total = total_memory(device)
    try:
        quarter = utt_ids[: max(1, len(utt_ids) // 4)]
        before = reset_peak(device)
        peak, _ = _measured_step(model, optimizer, batches.load(quarter, device), device)
        expected = before + (peak - before) * frames / batches.padded(quarter)
        if expected > total:
            found = f"{what}: {expected / GIB:.1f} GiB expected of {total / GIB:.1f}, from a quarter of it"
            return Finding(FAIL, name, found, fix)
        reset_peak(device)
        peak, step_s = _measured_step(model, optimizer, batches.load(utt_ids, device), device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Finding(FAIL, name, f"{what}: out of memory, {total / GIB:.1f} GiB", fix)
    epoch_s = step_s * batches.padded_frames / frames
    found = (
        f"{what}: {peak / GIB:.2f} of {total / GIB:.1f} GiB, {step_s:.2f} s a step; "
        f"an epoch of {len(batches.ids)} batches about {duration(epoch_s)}"
    )
    return Finding(WARN, name, found, f"little is left; {fix}") if peak > TOO_FULL * total else Finding(OK, name, found)


def _measured_step(model, optimizer, batch, device: torch.device) -> tuple[int, float]:
    """(peak memory in bytes, seconds) of a training step."""
    begun_s = time.monotonic()
    training_step(model, optimizer, batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return peak(device), time.monotonic() - begun_s


def total_memory(device: torch.device) -> int:
    """Bytes that this process could have: of the GPU, or what it has and what Linux and its container leave it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    lines, container = _proc("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    here = lines["MemAvailable"] + _proc("/proc/self/status")["VmRSS"] if lines else sys.maxsize
    limit = container.read_text(encoding="ascii").strip() if container.is_file() else "max"
    return here if limit == "max" else min(here, int(limit))


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _proc("/proc/self/status").get("VmHWM") or peak_memory_bytes()


def reset_peak(device: torch.device) -> int:
    """Forget earlier peaks; returns what is in use now, in bytes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or not allowed: the peak of the whole run is what can be told
        return peak(device)
    return _proc("/proc/self/status")["VmRSS"]


def _proc(path: str) -> dict[str, int]:
    """`Name:  123 kB` lines of a file under /proc, in bytes; empty where there is no such file."""
    if not Path(path).is_file():
        return {}
    rows = (line.split() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def device_of(name: str) -> torch.device:
    """ "auto" is a GPU if there is one. Raises ConfigError for one that is not there."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("no GPU that PyTorch can use", found="--device cuda", fix="See espnet-vivit doctor.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def trained_parameters(model: nn.Module) -> Sequence[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
