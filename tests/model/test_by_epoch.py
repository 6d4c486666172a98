"""Schedules by epoch: straight lines between numbers, steps between lists, and mistakes that are named."""

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.by_epoch import read_by_epoch


def test_numbers_are_joined_by_straight_lines_and_held_outside():
    schedule = read_by_epoch("noise_prob", {3: 0.2, 5: 0.6, 15: 0.1})
    found = [schedule(epoch) for epoch in range(1, 20)]
    assert found == pytest.approx(np.interp(range(1, 20), [3, 5, 15], [0.2, 0.6, 0.1]))


@pytest.mark.parametrize("value", [0.25, 0])
def test_a_plain_value_holds_for_all_epochs(value):
    schedule = read_by_epoch("x", value)
    assert [schedule(epoch) for epoch in (1, 7, 100)] == [value] * 3 and str(schedule) == str(value)


@pytest.mark.parametrize("value", [None, "often", True])
def test_what_is_no_value_is_refused(value):
    with pytest.raises(ConfigError, match=f"flip_prob: found {value!r}; expected a value, or a schedule"):
        read_by_epoch("flip_prob", value)


def test_lists_change_at_their_epoch():
    schedule = read_by_epoch("noise_snr_db", {1: [20, None], 10: [0, 5]})
    assert [schedule(epoch) for epoch in (1, 9, 10, 99)] == [(20, None), (20, None), (0, 5), (0, 5)]
    assert read_by_epoch("noise_snr_db", [5, None])(3) == (5, None)


@pytest.mark.parametrize(
    "option", [{}, {0: 0.1}, {5: 0.1, 3: 0.2}, {1.5: 0.1}, {"1": 0.1}, {1: 0.1, 2: [3]}, {1: "a"}, {1: True}]
)
def test_what_is_no_schedule_is_named(option):
    with pytest.raises(ConfigError, match=r"noise_prob is no schedule by epoch: found .*; expected rising"):
        read_by_epoch("noise_prob", option)
