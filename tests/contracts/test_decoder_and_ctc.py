"""The padding contract behind the encoder: in a padded batch, decoder and CTC treat each utterance as if it were alone.

Encoder states and transcripts are given directly, their padding filled with what would be seen if anything read it.
"""

import pytest
import torch
from torch.nn import functional as F

from tests.tiny import VOCABULARY, randomize, tiny_e2e

STEPS, TEXTS = (11, 4, 7), ([1, 2, 3, 4], [5], [3, 3, 2])
WIDTH, LOUD = 16, 30.0
TOLERANCE = 1e-5
EVERY_MODE = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
EVERY_PADDING = pytest.mark.parametrize("extra", [0, 6], ids=["tight", "loose"])


@pytest.fixture
def model():
    return randomize(tiny_e2e("audio"), std=0.15)


@pytest.fixture
def states():
    return [torch.randn(steps, WIDTH) for steps in STEPS]


def pad(rows, fill, extra):
    """(B, longest + extra, …) with `fill` behind each row, and the lengths (B,)."""
    padded = rows[0].new_full((len(rows), max(map(len, rows)) + extra, *rows[0].shape[1:]), fill)
    for row, value in zip(padded, rows, strict=True):
        row[: len(value)] = value
    return padded, torch.tensor([len(row) for row in rows])


def texts(extra, fill=-1):
    return pad([torch.tensor(text) for text in TEXTS], fill, extra)


def alone(index, states):
    """What `_calc_*_loss` takes, of one utterance."""
    text = torch.tensor([TEXTS[index]])
    return states[index][None], torch.tensor([STEPS[index]]), text, torch.tensor([text.size(1)])


@EVERY_MODE
@EVERY_PADDING
def test_decoder_outputs_are_those_of_each_utterance_alone(model, states, training, extra):
    model.train(training)
    memory, lengths = pad(states, LOUD, extra)
    given, counts = texts(0, fill=VOCABULARY - 1)  # ESPnet's decoder wants transcripts no wider than the longest
    logits, _ = model.decoder(memory, lengths, given, counts)
    for index, (text, state) in enumerate(zip(TEXTS, states, strict=True)):
        expected, _ = model.decoder(state[None], lengths[index][None], torch.tensor([text]), counts[index][None])
        torch.testing.assert_close(logits[index, : len(text)], expected[0], atol=TOLERANCE, rtol=TOLERANCE)


def test_decoder_outputs_would_show_a_wrong_length(model, states):
    model.eval()
    memory, lengths = pad(states, LOUD, 0)
    given, counts = texts(0, fill=VOCABULARY - 1)
    right, _ = model.decoder(memory, lengths, given, counts)
    wrong, _ = model.decoder(memory, lengths + torch.tensor([0, 1, 0]), given, counts)
    assert (wrong[1, :1] - right[1, :1]).abs().max() > 1e-2
    assert torch.equal(wrong[0], right[0])


@pytest.mark.parametrize("loss", ["_calc_ctc_loss", "_calc_att_loss"])
@EVERY_MODE
@EVERY_PADDING
def test_losses_and_gradients_are_the_mean_of_each_utterance_alone(model, states, loss, training, extra):
    model.train(training)
    compute = getattr(model, loss)
    memory, lengths = pad(states, LOUD, extra)
    memory.requires_grad_()
    batched = compute(memory, lengths, *texts(extra))[0]
    batched.backward()
    weights = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert weights
    model.zero_grad()
    singles = []
    for index, steps in enumerate(STEPS):
        state, *rest = alone(index, states)
        state.requires_grad_()
        singles.append(compute(state, *rest)[0])
        (singles[-1] / len(STEPS)).backward()
        torch.testing.assert_close(memory.grad[index, :steps], state.grad[0], atol=TOLERANCE, rtol=TOLERANCE)
        assert not memory.grad[index, steps:].any(), "padding has a gradient"
    torch.testing.assert_close(batched, torch.stack(singles).mean(), atol=TOLERANCE, rtol=TOLERANCE)
    for name, gradient in weights.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, atol=TOLERANCE, rtol=1e-4, msg=name)


def test_ctc_losses_are_pytorchs_over_the_valid_steps(model, states):
    model.eval()
    expected = []
    for state, text in zip(states, TEXTS, strict=True):
        log_probabilities = model.ctc.ctc_lo(state).log_softmax(-1)
        sizes = torch.tensor(len(state)), torch.tensor(len(text))
        expected.append(F.ctc_loss(log_probabilities, torch.tensor(text), *sizes, reduction="sum"))
    found, _ = model._calc_ctc_loss(*pad(states, LOUD, 3), *texts(3))
    torch.testing.assert_close(found, torch.stack(expected).mean(), atol=TOLERANCE, rtol=TOLERANCE)
    assert max(expected) - min(expected) > 1, "the utterances do not differ enough to tell"


def test_error_rates_and_accuracy_do_not_see_padding(model, states):
    model.eval()
    rates = []
    for fill, extra in ((LOUD, 0), (-LOUD, 8)):
        batch = (*pad(states, fill, extra), *texts(extra))
        rates.append((*model._calc_att_loss(*batch)[1:], model._calc_ctc_loss(*batch)[1]))
    assert rates[0] == rates[1] and None not in rates[0]
