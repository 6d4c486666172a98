"""25 Hz to 12.5 Hz."""

import pytest
import torch
from torch.nn import functional as F

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.units import tubelet_steps


def test_steps_at_both_rates():
    frames = torch.arange(1, 201)
    assert steps_at_rate(frames, "frame").tolist() == frames.tolist()
    assert steps_at_rate(frames, "tubelet").tolist() == [tubelet_steps(n) for n in range(1, 201)]


@pytest.mark.parametrize("frames", [2, 5, 8])
def test_pairs_are_averaged_and_an_odd_last_step_is_dropped(frames):
    x = torch.randn(2, frames, 3)
    pairs, steps = average_pairs(x, torch.tensor([frames, frames]))
    torch.testing.assert_close(pairs, F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2))
    assert steps.tolist() == [frames // 2] * 2


def test_a_single_step_stays_as_it_is_alone_and_in_a_batch():
    x = torch.randn(2, 4, 3)
    pairs, steps = average_pairs(x, torch.tensor([1, 4]))
    assert steps.tolist() == [1, 2]
    torch.testing.assert_close(pairs[0, 0], x[0, 0])
    assert not pairs[0, 1].any()
    torch.testing.assert_close(average_pairs(x[:1, :1], torch.tensor([1]))[0], x[:1, :1])


def test_an_unknown_rate_is_named():
    with pytest.raises(ConfigError, match=r"'tublet'.*Did you mean 'tubelet'"):
        check_feature_rate("tublet")
