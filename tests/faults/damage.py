"""Bytes that time, networks and full disks damage, in ways drawn from a seed."""

from collections.abc import Callable, Iterator

import numpy as np


def _flip(content: bytearray, rng: np.random.Generator) -> None:
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content)) :]


def _blank(content: bytearray, rng: np.random.Generator) -> None:
    at, length = _stretch(content, rng)
    content[at : at + length] = bytes(len(content[at : at + length]))


def _scramble(content: bytearray, rng: np.random.Generator) -> None:
    at, length = _stretch(content, rng)
    content[at : at + length] = rng.bytes(len(content[at : at + length]))


def _lose(content: bytearray, rng: np.random.Generator) -> None:
    at, length = _stretch(content, rng)
    del content[at : at + length]


def _stretch(content: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(len(content))), int(rng.integers(1, 1 + max(1, len(content) // 8)))


DAMAGES: dict[str, Callable[[bytearray, np.random.Generator], None]] = {
    "a bit flipped": _flip,
    "cut off": _cut,
    "a stretch of zeros": _blank,
    "a stretch of noise": _scramble,
    "a stretch lost": _lose,
}


def damaged(content: bytes, *, each: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`each` damaged copies of every kind: (what was done, the bytes), none of them equal to `content`."""
    for number, (name, damage) in enumerate(DAMAGES.items()):
        rng = np.random.default_rng([seed, number])
        made = 0
        while made < each:
            copy = bytearray(content)
            damage(copy, rng)
            if bytes(copy) != content:
                made += 1
                yield f"{name}, {made}", bytes(copy)
