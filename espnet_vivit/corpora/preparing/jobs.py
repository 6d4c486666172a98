"""Work on many items in processes of this machine, or on a Dask cluster; the results come as they are ready.

    for job, result in run_jobs(work, jobs, nj=8, lost=describe_loss): ...

A job that brings its process down is lost alone, see base/processes.py. `jobs` may be endless: a few for each process
are taken ahead. `work` must be importable by name, its arguments and results small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from espnet_vivit.base.processes import AHEAD, CRASHED, run_in_processes
from espnet_vivit.corpora.preparing.own_process import ProcessEndedError, in_own_process
from espnet_vivit.errors import ConfigError, MediaError, MissingDependencyError

Job = TypeVar("Job")
Result = TypeVar("Result")
CONNECT_S = 20


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    nj: int,
    lost: Callable[[Job, str], Result],
    dask_scheduler: str | None = None,
) -> Iterator[tuple[Job, Result]]:
    """(job, result) of every job, in the order in which they are ready; `lost(job, why)` is the result of a lost one.

    `nj` processes, 0: in this one. With `dask_scheduler`, its address, all workers of that cluster instead. An error
    that `work` raises ends all. Raises ConfigError for a bad `nj`, MediaError for a cluster that does not answer.
    """
    if dask_scheduler is not None:
        yield from _on_cluster(work, jobs, dask_scheduler, lost)
    elif nj == 0:
        yield from ((job, work(job)) for job in jobs)
    elif nj < 0:
        raise ConfigError("bad number of processes (--nj)", found=nj, expected="1 or more; 0: in this process")
    else:
        yield from run_in_processes(work, jobs, nj=nj, lost=lost)


def _on_cluster(work, jobs, address: str, lost) -> Iterator[tuple]:
    """The same on a Dask cluster, whose workers must see the same files under the same paths.

    Each job runs in a process beside its worker, so that a crash costs that job and no worker. The job of a worker that
    is lost all the same (its machine went away) is done again by three others before Dask gives it up.
    """
    try:
        from dask.distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise MissingDependencyError(
            "--dask-scheduler needs Dask", fix="pip install 'espnet-vivit[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise MediaError(f"no Dask scheduler at {address} ({error})", fix="Start one: dask scheduler") from error
    with client:
        waiting, pending = iter(jobs), {}
        running = as_completed(loop=client.loop)

        def hand_out(count: int) -> None:
            for job in islice(waiting, count):
                future = client.submit(in_own_process, work, job, pure=False)
                pending[future.key] = job
                running.add(future)

        of_workers: Any = client.nthreads()  # a coroutine only of clients that were asked to be asynchronous
        threads = sum(of_workers.values())
        if not threads:
            raise MediaError(f"the Dask cluster at {address} has no workers", fix=f"Start some: dask worker {address}")
        hand_out(AHEAD * threads)
        for future in running:
            job = pending.pop(future.key)
            error = future.exception()
            if isinstance(error, (KilledWorker, ProcessEndedError)):
                yield job, lost(job, CRASHED)
            else:
                yield job, future.result()
            hand_out(1)
