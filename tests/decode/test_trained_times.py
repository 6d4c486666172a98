"""A model that has learnt eight clips by heart: its word times are true, its confidence tells right from wrong."""

import pytest
import torch

from espnet_vivit.data.word_times import WordTime
from espnet_vivit.decode.word_times import StepScores, words_with_times
from espnet_vivit.evaluation.boundary_errors import boundary_errors
from tests.test_overfit import END, FRAMES_PER_TOKEN, TEXTS, eight_clips
from tests.tiny import PIXELS, tiny_e2e

FRAME_S = 0.04
SILENT_FRAMES = 2  # before the first token
SPOKEN_FRAMES = FRAMES_PER_TOKEN - 1
STEPS = 400  # at most; 15 s on one core
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # of a machine that may be busy with others


def known_times(text) -> tuple[WordTime, ...]:
    starts = [SILENT_FRAMES + FRAMES_PER_TOKEN * position for position in range(len(text))]
    return tuple(
        WordTime(start * FRAME_S, (start + SPOKEN_FRAMES) * FRAME_S, str(token))
        for start, token in zip(starts, text, strict=True)
    )


def frame_labels(text) -> torch.Tensor:
    labels = [0] * SILENT_FRAMES
    for token in text:
        labels += [token] * SPOKEN_FRAMES + [0]
    return torch.tensor(labels)


@pytest.fixture(scope="module")
def trained():
    """(model, CTC and frame-head log-probabilities of each clip)"""
    torch.manual_seed(0)
    linear = {"vision_encoder": "linear", "vision_encoder_conf": {"image_size": PIXELS, "output_dim": 16}}
    model = tiny_e2e("video", **linear, frame_loss_weight=1.0, report_cer=False, report_wer=False)
    streams, text = eight_clips()
    labels = [frame_labels(tokens) for tokens in TEXTS]
    padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-1)
    batch = {**streams["video"], **text, "frame_labels": padded}
    batch["frame_labels_lengths"] = torch.tensor([len(row) for row in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss, stats, _ = model.train()(**batch)
        if stats["acc_frame"] > 0.98 and stats["loss_ctc"] < 0.2:
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        states, lengths = model.eval().encode(**streams["video"])
        ctc, frame = model.ctc.log_softmax(states), model.frame_head(states).log_softmax(-1)
    return [
        StepScores(ctc=c[:length], frame=f[:length], blank=0, step_s=FRAME_S)
        for c, f, length in zip(ctc, frame, lengths, strict=True)
    ]


def words_of(scores, text):
    return words_with_times([str(token) for token in text], text, scores, tokens2text=" ".join)


def test_boundaries_by_the_frame_head_are_the_true_ones(trained):
    known, found = {}, {}
    for number, (scores, text) in enumerate(zip(trained, TEXTS, strict=True)):
        known[str(number)] = known_times(text)
        found[str(number)] = [WordTime(w.start_s, w.end_s, w.text) for w in words_of(scores, text)]
    errors = boundary_errors(known, found)
    assert len(errors.starts) == sum(map(len, TEXTS))
    assert errors.median_s <= FRAME_S and errors.p90_s <= 2 * FRAME_S


def test_confidence_is_high_for_what_was_said_and_low_for_what_was_not(trained):
    for scores, text in zip(trained, TEXTS, strict=True):
        assert all(word.confidence > 0.8 for word in words_of(scores, text))
        for position, token in enumerate(text):
            wrong = [*text]
            wrong[position] = token % (END - 1) + 1
            if wrong[position] in text[max(0, position - 1) : position + 2]:
                continue  # two equal ones side by side: CTC may take one for both
            assert words_of(scores, wrong)[position].confidence < 0.2
