"""A vision tower of the hub fit for lips: gray pictures in [-1, 1] of the wanted size, windows of the wanted length.

Everything is done once, on weights. The tower is built anew by the library for one channel and the new sizes, and the
stored weights are brought to it: the patch kernel is summed over the colors with the tower's own normalization folded
in, and the position tables are interpolated. So a gray tower needs no copies of its input, and what it answers to a
picture is what the library's tower answers to the same picture in three equal colors, normalized as it was trained on.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.hub.stored import StoredTower, new_tower, remove
from espnet_vivit.frontend.hub.vision_kinds import VisionKind
from espnet_vivit.frontend.vivit.weights import resize_positions

GRAY = (0.5, 0.5)  # mean and deviation of gray values 0..1 that bring them to [-1, 1], whatever the tower's own are


def fit_tower(
    stored: StoredTower, kind: VisionKind, *, image_size: int | None, num_frames: int | None, pooling: str
) -> Any:
    """The gray tower of these sizes; None: those it was stored with. Raises ConfigError for sizes that cannot be."""
    size_name, frames_name, channels_name = kind.sizes
    tower, config = stored.tower, copy.deepcopy(stored.tower.config)
    stored_size = side(getattr(config, size_name))
    setattr(config, size_name, stored_size if image_size is None else image_size)
    if kind.video and num_frames is not None:
        setattr(config, frames_name, num_frames)
    setattr(config, channels_name, 1)
    _check_sizes(tower, kind, config)
    fitted = new_tower(kind, config)
    for model in (tower, fitted):
        _trim(model, kind, pooling)
    old, new = grid_of(tower, kind), grid_of(fitted, kind)
    state = tower.state_dict()
    for path, rows in kind.tables.items():
        name = path if path in state else f"{path}.weight"
        state[name] = _resize(state[name], rows, old, new, video=kind.video)
    _fold_gray(state, tower.get_submodule(kind.patches), kind, stored.preprocessing)
    fitted.load_state_dict(state)
    return fitted


def grid_of(tower: Any, kind: VisionKind) -> tuple[int, int, int]:
    """Tokens in time, height and width of one picture or window."""
    size_name, frames_name, _ = kind.sizes
    kernel = tower.get_submodule(kind.patches).kernel_size
    places = side(getattr(tower.config, size_name)) // kernel[-1]
    return (getattr(tower.config, frames_name) // frames_per_token(tower, kind) if kind.video else 1), places, places


def frames_per_token(tower: Any, kind: VisionKind) -> int:
    """Frames that a tubelet lasts; 1 for patches of one picture."""
    kernel = tower.get_submodule(kind.patches).kernel_size
    return kernel[0] if len(kernel) == 3 else 1


def side(size: Any) -> int:
    """The side of a square picture, as a configuration writes its size. Raises ConfigError for another shape."""
    sides = {int(one) for one in size} if isinstance(size, list | tuple) else {int(size)}
    if len(sides) != 1:
        raise ConfigError("the tower's pictures are not square", found=size, expected="one image_size")
    return sides.pop()


def _check_sizes(tower: Any, kind: VisionKind, config: Any) -> None:
    size_name, frames_name, _ = kind.sizes
    size, patch = getattr(config, size_name), tower.get_submodule(kind.patches).kernel_size[-1]
    if size < patch or size % patch:
        near = max(1, round(size / patch)) * patch
        expected = f"a multiple of its patches of {patch} pixels, the nearest is {near}"
        raise ConfigError("image_size does not fit the tower", found=size, expected=expected)
    if not kind.video:
        return
    length = frames_per_token(tower, kind)
    if length > 2:
        expected = "tubelets of 1 or 2 frames: steps of 40 or 80 ms"
        found = f"tubelets of {length} frames, {25 / length:g} Hz"
        raise ConfigError("the tower's steps cannot be brought to 25 Hz", found=found, expected=expected)
    frames = getattr(config, frames_name)
    if frames < 2 or frames % 2:
        raise ConfigError("num_frames is not a window's length", found=frames, expected="an even number, at least 2")


def _trim(tower: Any, kind: VisionKind, pooling: str) -> None:
    """Leave out what no feature depends on, give the patches a bias and keep fixed tables with the weights."""
    for path in kind.unused + (kind.pooled_by if pooling == "mean" else ()):
        remove(tower, path)
    parent, _, name = kind.patches.rpartition(".")
    owner, patches = tower.get_submodule(parent), tower.get_submodule(kind.patches)
    if patches.bias is None:
        patches.bias = nn.Parameter(patches.weight.new_zeros(patches.out_channels))
    for path in kind.tables:
        parent, _, name = path.rpartition(".")
        owner = tower.get_submodule(parent)
        table = getattr(owner, name)
        if isinstance(table, Tensor) and not isinstance(table, nn.Parameter):
            delattr(owner, name)
            owner.register_buffer(name, table)


def _resize(table: Tensor, rows: str, old: tuple, new: tuple, *, video: bool) -> Tensor:
    """A table (1, R, D) or (R, D), interpolated from grid `old` to `new` (time, height, width).

    Of pictures as the library's `interpolate_pos_encoding` does it, bicubic; shrunk for video with antialiasing.
    """

    def axes(grid: tuple) -> tuple[int, int, int]:
        time = grid[0] if "t" in rows else 1
        return (time, grid[1], grid[2]) if rows.endswith("s") else (time, 1, 1)

    whole = table if table.dim() == 3 else table[None]
    if not rows.startswith("cls"):
        whole = torch.cat([whole[:, :1], whole], dim=1)
    whole = resize_positions(whole, axes(old), axes(new), antialias=None if video else False)
    return (whole if rows.startswith("cls") else whole[:, 1:]).reshape(*table.shape[:-2], -1, table.size(-1))


def _fold_gray(state: dict, patches: nn.Module, kind: VisionKind, preprocessing: Mapping) -> None:
    """Let the kernel read gray in [-1, 1]: of each color, (g * s + m - mean) / deviation.

    Summed in float64, so that machines agree on the rounded weights.
    """
    weight: Any = state[f"{kind.patches}.weight"]
    bias: Any = state[f"{kind.patches}.bias"]
    if weight.size(1) == 1:
        return
    means, deviations = kind.normalization
    if preprocessing.get("do_normalize") is False:
        means, deviations = (0.0,) * 3, (1.0,) * 3
    means, deviations = preprocessing.get("image_mean", means), preprocessing.get("image_std", deviations)
    shape = (1, weight.size(1)) + (1,) * (weight.dim() - 2)
    deviation = torch.tensor(deviations, dtype=torch.float64).reshape(shape)
    shift = (GRAY[0] - torch.tensor(means, dtype=torch.float64).reshape(shape)) / deviation
    exact = weight.double()
    state[f"{kind.patches}.bias"] = (bias.double() + (exact * shift).flatten(1).sum(1)).to(bias.dtype)
    state[f"{kind.patches}.weight"] = (exact * (GRAY[1] / deviation)).sum(1, keepdim=True).to(weight.dtype)
