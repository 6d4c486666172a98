"""Losses that are not numbers: their gradient makes ESPnet's trainer skip, they are named, and too many end the run."""

import pytest
import torch

from espnet_vivit.errors import NonFiniteLossError
from espnet_vivit.nonfinite import NonFiniteLosses


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_gradient_of_a_bad_loss_is_never_finite_and_its_utterances_are_named(value, caplog):
    weight = torch.nn.Parameter(torch.ones(3))
    losses = NonFiniteLosses()
    loss = losses.check(weight.sum() + value, ["u1", "u2"])  # the gradient of this sum is finite
    loss.backward()
    assert not torch.isfinite(torch.nn.utils.clip_grad_norm_([weight], 1.0))
    assert "utterances: u1, u2" in caplog.text and "1 in a row, 1 since the start" in caplog.text


def test_a_good_loss_passes_through_and_ends_the_row(caplog):
    losses, bad, good = NonFiniteLosses(limit=3), torch.tensor(float("nan")), torch.tensor(2.0)
    for loss in (bad, bad, good, bad, bad):
        returned = losses.check(loss, None)
        assert (returned is good) == (loss is good)
    assert (losses.in_a_row, losses.total) == (2, 4)
    with pytest.raises(NonFiniteLossError, match="3 training losses in a row were not finite, the last with u9"):
        losses.check(bad, ["u9"])
