"""Work in processes: all results, in the jobs' order where that is asked for, and never many taken ahead."""

import multiprocessing
import os
import time
from functools import partial

import pytest

from espnet_vivit.base.processes import AHEAD, run_in_processes

SLOW = 0  # the job that is ready last


def double(number: int, *, fatal: int = -1) -> int:
    if number == fatal:
        os._exit(9)  # as a decoder's crash does
    if number == SLOW:
        time.sleep(1)
    return 2 * number


def end_well(number: int, *, fatal: int) -> int:
    if number == fatal:
        os._exit(0)  # as a library does that calls exit
    return number


class FatalToLoad:
    """A job that ends the process which reads it, before any work begins."""

    def __reduce__(self):
        return end_worker, ()


def end_worker() -> None:
    if multiprocessing.parent_process() is not None:
        os._exit(9)


def same(job: object) -> object:
    return job


def lost(number: object, why: str) -> str:
    return f"{number}: {why}"


def refuse(number: int, why: str) -> str:
    raise ValueError(lost(number, why))


def test_results_keep_the_jobs_order_if_asked_and_few_wait_for_a_slow_one():
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = run_in_processes(double, endless(), nj=2, lost=lost, in_order=True)
    assert next(results) == (0, 0) and len(taken) <= AHEAD * 2  # though the others were ready a second before
    assert [next(results) for _ in range(7)] == [(number, 2 * number) for number in range(1, 8)]
    results.close()
    as_ready = [job for job, _ in run_in_processes(double, range(5), nj=2, lost=lost)]
    assert as_ready[-1] == SLOW and sorted(as_ready) == list(range(5))


def test_a_process_that_ends_without_an_error_or_before_it_works_costs_its_job_alone():
    results = dict(run_in_processes(partial(end_well, fatal=2), range(4), nj=2, lost=lost))
    assert results.pop(2) == "2: the process that worked on it ended" and results == {0: 0, 1: 1, 3: 3}
    results = [result for _, result in run_in_processes(same, [0, FatalToLoad(), 2], nj=2, lost=lost, in_order=True)]
    assert results[::2] == [0, 2] and str(results[1]).endswith(": the process that worked on it ended")


def test_a_job_that_ends_its_process_keeps_its_place():
    results = list(run_in_processes(partial(double, fatal=2), range(5), nj=2, lost=lost, in_order=True))
    assert results == [(0, 0), (1, 2), (2, "2: the process that worked on it ended"), (3, 6), (4, 8)]
    with pytest.raises(ValueError, match="2: the process that worked on it ended"):
        list(run_in_processes(partial(double, fatal=2), range(5), nj=2, lost=refuse, in_order=True))
