"""A job done in a process of its own, by a thread of whatever program: what crashes there is an error here.

concurrent.futures cannot be used for it in a Dask worker, which is a daemon: Python forbids these to have children of
multiprocessing's.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
PROGRAM = Path(__file__).with_name("job_process.py")


class ProcessEndedError(Exception):
    """The process that did the job is no more."""


def in_own_process(work: Callable[[Job], Result], job: Job) -> Result:
    """`work(job)`; each thread keeps its process for the next job. Raises what `work` raises, and ProcessEndedError."""
    process = getattr(_kept, "process", None) or _start()
    _kept.process = None
    try:
        jobs, results = _pipes(process)
        jobs.write(pickle.dumps((work, job)))
        jobs.flush()
        good, result = pickle.load(results)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
        raise ProcessEndedError(f"ended with code {_end(process)}") from error
    except BaseException:
        _end(process)  # it would give this job's answer to the next one
        raise
    _kept.process = process
    if not good:
        raise result
    return result


_kept = threading.local()


def _start() -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _pipes(process)[0].write(pickle.dumps(sys.path))
    return process


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """What it reads, and what it writes."""
    assert process.stdin is not None and process.stdout is not None  # `_start` asks for both
    return process.stdin, process.stdout


def _end(process: subprocess.Popen) -> int:
    """Its exit code, after it was made sure that there is one."""
    jobs, results = _pipes(process)
    with suppress(BrokenPipeError):
        jobs.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.kill()
    results.close()
    return process.wait()
