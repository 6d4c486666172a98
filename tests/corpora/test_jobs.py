"""Work in processes and on a cluster: all results, none lost unsaid, and not more taken ahead than is needed."""

import os
import time
from functools import partial

import pytest

from espnet_vivit.corpora.jobs import AHEAD, run_jobs
from espnet_vivit.errors import ConfigError, DataError, MediaError


def square_or_die(number: int, *, fatal: int) -> int:
    if number == fatal:
        os._exit(9)  # as a decoder's crash does
    return number * number


def refuse(number: int) -> int:
    raise DataError(f"no {number}")


def lost(number: int, why: str) -> str:
    return f"{number}: {why}"


def test_a_job_that_ends_its_process_is_lost_alone():
    results = dict(run_jobs(partial(square_or_die, fatal=3), range(8), nj=2, lost=lost))
    assert results.pop(3) == "3: the process that read it ended"
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


def test_a_dask_cluster_gives_the_same_results(cluster):
    work = partial(square_or_die, fatal=-1)
    results = dict(run_jobs(work, range(20), nj=1, lost=lost, dask_scheduler=cluster.scheduler_address))
    assert results == dict(run_jobs(work, range(20), nj=0, lost=lost))


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("dask.distributed", reason="needs Dask: pip install 'espnet-vivit[cluster]'")
    from espnet_vivit.corpora import jobs

    monkeypatch.setattr(jobs, "CONNECT_S", 1)
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        list(run_jobs(refuse, range(3), nj=1, lost=lost, dask_scheduler="tcp://127.0.0.1:9"))
    assert time.monotonic() - started < 30
