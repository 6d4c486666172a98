"""Position tables of ViViT resized in time, height and width.

The library's own `interpolate_pos_encoding` takes the three-dimensional grid for a square picture and fails on other
sizes (transformers 5.23); scenic resizes pictures only. Here: bicubic over height and width (as for 2-D ViTs, with
antialiasing where the grid shrinks), then linear over time; an unchanged axis is left alone, so identity is exact.
"""

import torch
import torch.nn.functional as F

Grid = tuple[int, int, int]  # tubelets in time, height, width


def resize_positions(table: torch.Tensor, old: Grid, new: Grid) -> torch.Tensor:
    """`table` (1, 1 + t*h*w, D), CLS row first and time the slowest axis, brought from grid `old` to grid `new`."""
    if tuple(old) == tuple(new):
        return table
    (t, h, w), (new_t, new_h, new_w) = old, new
    cls = table[:, :1]
    grid = table[0, 1:].double().unflatten(0, (t, h, w))  # (t, h, w, D); in float32 constants would not stay constant
    if (h, w) != (new_h, new_w):
        pictures = grid.permute(0, 3, 1, 2)  # (t, D, h, w)
        shrinks = new_h < h or new_w < w
        pictures = F.interpolate(pictures, (new_h, new_w), mode="bicubic", align_corners=False, antialias=shrinks)
        grid = pictures.permute(0, 2, 3, 1)  # (t, new_h, new_w, D)
    if t != new_t:
        tracks = grid.permute(1, 2, 3, 0).flatten(0, 1)  # (new_h * new_w, D, t)
        tracks = F.interpolate(tracks, new_t, mode="linear", align_corners=False)
        grid = tracks.unflatten(0, (new_h, new_w)).permute(3, 0, 1, 2)  # (new_t, new_h, new_w, D)
    rows = grid.reshape(1, new_t * new_h * new_w, -1).to(table.dtype)
    return torch.cat([cls, rows], dim=1)
