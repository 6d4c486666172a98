"""Rollout of factorised ViViTs against the product of whole matrices over all tokens, in NumPy."""

import numpy as np
import pytest
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.frontend.vivit.attention_rollout import attention_rollout
from espnet_vivit.frontend.vivit.blocks import Attention
from tests.frontend.vivit.test_family_encoder import SIZES, WINDOWS
from tests.tiny import WINDOW, gray_clip, randomize

TOLERANCE = 1e-5
ROPE = {"temporal_positions": "rope"}
VARIANTS = {
    "factorised encoder": ("factorised_encoder", ROPE),
    "factorised encoder, registers and cls": (
        "factorised_encoder",
        {**ROPE, "registers": 2, "temporal_pooling": "cls"},
    ),
    "causal": ("causal", {"left_context": 1}),
    "causal, every step before": ("causal", {}),
    "places": ("causal", {"temporal_tokens": "places", "left_context": 1}),
    "gaussian": ("causal", {"temporal_pooling": "gaussian"}),
    "self-attention": ("factorised_self_attention", ROPE),
    "self-attention, time first": ("factorised_self_attention", {**ROPE, "attention_order": "time_space"}),
    "dot product": ("factorised_dot_product", ROPE),
    "dot product, windows": ("factorised_dot_product", WINDOWS),
    "factorised encoder, windows and cls": ("factorised_encoder", {**WINDOWS, "temporal_pooling": "cls"}),
}


def build(variant: str):
    attention, options = VARIANTS[variant]
    torch.manual_seed(0)
    return randomize(vivit_encoder(pretrained=False, config=dict(SIZES), attention=attention, **options)).eval()


def queries_and_keys(encoder, clip) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, q, k), each (rows, N, heads, d), of each attention in the order of its calls."""
    found = []
    hooks = []
    for name, part in encoder.vivit.named_modules():
        if isinstance(part, Attention):
            shapes = []
            hooks.append(part.register_forward_pre_hook(lambda _, given, shapes=shapes: shapes.append(given[0].shape)))
            parts = {}

            def note(_, __, output, *, letter, name=name, parts=parts, shapes=shapes, heads=part.heads):
                rows, tokens, _ = shapes[-1]
                flat = output.flatten(0, -2)[: rows * tokens]  # behind them are rows of zeros
                parts[letter] = flat.view(rows, tokens, heads, -1).double().numpy()
                if letter == "k":
                    found.append((name, parts["q"], parts["k"]))

            for letter in "qk":
                linear = getattr(part, f"{letter}_proj")
                hooks.append(
                    linear.register_forward_hook(lambda *args, letter=letter, note=note: note(*args, letter=letter))
                )
    with torch.no_grad():
        encoder(clip[None])
    for hook in hooks:
        hook.remove()
    return found


def turned(x: np.ndarray) -> np.ndarray:
    """(n, heads, d), each step turned by its position: channels i and i + d/2 as one complex number."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)[:, None]
    return np.concatenate([z.real, z.imag], axis=-1)


def looked_at(q: np.ndarray, k: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """(n, n) averaged over heads, of q and k (n, heads, d)."""
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
    if visible is not None:
        scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).mean(0)


def over_time(config, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(n, n) of the same token in all steps, q and k (n, heads, d)."""
    age = np.arange(len(q))[:, None] - np.arange(len(q))
    visible = None
    if config.causal:
        visible = (age >= 0) & (age <= (len(q) if config.left_context is None else config.left_context))
    if config.temporal_positions == "rope":
        q, k = turned(q), turned(k)
    return looked_at(q, k, visible)


def half_residual(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * matrix + 0.5 * np.eye(len(matrix))


def block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    """Over tokens (step, place): each step looks at its own places."""
    n, size = len(blocks), len(blocks[0])
    matrix = np.zeros((n, size, n, size))
    for step, block in enumerate(blocks):
        matrix[step, :, step] = block
    return matrix.reshape(n * size, n * size)


def strided(blocks: list[np.ndarray]) -> np.ndarray:
    """Over tokens (step, place): each place looks at itself in other steps."""
    n, size = len(blocks[0]), len(blocks)
    matrix = np.zeros((n, size, n, size))
    for place, block in enumerate(blocks):
        matrix[:, place, :, place] = block
    return matrix.reshape(n * size, n * size)


def expected_maps(encoder, clip) -> np.ndarray:
    """(n, places): the product of every layer's whole matrix, rows pooled, columns of a place summed over steps."""
    config = encoder.vivit.config
    before, places = int(config.cls_token) + config.registers, config.grid[0] * config.grid[1]
    pool = np.full(places, 1 / places)
    if config.pooling == "gaussian":
        pool = encoder.vivit.pooling.gaussian.masks().mean(0).flatten().detach().double().numpy()
    flow, steps_flow = None, None
    for name, q, k in queries_and_keys(encoder, clip):
        if name.startswith("temporal.") and config.temporal_tokens == "steps":
            layer = half_residual(over_time(config, q[0], k[0]))
            steps_flow = layer if steps_flow is None else layer @ steps_flow
            continue
        n, size = len(q), q.shape[1]
        if name.startswith("temporal."):  # rows are places; CLS and registers have been left behind
            matrix = strided([over_time(config, q[place], k[place]) for place in range(len(q))])
            n = size
            flow = (
                flow
                if len(flow) == n * places
                else flow.reshape(n, before + places, -1)[:, before:].reshape(n * places, -1)
            )
        elif name.endswith("time_attention"):
            matrix = strided([over_time(config, q[:, place], k[:, place]) for place in range(size)])
        elif config.attention == "factorised_dot_product":
            half = q.shape[2] // 2
            in_time = strided([over_time(config, q[:, p, :half], k[:, p, :half]) for p in range(size)])
            in_space = block_diagonal([looked_at(q[s, :, half:], k[s, :, half:]) for s in range(n)])
            matrix = (in_time + in_space) / 2
        else:
            matrix = block_diagonal([looked_at(q[step], k[step]) for step in range(n)])
        flow = half_residual(matrix) if flow is None else half_residual(matrix) @ flow
    n = len(clip) // 2
    flow = flow.reshape(n, -1, n, before + places)[..., before:].sum(2)  # (steps, tokens, places)
    if config.temporal_tokens == "places" or not config.splits_space_and_time:
        return np.einsum("stp,t->sp", flow, pool)
    maps = flow[:, 0] if config.pooling == "cls" else np.einsum("stp,t->sp", flow[:, before:], pool)
    return steps_flow[-n:, -n:] @ maps  # a CLS token in time stands before the steps


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_the_product_of_the_matrices_over_all_tokens(variant):
    encoder, clip = build(variant), gray_clip(WINDOW)
    maps = attention_rollout(encoder, clip)
    assert maps.shape == (WINDOW // 2, *encoder.vivit.config.grid) and maps.dtype == torch.float32
    np.testing.assert_allclose(maps.flatten(1).numpy(), expected_maps(encoder, clip), atol=TOLERANCE)
    assert maps.min() >= 0 and maps.flatten(1).sum(1).max() <= 1 + TOLERANCE


@pytest.mark.parametrize("frames", [1, 2, 7, 21])
@pytest.mark.parametrize("variant", ["causal", "dot product, windows"])
def test_there_is_a_map_for_each_step_of_the_output(variant, frames):
    for rate in ("tubelet", "frame"):
        attention, options = VARIANTS[variant]
        encoder = vivit_encoder(pretrained=False, config=dict(SIZES), attention=attention, feature_rate=rate, **options)
        clip = gray_clip(frames)
        assert len(attention_rollout(randomize(encoder), clip)) == encoder.eval()(clip[None]).size(1)


def test_looking_leaves_the_encoder_as_it_was():
    encoder, clip = build("self-attention"), gray_clip(WINDOW)
    with torch.no_grad():
        before = encoder(clip[None])
        encoder.train()
        attention_rollout(encoder, clip)
        assert encoder.vivit.training
        assert torch.equal(encoder.eval()(clip[None]), before)


def test_a_causal_step_is_not_reached_from_later_ones():
    """What reaches the first step has come from the first step: the map does not change with what follows."""
    encoder, clip = build("causal"), gray_clip(WINDOW)
    longer = torch.cat([clip, gray_clip(WINDOW)])
    torch.testing.assert_close(attention_rollout(encoder, longer)[:4], attention_rollout(encoder, clip))
