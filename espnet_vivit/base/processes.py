"""Run jobs in fresh processes, not forks: libraries that have started threads do not survive forking.

    for job, result in run_in_processes(work, jobs, nj=8, lost=describe_loss): ...

They end with the process that started them, however that ends: a pool's processes would otherwise wait for ever for the
next job of a leader that was killed. A job that brings its process down (a decoder's crash, the kernel's memory killer)
is not the end of the others: what was under way is done again, one at a time, and only the job that does it again is
lost. `jobs` may be endless: a few for each process are taken ahead. `work` must be importable by name.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 3  # jobs handed out per process
CRASHED = "the process that worked on it ended"


def process_pool(count: int) -> ProcessPoolExecutor:
    """Start a pool of `count` processes, each limited to one thread where libraries would start more."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is loaded there
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_leader)


def _end_with_leader() -> None:
    threading.Thread(target=_wait_for_leader, daemon=True).start()


def _wait_for_leader() -> None:
    leader = multiprocessing.parent_process()
    if leader is not None:
        leader.join()
    os._exit(1)


def run_in_processes(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    nj: int,
    lost: Callable[[Job, str], Result],
    in_order: bool = False,
) -> Iterator[tuple[Job, Result]]:
    """Yield (job, result) of every job, computed by `nj` processes, as they finish or `in_order` of the jobs.

    `lost(job, why)` is the result of a lost one. An error that `work` or `lost` raises ends all.
    """
    held: dict[int, tuple[Job, Result]] = {}  # results that wait for an earlier job's
    turn = 0
    for number, job, result in _as_ready(work, jobs, nj, lost, held):
        if not in_order:
            yield job, result
            continue
        held[number] = job, result
        while turn in held:
            yield held.pop(turn)
            turn += 1


def _as_ready(work, jobs, nj: int, lost, held: Sized) -> Iterator[tuple]:
    """Yield (number, job, result); `held` results count as pending work, which bounds their number."""
    waiting = enumerate(jobs)
    pending: dict[Future, tuple] = {}
    pool = process_pool(nj)
    try:
        while True:
            broken = []
            try:
                for number, job in islice(waiting, max(0, AHEAD * nj - len(pending) - len(held))):
                    broken = [(number, job)]  # of this job nobody else would know if the pool breaks now
                    pending[pool.submit(work, job)] = number, job
                    broken = []
            except BrokenProcessPool:
                pass
            if not pending and not broken:
                return
            done = wait(pending, return_when=FIRST_COMPLETED).done if pending else ()
            for future in done:
                numbered = pending.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken.append(numbered)
                else:
                    yield *numbered, future.result()
            if broken:
                pool.shutdown(wait=True, cancel_futures=True)
                suspects, pending = [*broken, *pending.values()], {}
                yield from _one_by_one(work, suspects, lost)
                pool = process_pool(nj)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_by_one(work, suspects, lost) -> Iterator[tuple]:
    """Run jobs one at a time in a process of their own: a job that kills its process is lost, and the others get a
    new process.
    """
    pool = process_pool(1)
    try:
        for number, job in suspects:
            try:
                result = pool.submit(work, job).result()
            except BrokenProcessPool:
                result = lost(job, CRASHED)
                pool.shutdown()
                pool = process_pool(1)
            yield number, job, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
