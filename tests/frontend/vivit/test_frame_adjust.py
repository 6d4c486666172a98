"""The window plan against brute force: every step goes to the window whose nominal centre is nearest."""

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.frame_adjust import check_overlap, plan_windows

PLANS = [(size, overlap) for size in (2, 8, 32) for overlap in range(0, size, 2)]


def owners_by_brute_force(frames, size, overlap):
    """The window of each step: nearest centre of those needed to cover the clip, the earlier one if two are as near."""
    hop = size - overlap
    starts = [0]
    while starts[-1] + size < frames:
        starts.append(starts[-1] + hop)
    window_centers = np.array(starts) + size / 2
    step_centers = np.arange(0, frames, 2) + 1.0
    distances = np.abs(step_centers[:, None] - window_centers[None, :])
    return distances.argmin(axis=1)  # the first of equals


@pytest.mark.parametrize(("size", "overlap"), PLANS)
def test_each_step_belongs_once_to_the_nearest_window(size, overlap):
    for frames in range(2, 161, 2):
        plan = plan_windows(frames, num_frames=size, overlap=overlap)
        owners = [k for k, window in enumerate(plan) for _ in range(window.first_step, window.last_step)]
        assert owners == owners_by_brute_force(frames, size, overlap).tolist(), frames
        edges = [step for window in plan for step in (window.first_step, window.last_step)]
        assert edges[0] == 0 and edges[-1] == frames // 2, frames
        assert edges[1:-1:2] == edges[2::2], f"{frames}: a gap or a step owned twice"


@pytest.mark.parametrize(("size", "overlap"), PLANS)
def test_windows_lie_on_the_grid_and_inside_the_clip(size, overlap):
    for frames in range(2, 161, 2):
        plan = plan_windows(frames, num_frames=size, overlap=overlap)
        for k, window in enumerate(plan):
            assert window.start == k * (size - overlap)
            assert window.start <= 2 * window.first_step < 2 * window.last_step <= window.start + window.frames
            assert window.start + window.frames <= frames
        assert all(window.frames == size for window in plan[:-1])
        assert plan[-1].frames % 2 == 0 and 0 < plan[-1].frames <= size


def test_a_clip_of_one_window_is_that_window():
    assert plan_windows(32, num_frames=32, overlap=8) == [(0, 32, 0, 16)]


def test_tails_keep_only_what_is_left():
    """70 frames, hop 24: full windows at 0 and 24, and from 48 on the 22 frames that remain."""
    assert plan_windows(70, num_frames=32, overlap=8) == [(0, 32, 0, 14), (24, 32, 14, 26), (48, 22, 26, 35)]


@pytest.mark.parametrize("overlap", [-2, 3, 32, 40])
def test_an_overlap_that_cannot_be_is_refused(overlap):
    with pytest.raises(ConfigError, match=f"window_overlap={overlap} with num_frames=32.*0 to 30"):
        check_overlap(32, overlap)


@pytest.mark.parametrize("overlap", [0, 2, 8, 30])
def test_an_overlap_of_whole_tubelets_is_accepted(overlap):
    check_overlap(32, overlap)
