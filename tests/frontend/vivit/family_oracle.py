"""The reference outputs of the ViViT family in ../shared/fixtures/family, and the weights that they were made with."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

TOLERANCE = 2e-5
SCENIC_SEED, CHECKPOINT_SEED = 2101, 2102


def folder_of(shared_dir: Path) -> Path:
    return shared_dir / "fixtures" / "family"


def names_of(shared_dir: Path) -> dict:
    return json.loads((folder_of(shared_dir) / "names.json").read_text(encoding="utf-8"))


def fill_scenic(shapes: dict, *, seed: int = SCENIC_SEED, prefix: str = "") -> dict[str, np.ndarray]:
    """scenic's parameters by the rule of the fixtures' README."""
    return {name: _scenic(name, tuple(shape), seed, prefix) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return generator.standard_normal(shape, dtype=np.float32)


def _scenic(name: str, shape: tuple, seed: int, prefix: str) -> np.ndarray:
    w = _draw(prefix + name, shape, seed)
    if name.endswith(("query/kernel", "key/kernel", "value/kernel")):
        return w / np.float32(np.sqrt(shape[0]))
    if name.endswith("/kernel"):
        return w / np.float32(np.sqrt(np.prod(shape[:-1])))
    if name.endswith("/scale"):
        return 1 + np.float32(0.1) * w
    return np.float32(0.1) * w if name.endswith("/bias") else np.float32(0.5) * w


def fill_torch(shapes: dict, *, seed: int = SCENIC_SEED, prefix: str = "") -> dict[str, torch.Tensor]:
    """Parameters of the PyTorch modules by the rule of the fixtures' README."""
    return {name: torch.from_numpy(_torch(name, tuple(shape), seed, prefix)) for name, shape in shapes.items()}


def _torch(name: str, shape: tuple, seed: int, prefix: str) -> np.ndarray:
    w = _draw(prefix + name, shape, seed)
    last = name.split(".")[-1]
    if last in ("register_tokens", "pos_embedding", "cls_token", "position_embeddings", "mean", "theta"):
        return np.float32(0.5) * w
    if last == "std":
        return 1 + np.abs(w)
    if len(shape) >= 2:
        return w / np.float32(np.sqrt(np.prod(shape[1:])))
    return 1 + np.float32(0.1) * w if last == "weight" else np.float32(0.1) * w


def input_of(shape: tuple, *, seed: int = SCENIC_SEED) -> np.ndarray:
    return np.random.default_rng([seed, 12345]).standard_normal(shape, dtype=np.float32)


def steps_of(video: np.ndarray, frames: int) -> torch.Tensor:
    """(B, T, H, W, C) -> the frames of each tubelet step (B * T / frames, C, frames, H, W)."""
    clips = torch.from_numpy(video).permute(0, 4, 1, 2, 3)  # (B, C, T, H, W)
    return clips.unflatten(2, (-1, frames)).transpose(1, 2).flatten(0, 1)


def assert_equal_to(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found.detach().float(), torch.from_numpy(expected), atol=TOLERANCE, rtol=0)
