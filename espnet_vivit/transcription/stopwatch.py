"""What each stage of transcribing takes: seconds added up under its name."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopwatch(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time inside the block to `seconds[stage]`."""
    begun_s = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun_s
