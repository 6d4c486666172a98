"""Processes that work for this one: fresh ones, not forks, which libraries that have started threads do not survive.

They end with the process that started them, however that ends: a pool's processes would otherwise wait for ever for the
next job of a leader that was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def process_pool(count: int) -> ProcessPoolExecutor:
    """A pool of `count` processes, of one thread each where libraries would start more."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is loaded there
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_leader)


def _end_with_leader() -> None:
    threading.Thread(target=_wait_for_leader, daemon=True).start()


def _wait_for_leader() -> None:
    leader = multiprocessing.parent_process()
    if leader is not None:
        leader.join()
    os._exit(1)
