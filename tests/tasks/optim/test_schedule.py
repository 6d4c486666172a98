"""cosine_with_warmup rises linearly, falls as half a cosine, and is known to ESPnet."""

import math

import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup


def rates(steps, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = CosineWithWarmup(optimizer, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_it_equals_torchs_linear_warmup_followed_by_its_cosine():
    found = rates(40, warmup_steps=10, total_steps=30)
    assert found[:10] == pytest.approx([0.2 * step / 10 for step in range(1, 11)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for rate in found[9:29]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        cosine.step()
    assert found[29:] == pytest.approx([0.0] * 11, abs=1e-12)


def test_the_last_rate_can_be_a_share_of_the_peak():
    assert rates(50, warmup_steps=0, total_steps=20, final_ratio=0.1)[-1] == pytest.approx(0.02)
    assert math.isclose(max(rates(50, warmup_steps=5, total_steps=20, final_ratio=0.1)), 0.2)


@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (-1, 5)])
def test_impossible_lengths_are_refused(warmup, total):
    with pytest.raises(ConfigError, match=f"warmup_steps={warmup}, total_steps={total}"):
        rates(1, warmup_steps=warmup, total_steps=total)


def test_the_warm_up_may_be_a_share_and_is_a_tenth_if_nothing_is_said():
    assert rates(100, total_steps=100, warmup_share=0.25) == rates(100, total_steps=100, warmup_steps=25)
    assert rates(100, total_steps=100) == rates(100, total_steps=100, warmup_steps=10)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "has no total_steps"),
        ({"total_steps": 9, "warmup_steps": 1, "warmup_share": 0.1}, "warmup_share=0.1; expected one of the two"),
        ({"total_steps": 9, "warmup_share": 1.0}, "warmup_share=1.0; expected 0 or more, and less than 1"),
    ],
)
def test_lengths_that_say_nothing_or_too_much_are_refused(conf, message):
    with pytest.raises(ConfigError, match=message):
        rates(1, **conf)


def test_resuming_goes_on_at_its_step_with_the_lengths_of_the_configuration():
    """torch would take the lengths of the checkpoint, and config.yaml would say others."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    first = CosineWithWarmup(optimizer, warmup_steps=2, total_steps=10)
    for _ in range(5):
        optimizer.step()
        first.step()
    longer = CosineWithWarmup(optimizer, warmup_steps=3, total_steps=30, final_ratio=0.5)
    longer.load_state_dict(first.state_dict())
    assert (longer.last_epoch, longer.warmup_steps, longer.total_steps) == (5, 3, 30) and longer.final_ratio == 0.5
    optimizer.step()
    longer.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(
        rates(7, warmup_steps=3, total_steps=30, final_ratio=0.5)[6]
    )


def test_espnet_steps_it_with_every_batch():
    from espnet2.schedulers.abs_scheduler import AbsBatchStepScheduler
    from espnet2.tasks.abs_task import scheduler_classes

    assert scheduler_classes["cosine_with_warmup"] is CosineWithWarmup
    assert issubclass(CosineWithWarmup, AbsBatchStepScheduler)
