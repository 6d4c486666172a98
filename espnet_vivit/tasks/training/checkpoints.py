"""Where a training that was stopped goes on: an experiment's folder in, a whole `checkpoint.pth` in it or an error.

A process can be killed, a disk can be full, a file can lose a byte. What is found then:

* an unfinished file beside the checkpoint (see espnet_vivit.tasks.training.atomic_save): removed;
* a checkpoint that is cut off or whose bytes have changed (its zip archive has a CRC-32 of each part, which
  `torch.load` does not look at): it is named and set aside, and the one before it is used;
* a checkpoint of epoch N, but no `Nepoch.pth`, or no link to it: the kill fell between the two files. The weights are
  in the checkpoint and are written again, as ESPnet's averaging would end with an error without them.
"""

import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.errors import DataError
from espnet_vivit.tasks.training.atomic_save import PARTIAL, previous_of

CHECKPOINT = "checkpoint.pth"


@dataclass(frozen=True)
class Found:
    """path: the whole checkpoint to go on from; None: there is none yet. damaged: what was found beside it, why."""

    path: Path | None
    damaged: tuple[tuple[Path, str], ...] = ()


def damage_of(path: Path) -> str | None:
    """What is wrong with a file that `torch.save` has written; None if every byte is as it was."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        return f"it was cut off, or is no file of torch ({error})"
    return None if bad is None else f"bytes of {bad} in it have changed"


def find_checkpoint(experiment: Path) -> Found:
    """The newest whole checkpoint in `experiment`. Changes nothing.

    Raises DataError if there are checkpoints and each is damaged.
    """
    newest = Path(experiment) / CHECKPOINT
    damaged = []
    for path in (newest, previous_of(newest)):
        if not path.is_file():
            continue
        reason = damage_of(path)
        if reason is None:
            return Found(path, tuple(damaged))
        damaged.append((path, reason))
    if not damaged:
        return Found(None)
    raise DataError(
        "no checkpoint to continue from",
        found="; ".join(f"{path}: {reason}" for path, reason in damaged),
        fix=f"Remove {' and '.join(path.name for path, _ in damaged)} to train from the beginning, with "
        "--init_param if the weights of a finished epoch beside it shall be the start.",
    )


def prepare_resume(experiment: Path, criteria: Sequence[Sequence[str]]) -> dict | None:
    """Make the folder as if nothing had been killed; returns the reporter's state in the checkpoint, if there is one.

    `criteria` are ESPnet's best_model_criterion, whose links `valid.acc.best.pth` are set again. Raises DataError as
    `find_checkpoint` does.
    """
    experiment = Path(experiment)
    for partial in experiment.glob(f".*{PARTIAL}"):
        partial.unlink()
    found = find_checkpoint(experiment)
    if found.path is None:
        return None
    for path, reason in found.damaged:
        aside = path.with_name(f"{path.name}.damaged")
        logging.warning("%s cannot be used: %s. It is kept as %s; going on from %s", path, reason, aside, found.path)
        os.replace(path, aside)
    checkpoint = experiment / CHECKPOINT
    if found.path != checkpoint:
        os.replace(found.path, checkpoint)
    return _mend_epoch(checkpoint, criteria)


def _mend_epoch(checkpoint: Path, criteria: Sequence[Sequence[str]]) -> dict:
    import torch

    states = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)
    reporter = states["reporter"]
    epoch = reporter["epoch"]
    weights = checkpoint.with_name(f"{epoch}epoch.pth")
    reason = damage_of(weights) if weights.is_file() else "it is missing"
    if reason is not None:
        logging.warning("%s: %s; writing it again from %s", weights, reason, checkpoint.name)
        torch.save(states["model"], weights)
    set_link(checkpoint.with_name("latest.pth"), weights.name)
    for phase, name, mode in criteria:
        best = best_epoch(reporter["stats"], phase, name, mode)
        if best is not None and checkpoint.with_name(f"{best}epoch.pth").is_file():
            set_link(checkpoint.with_name(f"{phase}.{name}.best.pth"), f"{best}epoch.pth")
    return reporter


def best_epoch(stats: dict[int, dict], phase: str, name: str, mode: str) -> int | None:
    """The first epoch with the best value, as ESPnet's reporter chooses it; None if one epoch lacks the value."""
    values = {epoch: phases.get(phase, {}).get(name) for epoch, phases in stats.items()}
    if not values or None in values.values():
        return None
    return min(values, key=lambda epoch: values[epoch] if mode == "min" else -values[epoch])


def set_link(link: Path, target: str) -> None:
    """A symbolic link, replaced in one step."""
    if link.is_symlink() and os.readlink(link) == target:
        return
    partial = link.with_name(f".{link.name}{PARTIAL}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    os.replace(partial, link)
