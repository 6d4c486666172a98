"""`best_model_criterion` and its like: numbers that are never measured are errors before the training.

In: parsed options. ESPnet passes over a criterion whose number it does not find, and leaves a training of days without
the averaged model that decoding asks for.
"""

import argparse
from collections.abc import Mapping

from espnet_vivit.errors import ConfigError, unknown_name

_OF_CTC = ("loss_ctc", "cer_ctc", "wer_ctc")
_OF_ATTENTION = ("acc", "loss_att", "cer", "wer")
_OF_FRAMES = ("loss_frame", "acc_frame")
_ALL = ("loss", *_OF_CTC, *_OF_ATTENTION, *_OF_FRAMES, "loss_interctc")


def measured(model_conf: Mapping) -> tuple[str, ...]:
    """The numbers that a validation of the model gives."""
    ctc_weight = model_conf.get("ctc_weight", 0.1)
    names = ["loss"]
    names += _OF_CTC if ctc_weight > 0 else ()
    names += ["loss_interctc"] if ctc_weight > 0 and model_conf.get("interctc_weight", 0) > 0 else []
    names += _OF_ATTENTION if ctc_weight < 1 else ()
    names += _OF_FRAMES if model_conf.get("frame_loss_weight", 0) > 0 else ()
    return tuple(names)


def check_criteria(args: argparse.Namespace) -> None:
    """Raise ConfigError for a number of the validation that no model has, or criteria of which this model has none."""
    for phase, name, _ in args.best_model_criterion:
        if phase == "valid" and name not in _ALL:
            raise unknown_name("number in best_model_criterion", name, _ALL)
    names = measured(args.model_conf or {})
    if not any(phase != "valid" or name in names for phase, name, _ in args.best_model_criterion):
        raise ConfigError(
            "best_model_criterion would choose no model",
            found=", ".join(name for _, name, _ in args.best_model_criterion),
            expected=f"one of {', '.join(names)}, which this model_conf gives",
            fix="Set best_model_criterion: [[valid, loss, min]], and run.sh --inference_asr_model valid.loss.ave.pth",
        )
