"""Where on the mouth a ViViT looks at each step: attention rollout, and its picture beside the frame.

Rollout (Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv:2005.00928): the attention of
each layer, averaged over its heads and mixed half and half with the identity for the residual path, multiplied through
all layers. Row q, column k then says how much of the input at token k has reached token q. A step's feature is pooled
over its h x w tokens, so their rows are averaged (for "cls" the row is CLS's, one for all steps of a window); columns
of one place are summed over the window's tubelets. What a map lacks to the sum 1 has come from CLS.

Joint attention is computed openly for this (`attn_implementation="eager"`), whatever the encoder otherwise uses; for
the other variants see `family_rollout`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from espnet_vivit.errors import InputError
from espnet_vivit.frontend.masking import check_video
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.family_encoder import FamilyEncoder, cut_steps
from espnet_vivit.frontend.vivit.family_rollout import family_maps
from espnet_vivit.frontend.vivit.frame_adjust import Tower, sampled_steps, window_steps
from espnet_vivit.frontend.vivit.step_layout import StepLayout
from espnet_vivit.frontend.vivit.tower import check_picture_size, tower_tokens
from espnet_vivit.frontend.vivit.weights import grid_of, pair
from espnet_vivit.units import TUBELET_FRAMES, VIDEO_RATE_HZ, tubelet_steps

_WINDOWS_PER_PASS = 4  # each layer of each window holds a matrix of N x N


def attention_rollout(encoder: VivitEncoder, video: torch.Tensor) -> torch.Tensor:
    """Maps (T', h, w) float32 of a clip (T, H, W) uint8 or normalised float: one for each step of the encoder's output.

    A map's values are shares, at least 0, of what has reached the step from each place of the picture, in patches.

    Raises InputError, TooShortError: as `VivitEncoder.forward`.
    """
    clips, lengths = check_video(video[None], None, channels=(1, encoder.vivit.config.num_channels))
    check_picture_size(clips, pair(encoder.vivit.config.image_size))
    if isinstance(encoder, FamilyEncoder) and encoder.frame_adjust == "whole":
        return _whole_clip_maps(encoder, clips)
    frames, config = int(lengths[0]), encoder.vivit.config
    grid = config.grid if isinstance(config, FamilyConfig) else grid_of(config)[1:]
    count = tubelet_steps(frames) if encoder.upsample is None else (frames + 1) // TUBELET_FRAMES
    tower = Tower(
        encode=lambda windows: _window_maps(encoder, windows).flatten(2),
        finish=lambda steps: steps,
        num_frames=encoder.num_frames,
        at_once=_WINDOWS_PER_PASS,
    )
    with torch.no_grad():
        if encoder.frame_adjust == "window":
            maps = window_steps(clips, [frames], [count], tower, overlap=encoder.window_overlap)[0]
        else:
            maps = sampled_steps(clips, [frames], [count], tower, pixel_affine=encoder.pixel_affine)[0]
    if encoder.upsample is not None:
        maps = maps.repeat_interleave(TUBELET_FRAMES, dim=0)[:frames]
    return maps.unflatten(1, grid).float()


def _whole_clip_maps(encoder: FamilyEncoder, clips: torch.Tensor) -> torch.Tensor:
    """The maps (T', h, w) of one clip (1, C, T, H, W) that goes through whole."""
    config, frames = encoder.vivit.config, clips.size(2)
    count = frames if encoder.stride == 1 else tubelet_steps(frames)
    if encoder.upsample is not None:
        count = (frames + 1) // TUBELET_FRAMES
    layout, lengths = StepLayout.of([count], clips.device), torch.tensor([frames], device=clips.device)
    steps = cut_steps(clips, lengths, layout, config, encoder.pixel_affine)
    with torch.no_grad():
        maps = family_maps(encoder.vivit, steps, encoder.pixel_affine).unflatten(1, config.grid)
    return maps if encoder.upsample is None else maps.repeat_interleave(TUBELET_FRAMES, dim=0)[:frames]


def _window_maps(encoder: VivitEncoder, windows: torch.Tensor) -> torch.Tensor:
    """Windows (W, C, n, H, W') -> maps (W, n / 2, h, w)."""
    if isinstance(encoder, FamilyEncoder):
        steps = windows.unflatten(2, (-1, TUBELET_FRAMES)).transpose(1, 2)  # (W, n / 2, C, 2, H, W')
        maps = torch.stack([family_maps(encoder.vivit, each, encoder.pixel_affine) for each in steps])
        return maps.unflatten(2, encoder.vivit.config.grid)
    with _open_attention(encoder):
        return _joint_maps(encoder, windows)


def _joint_maps(encoder: VivitEncoder, windows: torch.Tensor) -> torch.Tensor:
    _, h, w = grid_of(encoder.vivit.config)
    attention = []
    hooks = [
        layer.get_submodule("attention").register_forward_hook(
            lambda _, __, output: attention.append(output[1].float().mean(1))
        )
        for layer in encoder.vivit.layers
    ]
    try:
        tower_tokens(encoder.vivit, windows, encoder.pixel_affine)
    finally:
        for hook in hooks:
            hook.remove()
    flow = roll_out(attention)  # (W, 1 + N, 1 + N)
    steps = (flow.size(1) - 1) // (h * w)
    places = flow[:, :, 1:].unflatten(2, (steps, h, w)).sum(2)  # (W, 1 + N, h, w)
    if encoder.temporal_pooling == "cls":
        return places[:, :1].expand(-1, steps, -1, -1)
    return places[:, 1:].unflatten(1, (steps, h * w)).mean(2)


def roll_out(attention: Sequence[torch.Tensor]) -> torch.Tensor:
    """Attention (W, N, N) of each layer, rows summing to 1, the first layer first -> its rollout (W, N, N)."""
    flow = torch.eye(attention[0].size(-1), device=attention[0].device).expand_as(attention[0])
    for weights in attention:
        flow = (weights @ flow + flow) / 2
    return flow


@contextlib.contextmanager
def _open_attention(encoder: VivitEncoder):
    """The tower in evaluation, with attention that can be looked at, inside the block."""
    config, training = encoder.vivit.config, encoder.vivit.training
    before = config._attn_implementation
    encoder.vivit.eval()
    config._attn_implementation = "eager"  # not `set_attn_implementation`, which warns and reloads kernels
    try:
        yield
    finally:
        config._attn_implementation = before
        encoder.vivit.train(training)


def overlay(frame: np.ndarray, attention: np.ndarray, *, strength: float = 0.6) -> np.ndarray:
    """A frame (H, W) uint8 with its map (h, w) laid over it in colour -> (H, W, 3) uint8; the map's maximum is red."""
    from matplotlib import colormaps  # late: a model needs no pictures

    if frame.ndim != 2 or frame.dtype != np.uint8 or attention.ndim != 2:
        raise InputError(
            "a frame or a map of the wrong kind",
            found=f"frame {frame.dtype} {frame.shape}, map {attention.shape}",
            expected="frame (H, W) uint8 and map (h, w)",
        )
    top = float(attention.max())
    field = torch.from_numpy(np.asarray(attention, np.float32) / (top if top > 0 else 1.0))[None, None]
    heat = F.interpolate(field, frame.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    colour = colormaps["jet"](heat)[..., :3] * 255
    share = strength * heat[..., None]
    return np.rint(frame[..., None] * (1 - share) + colour * share).astype(np.uint8)


def write_rollout(path: str | Path, frames: np.ndarray, maps: np.ndarray, *, most: int = 12) -> Path:
    """A PNG of frames (T, H, W) uint8, each beside itself with its step's map (T', h, w) over it, and its time.

    At most `most` steps, spread over the clip. A step at 12.5 Hz is shown on its first frame. Returns the path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames, maps = np.asarray(frames), np.asarray(maps)
    per_step = 1 if len(maps) == len(frames) else TUBELET_FRAMES
    if not len(maps) or len(maps) != max(1, len(frames) // per_step):
        raise InputError(
            "frames and maps of different clips",
            found=f"{len(frames)} frames and {len(maps)} maps",
            expected="a map for each frame, or for each two",
        )
    shown = np.unique(np.linspace(0, len(maps) - 1, min(most, len(maps))).round().astype(int))
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3 * columns, 1.7 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(shown):
            step = shown[place]
            frame = frames[step * per_step]
            gray = np.repeat(frame[..., None], 3, axis=2)
            axes.imshow(np.concatenate([gray, overlay(frame, maps[step])], axis=1))
            axes.set_title(f"{step * per_step / VIDEO_RATE_HZ:.2f} s", fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path
