"""Work in processes and on a cluster: all results, none lost unsaid, and not more taken ahead than is needed."""

import os
import time
from functools import partial

import pytest

from espnet_vivit.corpora.preparing.jobs import AHEAD, run_jobs
from espnet_vivit.corpora.preparing.own_process import ProcessEndedError, in_own_process
from espnet_vivit.errors import ConfigError, DataError, MediaError


def square_or_die(number: int, *, fatal: int) -> int:
    if number == fatal:
        os._exit(9)  # as a decoder's crash does
    return number * number


def refuse(number: int) -> int:
    raise DataError(f"no {number}")


def process_id(_) -> int:
    return os.getpid()


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


def raise_unpicklable(_) -> None:
    raise Unpicklable("a lock")


def printing(number: int) -> int:
    print("a library's chatter")
    return number


def lost(number: int, why: str) -> str:
    return f"{number}: {why}"


def test_a_job_that_ends_its_process_is_lost_alone():
    results = dict(run_jobs(partial(square_or_die, fatal=3), range(8), nj=2, lost=lost))
    assert results.pop(3) == "3: the process that worked on it ended"
    assert results == {number: number * number for number in range(8) if number != 3}


def test_jobs_are_taken_as_they_are_needed():
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = run_jobs(partial(square_or_die, fatal=-1), endless(), nj=1, lost=lost)
    for _ in range(5):
        next(results)
    results.close()
    assert len(taken) <= 5 + AHEAD


def test_what_work_raises_ends_all():
    with pytest.raises(DataError, match=r"no \d"):
        list(run_jobs(refuse, range(3), nj=1, lost=lost))
    with pytest.raises(ConfigError, match="--nj"):
        list(run_jobs(refuse, range(3), nj=-1, lost=lost))
    assert dict(run_jobs(partial(square_or_die, fatal=-1), range(3), nj=0, lost=lost)) == {0: 0, 1: 1, 2: 4}


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("dask.distributed", reason="needs Dask: pip install 'espnet-vivit[cluster]'")
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(processes=False, protocol="tcp", host="127.0.0.1", **options) as cluster:
        yield cluster


def test_a_dask_cluster_of_one_worker_gives_the_same_results_and_survives_a_crash(cluster):
    address = cluster.scheduler_address
    results = dict(run_jobs(partial(square_or_die, fatal=3), range(12), nj=1, lost=lost, dask_scheduler=address))
    assert results.pop(3) == "3: the process that worked on it ended"
    assert results == {number: number * number for number in range(12) if number != 3}
    with pytest.raises(DataError, match=r"no \d"):
        list(run_jobs(refuse, range(3), nj=1, lost=lost, dask_scheduler=address))


def test_a_process_of_its_own_is_kept_for_the_next_job_and_replaced_after_a_crash():
    pid = in_own_process(process_id, 0)
    assert pid != os.getpid() and in_own_process(process_id, 0) == pid
    with pytest.raises(ProcessEndedError, match="code 9"):
        in_own_process(partial(square_or_die, fatal=1), 1)
    assert in_own_process(process_id, 0) not in (pid, os.getpid())
    with pytest.raises(RuntimeError, match="Unpicklable: a lock"):
        in_own_process(raise_unpicklable, 0)
    assert in_own_process(printing, 5) == 5, "what is printed is no result"


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("dask.distributed", reason="needs Dask: pip install 'espnet-vivit[cluster]'")
    from espnet_vivit.corpora.preparing import jobs

    monkeypatch.setattr(jobs, "CONNECT_S", 1)
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        list(run_jobs(refuse, range(3), nj=1, lost=lost, dask_scheduler="tcp://127.0.0.1:9"))
    assert time.monotonic() - started < 30
