"""Resized position tables against NumPy: the interpolation kernels written out as matrices, one for each axis."""

import numpy as np
import pytest
import torch

from espnet_vivit.frontend.vivit.weights import resize_positions

WIDTH = 5
OLD = (4, 6, 6)
TOLERANCE = 1e-5


def as_table(field: np.ndarray, cls: float = 7.0) -> torch.Tensor:
    """A field (t, h, w, D) as the library stores it: (1, 1 + t*h*w, D), CLS first, time slowest."""
    rows = torch.from_numpy(field.reshape(-1, field.shape[-1])).float()
    return torch.cat([torch.full((1, field.shape[-1]), cls), rows])[None]


def as_field(table: torch.Tensor, grid) -> np.ndarray:
    return table[0, 1:].numpy().reshape(*grid, -1)


def cubic(x, a):
    """Keys' cubic convolution kernel (IEEE TASSP 1981), with support 2."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def cubic_matrix(old, new, *, antialias):
    """(new, old): with antialiasing the kernel (a = -1/2) widens as the axis shrinks; without it, a = -3/4."""
    scale = old / new
    matrix = np.zeros((new, old))
    for i in range(new):
        if antialias:
            centre, width = (i + 0.5) * scale, max(scale, 1.0)
            weights = cubic((np.arange(old) + 0.5 - centre) / width, -0.5)
            matrix[i] = weights / weights.sum()
        else:
            source = (i + 0.5) * scale - 0.5
            for tap in range(int(np.floor(source)) - 1, int(np.floor(source)) + 3):
                matrix[i, min(max(tap, 0), old - 1)] += cubic(source - tap, -0.75)
    return matrix


def linear_matrix(old, new):
    """(new, old): half-pixel centres, the first and last value held beyond the ends."""
    matrix = np.zeros((new, old))
    for i in range(new):
        source = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        left = min(int(source), old - 2) if old > 1 else 0
        matrix[i, left] += 1 - (source - left)
        if old > 1:
            matrix[i, left + 1] += source - left
    return matrix


def smooth(size, speed):
    return 1 + 0.5 * np.sin(speed * (np.arange(size) + 0.5) / size)


def separable_field(grid):
    """a(t) b(h) c(w) times one factor per feature."""
    a, b, c = smooth(grid[0], 2.0), smooth(grid[1], 3.0), smooth(grid[2], 5.0)
    return np.einsum("t,h,w,d->thwd", a, b, c, np.linspace(-1, 1, WIDTH)), (a, b, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_same_grid_is_left_exactly_alone(dtype):
    table = torch.randn(1, 1 + 4 * 6 * 6, WIDTH, dtype=dtype)
    assert torch.equal(resize_positions(table, OLD, OLD), table)


@pytest.mark.parametrize("new", [(2, 6, 6), (16, 6, 6), (4, 3, 3), (4, 14, 14), (4, 3, 9), (7, 11, 5), (1, 1, 1)])
def test_constants_stay_exactly_constant(new):
    field = np.tile(np.arange(1.0, WIDTH + 1), (*OLD, 1))
    resized = resize_positions(as_table(field), OLD, new)
    assert resized.shape == (1, 1 + np.prod(new), WIDTH)
    np.testing.assert_array_equal(as_field(resized, new), np.broadcast_to(field[0, 0, 0], (*new, WIDTH)))


@pytest.mark.parametrize("new", [(8, 6, 6), (4, 6, 6), (4, 3, 12), (2, 14, 14)])
def test_the_cls_row_is_never_touched(new):
    table = torch.randn(1, 1 + np.prod(OLD), WIDTH)
    assert torch.equal(resize_positions(table, OLD, new)[:, 0], table[:, 0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_table_that_varies_along_one_axis_still_does_so_along_that_axis_alone(axis):
    """Proves the order of the axes: with two of them swapped, another axis would vary."""
    old, new = (3, 4, 5), (5, 7, 9)
    shape = [1, 1, 1, 1]
    shape[axis] = old[axis]
    field = np.broadcast_to(np.arange(old[axis], dtype=float).reshape(shape), (*old, WIDTH))
    resized = as_field(resize_positions(as_table(field), old, new), new)
    others = tuple(other for other in range(3) if other != axis)
    np.testing.assert_allclose(np.ptp(resized, axis=others), 0, atol=1e-5)
    assert (np.diff(resized.mean(axis=others)[:, 0]) > 0.1).all(), "does not follow its axis"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_changed_tubelet_is_felt_only_in_its_neighbourhood(axis):
    """A value at an axis' first place reaches the first half of the doubled axis, never its last quarter."""
    old = (8, 8, 8)
    new = tuple(16 if other == axis else 8 for other in range(3))
    field = np.zeros((*old, WIDTH))
    field[0, 0, 0] = 1.0
    resized = as_field(resize_positions(as_table(field), old, new), new)
    touched = np.argwhere(np.abs(resized[..., 0]) > 1e-6)
    assert touched[:, axis].max() in (1, 2, 3, 4)
    for other in range(3):
        if other != axis:
            assert touched[:, other].max() == 0, "an unchanged axis was blurred"


@pytest.mark.parametrize(
    "new",
    [(16, 6, 6), (3, 6, 6), (4, 12, 12), (4, 7, 9), (6, 14, 8)],
    ids=["time up", "time down", "picture up", "picture up, not square", "all up"],
)
def test_growing_equals_the_cubic_and_linear_kernels_in_numpy(new):
    field, (a, b, c) = separable_field(OLD)
    tracks = linear_matrix(OLD[0], new[0]) @ a
    rows = cubic_matrix(OLD[1], new[1], antialias=False) @ b
    columns = cubic_matrix(OLD[2], new[2], antialias=False) @ c
    expected = np.einsum("t,h,w,d->thwd", tracks, rows, columns, np.linspace(-1, 1, WIDTH))
    resized = as_field(resize_positions(as_table(field), OLD, new), new)
    np.testing.assert_allclose(resized, expected, atol=TOLERANCE)
    assert not np.allclose(tracks, tracks[0]) and not np.allclose(rows, rows[0])


@pytest.mark.parametrize(
    "new",
    [(16, 6, 6), (16, 5, 5), (8, 6, 10), (16, 6, 20), (16, 20, 6)],
    ids=["96 px of 224", "80 px", "all axes", "lower and wider", "higher and narrower"],
)
def test_shrinking_equals_the_antialiased_kernel_in_numpy(new):
    """The table of the published weights (14 x 14 over 224 pixels) brought to a mouth crop."""
    old = (16, 14, 14)
    field = np.random.default_rng(3).standard_normal((*old, WIDTH))
    matrices = [linear_matrix(old[0], new[0])]
    matrices += [cubic_matrix(o, n, antialias=True) for o, n in zip(old[1:], new[1:], strict=True)]
    expected = np.einsum("at,bh,cw,thwd->abcd", *matrices, field)
    resized = as_field(resize_positions(as_table(field), old, new), new)
    np.testing.assert_allclose(resized, expected, atol=TOLERANCE)


def test_half_precision_tables_are_rounded_once_and_keep_their_dtype():
    table = torch.randn(1, 1 + np.prod(OLD), WIDTH).bfloat16()
    resized = resize_positions(table, OLD, (8, 9, 9))
    assert resized.dtype == torch.bfloat16
    assert torch.equal(resized, resize_positions(table.float(), OLD, (8, 9, 9)).bfloat16())
