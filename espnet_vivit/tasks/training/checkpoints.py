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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_vivit.errors import DataError, WeightsError
from espnet_vivit.tasks.training.atomic_save import PARTIAL, previous_of

if TYPE_CHECKING:
    import torch

CHECKPOINT = "checkpoint.pth"
_OF_EPOCH, _OF_TRAINING = ("model", "reporter"), ("optimizers", "schedulers")  # what ESPnet's trainer saves
_SHOWN = 300  # characters of torch's list of what does not fit


@dataclass(frozen=True)
class Found:
    """path: the whole checkpoint to go on from; None: there is none yet. damaged: what was found beside it, why."""

    path: Path | None
    damaged: tuple[tuple[Path, str], ...] = ()


def damage_of(path: Path) -> str | None:
    """`damage_of` of base/torch_file.py, which imports torch: a recipe asks this where there may be no checkpoint."""
    from espnet_vivit.base.torch_file import damage_of

    return damage_of(path)


def problem_of(path: Path, model: "torch.nn.Module | None" = None) -> str | None:
    """Why a training cannot go on from `path`: damaged, no checkpoint, weights that are NaN, or of another model.

    model: is left with the checkpoint's weights where they fit. Raises what the model itself has to say of them.
    """
    from espnet_vivit.base.torch_file import check_numbers, read_torch_file, state_dict_in

    if reason := damage_of(path):
        return reason
    try:
        states = read_torch_file(path, mmap=True)
        needed = _OF_EPOCH if model is None else _OF_EPOCH + _OF_TRAINING
        if not isinstance(states, Mapping) or (lacking := [name for name in needed if name not in states]):
            found = f"it lacks {', '.join(lacking)}" if isinstance(states, Mapping) else f"a {type(states).__name__}"
            return f"it is no checkpoint of a training: {found}"
        check_numbers(state_dict_in(states["model"], path), path)
    except WeightsError as error:
        return str(error)
    if problem := _problem_of_reporter(states["reporter"]):
        return problem
    try:
        if model is not None:
            model.load_state_dict(states["model"])
    except RuntimeError as error:
        return f"it is of another model ({' '.join(str(error).split())[:_SHOWN]} …)"
    return None


def _problem_of_reporter(reporter: Any) -> str | None:
    epoch = reporter.get("epoch") if isinstance(reporter, Mapping) else None
    if not isinstance(epoch, int) or epoch < 1:
        return f"it is of no finished epoch (epoch: {epoch!r})"
    stats = reporter.get("stats")
    if not isinstance(stats, Mapping) or not all(isinstance(stats.get(n), Mapping) for n in range(1, epoch + 1)):
        return f"it lacks the results of its {epoch} epochs"
    return None


def find_checkpoint(experiment: Path, problem_of: Callable[[Path], str | None] = damage_of) -> Found:
    """The newest checkpoint in `experiment` that has no problem. Changes nothing.

    Raises DataError if there are checkpoints and each has one.
    """
    newest = Path(experiment) / CHECKPOINT
    damaged = []
    for path in (newest, previous_of(newest)):
        if not path.is_file():
            continue
        reason = problem_of(path)
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


def prepare_resume(
    experiment: Path, criteria: Sequence[Sequence[str]], model: "torch.nn.Module | None" = None
) -> dict | None:
    """Make the folder as if nothing had been killed; returns the reporter's state in the checkpoint, if there is one.

    `criteria` are ESPnet's best_model_criterion, whose links `valid.acc.best.pth` are set again. Of two checkpoints
    the newest that fits `model` is taken. Raises DataError as `find_checkpoint` does.
    """
    experiment = Path(experiment)
    for partial in experiment.glob(f".*{PARTIAL}"):
        partial.unlink()
    found = find_checkpoint(experiment, lambda path: problem_of(path, model))
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

    from espnet_vivit.base.torch_file import read_torch_file

    states = read_torch_file(checkpoint, mmap=True)
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
