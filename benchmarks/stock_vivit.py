"""What `benchmarks/frontend.py` compares with: the library's own `VivitModel` over the same clips, and its work."""

import copy
from collections.abc import Callable

import torch
from transformers import VivitConfig, VivitModel

from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.frontend.vivit.weights import grid_of


def library_steps(encoder: VivitEncoder, clip: torch.Tensor, *, compiler: Callable = lambda model: model) -> Callable:
    """The library's way with uint8 windows (W, 32, H, W'): normalised RGB through `VivitModel`, averaged over space.

    The weights are those of `encoder`; compiler: `torch.compile` or its like.
    """
    config = copy.deepcopy(encoder.vivit.config)
    config.hidden_act = "gelu_fast"  # as in the published configuration
    model = VivitModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False).eval()
    model.load_state_dict(encoder.vivit.state_dict())
    model = model.to(encoder.vivit.device, encoder.vivit.dtype)
    _, height, width = grid_of(config)
    model = compiler(model)

    def run(windows: torch.Tensor = clip) -> torch.Tensor:
        rgb = (windows.float() / 127.5 - 1)[:, :, None].expand(-1, -1, 3, -1, -1)
        tokens = model(rgb.to(encoder.vivit.dtype)).last_hidden_state[:, 1:]
        return tokens.unflatten(1, (-1, height * width)).mean(2).float()

    return run


def window_flops(config: VivitConfig) -> float:
    """Floating point operations of a full window of gray frames, two for each multiplication and sum."""
    time, height, width = grid_of(config)
    tokens, pixels = 1 + time * height * width, torch.Size(config.tubelet_size).numel()
    size, inner = config.hidden_size, config.intermediate_size
    layer = 2 * tokens * (4 * size**2 + 2 * size * inner) + 4 * tokens**2 * size  # linear layers; attention
    return config.num_hidden_layers * layer + 2.0 * (tokens - 1) * pixels * size
