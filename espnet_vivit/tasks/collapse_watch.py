"""Is the model still listening and watching? An epoch's transcripts of the validation set in, warnings out.

Two ways in which a training fails without an error: the model says the same whatever its input is (most often nothing,
CTC's blank everywhere), or its word error rate stays at 100 %, or comes back to it. Both are normal for the first
epochs of CTC, so nothing is said before the third.
"""

from collections.abc import Sequence

from espnet_vivit.error_rates import find_collapse
from espnet_vivit.errors import InputError

FIRST_EPOCH = 3  # that is judged
STUCK_EPOCHS = 5  # in a row
STUCK_RATE = 0.99  # word error rate from which a model has learnt nothing
LEARNT_RATE = 0.9  # below which it had learnt something

_BLANK = (
    "the learning rate is too high or its warm-up too short (optim_conf: {lr: …}, scheduler_conf: {warmup_steps: …})",
    "training began with long clips (begin with short ones: curriculum: {max_frames: 100, epochs: 10})",
    "labels do not fit into the feature steps (see espnet_vivit.bin.avsr_feasibility; feature_rate: frame has twice)",
    "a small model without frame_loss_weight stays there for long (it needs word_times)",
)
_INPUT = (
    "the video shows no mouth, or is not 25 frames per second (look at a few crops)",
    "video, sound and text belong to different clips (compare the lists of the data directory)",
    "weights meant to be pretrained were not loaded (see the table of parts in the log)",
)
_DIVERGED = (
    "the learning rate is too high, or grad_clip too large",
    "a tower that was unfrozen needs a lower rate (lr_scale: {vision_encoder: 0.1})",
    "losses that are not finite (look for them in the log; amp_dtype: bfloat16 in place of float16)",
)


def collapse_warnings(hypotheses: Sequence[str], references: Sequence[str], wer_history: Sequence[float]) -> list[str]:
    """Sentences for the log, each with the usual causes; empty if all is well.

    hypotheses, references: transcripts of the same utterances in the same order, of the epoch that has just ended.
    wer_history: word error rate on them of every epoch so far, as a fraction (1.0 is 100 %), this epoch's last.

    Raises InputError if hypotheses and references are not equally many.
    """
    if len(hypotheses) != len(references):
        raise InputError(
            "hypotheses and references do not belong together",
            found=f"{len(hypotheses)} hypotheses, {len(references)} references",
            expected="one of each per utterance",
        )
    if len(wer_history) < FIRST_EPOCH:
        return []
    warnings = []
    collapse = None
    if hypotheses:
        said, meant = (dict(enumerate(texts)) for texts in (hypotheses, references))
        collapse = find_collapse(meant, said)
    if collapse is not None:
        warnings.append(_with_causes(str(collapse), (*_BLANK, *_INPUT) if not collapse.hypothesis else _INPUT + _BLANK))
    recent = wer_history[-STUCK_EPOCHS:]
    best = min(wer_history)
    if wer_history[-1] >= STUCK_RATE and best < LEARNT_RATE:
        epoch = list(wer_history).index(best) + 1
        what = f"the word error rate was {best:.1%} in epoch {epoch} and is {wer_history[-1]:.1%} again"
        warnings.append(_with_causes(what, _DIVERGED))
    elif len(recent) == STUCK_EPOCHS and min(recent) >= STUCK_RATE:
        what = f"the word error rate has not left {recent[-1]:.1%} for {_stuck_for(wer_history)} epochs"
        warnings.append(_with_causes(what, () if collapse is not None else (*_BLANK, *_INPUT)))
    return warnings


def _stuck_for(wer_history: Sequence[float]) -> int:
    """How many epochs in a row, up to the last, had a rate of at least `STUCK_RATE`."""
    count = 0
    for rate in reversed(wer_history):
        if rate < STUCK_RATE:
            break
        count += 1
    return count


def _with_causes(what: str, causes: Sequence[str]) -> str:
    return what + (". Usual causes: " + "; ".join(causes) if causes else "")
