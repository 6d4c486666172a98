"""Is the model still listening and watching? An epoch's transcripts of the validation set in, warnings out.

Two ways in which a training fails without an error: the model says the same whatever its input is (most often nothing,
CTC's blank everywhere), or its word error rate stays at 100 %, or comes back to it. Both are normal for the first
epochs of CTC, which begins with blanks: nothing is said before the third epoch, and of blanks before the fifth. The
usual causes come with the warnings of the third, the fifth and then every fifth epoch.
"""

from collections.abc import Sequence

from espnet_vivit.errors import InputError
from espnet_vivit.evaluation.error_rates import find_collapse

FIRST_EPOCH = 3  # that is judged
FIRST_BLANK_EPOCH = 5  # in which saying nothing at all is judged
STUCK_EPOCHS = 5  # in a row
STUCK_RATE = 0.99  # word error rate from which a model has learnt nothing
LEARNT_RATE = 0.9  # below which it had learnt something

_BLANK = (
    "the learning rate is too high or its warm-up too short (optim_conf: {lr: …}, scheduler_conf: {warmup_steps: …})",
    "training began with long clips (begin with short ones: curriculum: {max_frames: 100, epochs: 10})",
    "labels do not fit into the feature steps (see espnet_vivit.bin.avsr_feasibility; feature_rate: frame has more)",
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
    """Sentences for the log; empty if all is well.

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
    epoch = len(wer_history)
    if epoch < FIRST_EPOCH:
        return []
    warnings = []
    collapse = find_collapse(dict(enumerate(references)), dict(enumerate(hypotheses))) if hypotheses else None
    if collapse is not None and (collapse.hypothesis or epoch >= FIRST_BLANK_EPOCH):
        causes = _INPUT + _BLANK if collapse.hypothesis else _BLANK + _INPUT
        warnings.append(_with_causes(str(collapse), causes, epoch))
    best, rate, stuck = min(wer_history), wer_history[-1], _stuck_for(wer_history)
    if rate >= STUCK_RATE and best < LEARNT_RATE:
        learnt = list(wer_history).index(best) + 1
        what = f"the word error rate was {best:.1%} in epoch {learnt} and is {rate:.1%} again"
        warnings.append(_with_causes(what, _DIVERGED, FIRST_EPOCH))
    elif stuck >= STUCK_EPOCHS:
        what = f"the word error rate has not left {rate:.1%} for {stuck} epochs"
        warnings.append(_with_causes(what, () if warnings else _BLANK + _INPUT, epoch))
    return warnings


def _stuck_for(wer_history: Sequence[float]) -> int:
    """How many epochs in a row, up to the last, had a rate of at least `STUCK_RATE`."""
    count = 0
    for rate in reversed(wer_history):
        if rate < STUCK_RATE:
            break
        count += 1
    return count


def _with_causes(what: str, causes: Sequence[str], epoch: int) -> str:
    told = epoch in (FIRST_EPOCH, FIRST_BLANK_EPOCH) or epoch % STUCK_EPOCHS == 0
    return what + (". Usual causes: " + "; ".join(causes) if causes and told else "")
