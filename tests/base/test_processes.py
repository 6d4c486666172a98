"""Work in processes: all results, in the jobs' order where that is asked for, and never many taken ahead."""

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


def lost(number: int, why: str) -> str:
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


def test_a_job_that_ends_its_process_keeps_its_place():
    results = list(run_in_processes(partial(double, fatal=2), range(5), nj=2, lost=lost, in_order=True))
    assert results == [(0, 0), (1, 2), (2, "2: the process that worked on it ended"), (3, 6), (4, 8)]
    with pytest.raises(ValueError, match="2: the process that worked on it ended"):
        list(run_in_processes(partial(double, fatal=2), range(5), nj=2, lost=refuse, in_order=True))
