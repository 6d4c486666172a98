"""Make random generators that depend on names: the same for every number of jobs, order and resumption."""

from __future__ import annotations

import hashlib

import numpy as np


def rng_for(seed: int, *names: str) -> np.random.Generator:
    """Make a generator that depends only on the seed and the names."""
    digest = hashlib.blake2b("\x1f".join([str(seed), *names]).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
