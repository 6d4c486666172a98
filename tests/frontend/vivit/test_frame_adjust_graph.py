"""The frontend as one graph, against the frontend itself: under torch.compile, torch.export, and as plain PyTorch."""

import pytest
import torch

from espnet_vivit.errors import InputError
from espnet_vivit.frontend.vivit.frame_adjust import (
    Tower,
    interpolate_frames,
    pick_frames,
    plan_windows,
    resample_steps,
    window_steps,
)
from espnet_vivit.frontend.vivit.frame_adjust_graph import PaddedClips, has_tail, sampled_in_graph, windowed_in_graph
from tests.tiny import PIXELS, WINDOW, raw_clip, tiny_vivit

TOLERANCE = 1e-5
LENGTHS = [(21, 1, 8, 13), (30,), (2, 2), (1,), (9, 12, 7)]

pytestmark = pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()


def ragged(frames):
    """uint8 clips, white behind their ends, and their lengths."""
    video = torch.full((len(frames), max(frames), PIXELS, PIXELS), 255, dtype=torch.uint8)
    for row, count in zip(video, frames, strict=True):
        row[:count] = raw_clip(count)
    return video, torch.tensor(frames)


# the two ways, without a tower: a step of a "tower" that only remembers which frames it saw ---------------------------


def mean_gray(windows, own=None):
    """(W, C, n, H, W') -> (W, n / 2, 1): the mean of each tubelet's two frames."""
    return windows.float().mean((1, 3, 4)).unflatten(1, (-1, 2)).mean(2)[..., None]


@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 2), (8, 4), (8, 6), (32, 8), (32, 10)])
def test_every_step_comes_from_its_owning_window_whatever_the_length(size, overlap):
    """The tower's answer is the number of its window, so another owner would be seen."""
    frames = torch.arange(2, 120, 2)
    counts, steps = frames // 2, int(frames.max()) // 2

    def number_of_window(windows, own):
        starts = windows[:, 0, 0, 0, 0].float()  # the clips below hold their own frames' numbers
        return starts[:, None, None].expand(-1, size // 2, 1)

    clips = torch.arange(int(frames.max()))[None, None, :, None, None].expand(len(frames), -1, -1, 1, 1)
    found = windowed_in_graph(
        PaddedClips(clips, frames, counts, steps), number_of_window, num_frames=size, overlap=overlap
    )
    for row, count in zip(found[..., 0], counts.tolist(), strict=True):
        expected = [
            window.start
            for window in plan_windows(2 * count, num_frames=size, overlap=overlap)
            for _ in range(window.first_step, window.last_step)
        ]
        assert row[:count].tolist() == expected


@pytest.mark.parametrize("overlap", [0, 4])
def test_the_attention_of_a_last_window_is_told_its_own_steps(overlap):
    seen = []

    def remember(windows, own):
        seen.append(own.sum(1).unflatten(0, (2, -1)))
        return mean_gray(windows)

    clips, frames = torch.zeros(2, 1, 20, 1, 1), torch.tensor([20, 6])
    windowed_in_graph(PaddedClips(clips, frames, frames // 2, 10), remember, num_frames=8, overlap=overlap)
    for row, count in zip(seen[0].tolist(), (20, 6), strict=True):
        left = [max(0, count - k * (8 - overlap)) for k in range(len(row))]  # from each window's start
        assert row == [min(8, frames) // 2 for frames in left]
        assert min(row) < 4 or (overlap, count) == (4, 20)


@pytest.mark.parametrize("overlap", [0, 2, 4])
def test_has_tail_is_what_the_plan_says(overlap):
    for steps in range(1, 40):
        plan = plan_windows(2 * steps, num_frames=8, overlap=overlap)
        assert has_tail(steps, num_frames=8, overlap=overlap) == (plan[-1].frames < 8)


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 9, 30])
def test_sampling_equals_that_of_single_clips(frames):
    clips = torch.randn(2, 1, 30, 2, 3)
    counts = torch.tensor([max(1, frames // 2), 15])

    def by_itself(clip, count):
        clip = pick_frames(clip, 8) if clip.size(1) >= 8 else interpolate_frames(clip, 8)
        return resample_steps(mean_gray(clip[None])[0], count)

    found = sampled_in_graph(PaddedClips(clips, torch.tensor([frames, 30]), counts, 15), mean_gray, num_frames=8)
    torch.testing.assert_close(found[0, : counts[0]], by_itself(clips[0, :, :frames], int(counts[0])))
    torch.testing.assert_close(found[1], by_itself(clips[1], 15))


def test_windows_in_a_graph_equal_those_outside_for_odd_clips_too():
    clips, frames = torch.randn(3, 1, 21, 2, 2), [21, 7, 12]
    counts = [(n + 1) // 2 for n in frames]  # at 25 Hz an odd clip's last frame is repeated
    tower = Tower(mean_gray, lambda steps: steps, num_frames=8, at_once=None)
    expected = window_steps(clips, frames, counts, tower, overlap=2)
    batch = PaddedClips(clips, torch.tensor(frames), torch.tensor(counts), 11)
    found = windowed_in_graph(batch, mean_gray, num_frames=8, overlap=2)
    for ours, theirs, count in zip(found, expected, counts, strict=True):
        torch.testing.assert_close(ours[:count], theirs[:count])


# the whole frontend ---------------------------------------------------------------------------------------------------

MODES = [
    {"frame_adjust": "window", "window_overlap": 2, "feature_rate": "frame", "output_dim": 5},
    pytest.param({"frame_adjust": "window", "window_overlap": 4}, marks=pytest.mark.slow),
    {"frame_adjust": "window", "window_overlap": 4, "stem": "conv"},
    pytest.param({"frame_adjust": "sample", "attn_implementation": "eager"}, marks=pytest.mark.slow),
    pytest.param({"frame_adjust": "sample", "feature_rate": "frame"}, marks=pytest.mark.slow),
]
EVERY_MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(str(value) for value in mode.values()))


def assert_answers_as(encoder, graph, frames):
    video, lengths = ragged(frames)
    with torch.no_grad():
        expected, expected_steps = encoder(video, lengths)
        features, steps = graph(video, lengths)
    assert torch.equal(steps, expected_steps)
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=TOLERANCE)


@EVERY_MODE
def test_compiled_as_one_graph_it_answers_as_before(mode):
    """fullgraph: whatever PyTorch cannot trace is an error. The graph is run by PyTorch itself, not by a compiler."""
    encoder = tiny_vivit(**mode, config={"num_hidden_layers": 1})
    graph = torch.compile(encoder, fullgraph=True, backend="eager")
    assert_answers_as(encoder, graph, LENGTHS[0])
    video, _ = ragged((2 * WINDOW,))
    with torch.no_grad():
        torch.testing.assert_close(graph(video), encoder(video), atol=TOLERANCE, rtol=TOLERANCE)


@EVERY_MODE
def test_exported_once_it_answers_for_every_length_and_batch(mode):
    encoder = tiny_vivit(**mode, config={"num_hidden_layers": 1})
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(encoder, ragged((19, 12)), dynamic_shapes=({0: free, 1: free}, {0: free})).module()
    for frames in LENGTHS:
        if max(frames) >= 4:  # a dimension that is free is taken to be large enough for every case of the graph
            assert_answers_as(encoder, program, frames)


@pytest.mark.parametrize("training", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eval", "train"])
def test_gradients_of_the_graph_are_those_of_the_frontend(training):
    options = {"frame_adjust": "window", "window_overlap": 2, "feature_rate": "frame", "output_dim": 5}
    encoder = tiny_vivit(**options, config={"num_hidden_layers": 1}, gradient_checkpointing=training).train(training)
    graph = torch.compile(encoder, fullgraph=True, backend="eager")
    video, lengths = ragged((21, 5, 8))
    gradients = []
    for module in (encoder, graph):
        encoder.zero_grad()
        module(video, lengths)[0].square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in encoder.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_frozen_tower_has_no_gradients_in_the_graph_either():
    encoder = tiny_vivit(frame_adjust="window", window_overlap=4, frozen=True, output_dim=5).train()
    torch.compile(encoder, fullgraph=True, backend="eager")(*ragged((12,)))[0].sum().backward()
    assert {n for n, p in encoder.named_parameters() if p.grad is not None} == {"projection.weight", "projection.bias"}


@pytest.mark.slow
def test_autocast_holds_inside_the_graph():
    encoder = tiny_vivit(frame_adjust="window", window_overlap=4)
    graph = torch.compile(encoder, fullgraph=True, backend="eager")
    video, lengths = ragged((21, 8))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = encoder(video, lengths)[0], graph(video, lengths)[0]
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.float(), expected.float(), atol=0.15, rtol=0.05)


def test_shapes_are_checked_when_the_graph_is_made():
    graph = torch.compile(tiny_vivit(frame_adjust="window", window_overlap=4), backend="eager")
    with pytest.raises(InputError, match="found 16x24 pixels; expected 16x16"):
        graph(torch.zeros(1, 9, 16, 24))


# compiling only the tower ---------------------------------------------------------------------------------------------


def test_with_a_compiled_tower_windows_stay_as_they_are():
    encoder = tiny_vivit(frame_adjust="window", window_overlap=0, config={"num_hidden_layers": 1})
    video, lengths = ragged((20, 12, 8))
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        passes = []
        hook = encoder.vivit.layernorm.register_forward_hook(lambda _, args, __: passes.append(len(args[0])))
        encoder(video, lengths)
        hook.remove()
        assert sorted(passes) == [2, 4]  # tails of 4 frames, full windows
        assert encoder.compile_tower(backend="eager") is encoder
        torch.testing.assert_close(encoder(video, lengths)[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["the frontend", "its tower"])
def test_what_the_compiler_makes_of_it_answers_as_before(whole):
    """Inductor, the compiler itself: needs a C++ compiler."""
    encoder = tiny_vivit(frame_adjust="window", window_overlap=2)
    video, lengths = ragged((21, 8))
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        compiled = torch.compile(encoder, fullgraph=True) if whole else encoder.compile_tower()
        torch.testing.assert_close(compiled(video, lengths)[0], expected, atol=TOLERANCE, rtol=TOLERANCE)
