"""The pre-norm transformer block that all factorised ViViTs are made of, and its parts.

    x += attention(norm(x));  x += feed_forward(norm(x))

Parameters carry the names of transformers' `VivitModel` (q_proj, k_proj, v_proj, o_proj, fc1, fc2), so that adapters,
checkpoints and optimizers treat every variant alike. LayerNorm, biases and the tanh-GELU are scenic's; RMSNorm, SwiGLU
and rotary positions are those of VisionCore's ViViT.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit.rotary import rotate

_ROWS = 16  # of which every matrix product in inference gets a multiple; see `by_rows`

# (queries, keys, values), each (rows, heads, N, d), -> (rows, heads, N, d)
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def by_rows(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`linear` applied to `x` (..., D); in inference over a multiple of 16 rows, zero rows being appended and cut off.

    The kernels of a matrix product treat a remainder of rows in another order of summation. With this rule a row's
    result does not depend on how many other rows are computed with it, so that a stream, a padded batch and windows
    that share their spatial stage give the bits of the clip computed alone (on processors where the tests show it).
    """
    rest = -(x.numel() // x.size(-1)) % _ROWS if not (linear.training or torch.compiler.is_compiling()) else 0
    if not rest:
        return linear(x)
    rows = F.pad(x.flatten(0, -2), (0, 0, 0, rest))
    return linear(rows)[:-rest].view(*x.shape[:-1], -1)


def make_norm(config: FamilyConfig) -> nn.Module:
    """LayerNorm or RMSNorm with the eps of the configuration (never None, which would follow the dtype)."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class Attention(nn.Module):
    """Multi-head self-attention: `attention(x (rows, N, D), attend) -> (rows, N, D)`.

    What looks at what is decided by `attend`, by default `self.everywhere`: all N tokens of a row at each other.
    """

    def __init__(self, config: FamilyConfig):
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        width = config.head_width * self.heads
        self.q_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden_size)

    def forward(self, x: torch.Tensor, attend: Attend | None = None) -> torch.Tensor:
        q, k, v = self.project(x)
        return self.join((attend or self.everywhere)(q, k, v))

    def project(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(rows, N, D) -> queries, keys and values, each (rows, heads, N, d)."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        return [by_rows(linear, x).unflatten(-1, (self.heads, -1)).transpose(-2, -3) for linear in projections]

    def join(self, found: torch.Tensor) -> torch.Tensor:
        """What the heads have found (rows, heads, N, d) -> (rows, N, D)."""
        return by_rows(self.o_proj, found.transpose(-2, -3).flatten(-2))

    def everywhere(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        rotary: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        """Attention over all N tokens, at positions `rotary`, to the keys where `mask` (rows, 1, 1 or N, N) is True."""
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, is_causal=causal)


class FeedForward(nn.Module):
    """D -> intermediate_size -> D with a GELU, or gated (SwiGLU: fc1 makes values and, behind them, their gates)."""

    def __init__(self, config: FamilyConfig):
        super().__init__()
        self.activation, inner = config.hidden_act, config.intermediate_size
        self.fc1 = nn.Linear(config.hidden_size, 2 * inner if self.activation == "swiglu" else inner)
        self.fc2 = nn.Linear(inner, config.hidden_size)
        self.dropout = nn.Dropout(config.mlp_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = by_rows(self.fc1, x)
        if self.activation == "swiglu":
            values, gates = x.chunk(2, dim=-1)
            x = values * F.silu(gates)
        else:
            x = F.gelu(x, approximate="tanh" if self.activation == "gelu_pytorch_tanh" else "none")
        return self.dropout(by_rows(self.fc2, self.dropout(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, whole clips skip a residual branch with probability `rate`.

    `forward(branch (rows, N, D), clip_of_row (rows,) int64 or None, clips)`: None where each row is a clip of its own.
    Branches that stay are divided by 1 - rate.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor, clip_of_row: torch.Tensor | None, clips: int) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return branch
        kept = self.draw(clips, branch.device).to(branch.dtype) / (1 - self.rate)
        kept = kept if clip_of_row is None else kept[clip_of_row]
        return branch * kept[:, None, None]

    def draw(self, clips: int, device: torch.device) -> torch.Tensor:
        """True for each of `clips` clips whose branch stays."""
        return torch.rand(clips, device=device) >= self.rate

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


def depth_rates(rate: float, layers: int) -> list[float]:
    """The rate of each layer: 0 in the first, `rate` in the last, linear between (scenic, timm)."""
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


class Block(nn.Module):
    """`block(x (rows, N, D), attend, clip_of_row, clips) -> (rows, N, D)`; attention within each row."""

    def __init__(self, config: FamilyConfig, drop_path: float = 0.0):
        super().__init__()
        self.layernorm_before = make_norm(config)
        self.attention = Attention(config)
        self.layernorm_after = make_norm(config)
        self.mlp = FeedForward(config)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: torch.Tensor,
        attend: Attend | None = None,
        clip_of_row: torch.Tensor | None = None,
        clips: int | None = None,
    ) -> torch.Tensor:
        clips = x.size(0) if clips is None else clips
        x = x + self.drop_path(self.attention(self.layernorm_before(x), attend), clip_of_row, clips)
        return x + self.drop_path(self.mlp(self.layernorm_after(x)), clip_of_row, clips)
