"""The process in which a cluster's worker does its jobs: `python job_process.py`, pickled jobs in, pickled results out.

A decoder's crash then ends this process and not the worker, which says so and takes another; Dask would send the same
job to three more workers, and a cluster of one would stall. Ends when standard input does: with its worker.
This file imports nothing of ours: the first message is the worker's `sys.path`.
"""

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print must not get between the results
    sys.path[:] = pickle.load(jobs)
    while True:
        try:
            work, job = pickle.load(jobs)
        except EOFError:
            return
        results.write(done(work, job))
        results.flush()


def done(work: Callable[[Any], Any], job: Any) -> bytes:
    """Pickled (True, what came out) or (False, the error)."""
    try:
        return pickle.dumps((True, work(job)))
    except Exception as error:
        try:
            return pickle.dumps((False, error))
        except Exception:  # an error that holds something that cannot travel
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    main()
