"""The numbers that a training goes by: which epochs are best, when to stop, when a plateau lowers the learning rate.

In: parsed options. ESPnet passes over a `best_model_criterion` whose number it does not find, and leaves a training of
days without the averaged model that decoding asks for; with the other two it ends after the first epoch. Both are
errors here, before the training.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_vivit.errors import ConfigError, unknown_name

_OF_CTC = ("loss_ctc", "cer_ctc", "wer_ctc")
_OF_ATTENTION = ("acc", "loss_att", "cer", "wer")
_OF_FRAMES = ("loss_frame", "acc_frame")
_ALL = ("loss", *_OF_CTC, *_OF_ATTENTION, *_OF_FRAMES, "loss_interctc")
_OF_TRANSCRIPTS = ("cer_ctc", "wer_ctc", "cer", "wer")  # which training batches are not decoded for
_PHASES = ("train", "valid")
_MODES = ("min", "max")
_PLATEAU = "reducelronplateau"  # how the names of schedulers that watch a number end


def measured(model_conf: Mapping, phase: str = "valid") -> tuple[str, ...]:
    """The numbers that a validation of the model gives, or phase "train" of it."""
    ctc_weight = model_conf.get("ctc_weight", 0.1)
    names = ["loss"]
    names += _OF_CTC if ctc_weight > 0 else ()
    names += ["loss_interctc"] if ctc_weight > 0 and model_conf.get("interctc_weight", 0) > 0 else []
    names += _OF_ATTENTION if ctc_weight < 1 else ()
    names += _OF_FRAMES if model_conf.get("frame_loss_weight", 0) > 0 else ()
    reports = {kind: model_conf.get(f"report_{kind}", True) for kind in ("cer", "wer")}
    unknown = [kind for kind, reported in reports.items() if not reported]
    unknown += [] if any(reports.values()) else ["cer_ctc"]
    return tuple(name for name in names if name not in (unknown if phase == "valid" else _OF_TRANSCRIPTS))


def check_criteria(args: argparse.Namespace, *, names: Sequence[str] | None = None) -> None:
    """Raise ConfigError for a criterion of another shape, a number that no model has, or one that this model lacks.

    names: the numbers that the model of another task measures in both phases; None: `measured` says them. Of several
    `best_model_criterion` one that this model measures is enough: ESPnet's own default has both losses.
    """
    best, known = args.best_model_criterion, _ALL if names is None else names
    of_phase = {phase: measured(args.model_conf or {}, phase) if names is None else tuple(names) for phase in _PHASES}
    if not isinstance(best, list | tuple) or not best or not all(_has_length(each, 3) for each in best):
        expected = "a list of lists of phase, number, and min or max, as [[valid, acc, max]]"
        raise ConfigError("best_model_criterion", found=repr(best), expected=expected)
    for criterion in best:
        _check_names("best_model_criterion", criterion, known)
    if not any(phase != "valid" or name in of_phase["valid"] for phase, name, _ in best):
        raise ConfigError(
            "best_model_criterion would choose no model",
            found=", ".join(name for _, name, _ in best),
            expected=f"one of {', '.join(of_phase['valid'])}, which this model_conf gives",
            fix="Set best_model_criterion: [[valid, loss, min]], and run.sh --inference_asr_model valid.loss.ave.pth",
        )
    stopping, plateau = args.early_stopping_criterion, args.val_scheduler_criterion
    if not _has_length(stopping, 3):
        expected = "a list of phase, number, and min or max, as [valid, loss, min]"
        raise ConfigError("early_stopping_criterion", found=repr(stopping), expected=expected)
    if not _has_length(plateau, 2):
        expected = "a list of phase and number, as [valid, loss]; min or max is mode in scheduler_conf"
        raise ConfigError("val_scheduler_criterion", found=repr(plateau), expected=expected)
    _check_names("early_stopping_criterion", stopping, known)
    _check_names("val_scheduler_criterion", plateau, known)
    if args.patience is not None:
        _check_measured("early_stopping_criterion", stopping, of_phase)
    if args.scheduler is not None and args.scheduler.lower().endswith(_PLATEAU):
        _check_measured("val_scheduler_criterion", plateau, of_phase)


def _has_length(criterion: Any, length: int) -> bool:
    return isinstance(criterion, list | tuple) and len(criterion) == length


def _check_names(option: str, criterion: tuple | list, known: Sequence[str]) -> None:
    """ConfigError for an unknown phase, number of the validation, or mode."""
    phase, name, *mode = criterion
    if phase not in _PHASES:
        raise unknown_name(f"phase in {option}", phase, _PHASES)
    if phase == "valid" and name not in known:
        raise unknown_name(f"number in {option}", name, known)
    if mode and mode[0] not in _MODES:
        raise unknown_name(f"mode in {option}", mode[0], _MODES)


def _check_measured(option: str, criterion: tuple | list, of_phase: Mapping[str, Sequence[str]]) -> None:
    phase, name, *_ = criterion
    names = of_phase[phase]
    if name not in names:
        raise ConfigError(
            f"{option} names what this model does not measure",
            found=f"{phase} {name}",
            expected=f"one of {', '.join(names)}, which this model_conf gives",
        )
