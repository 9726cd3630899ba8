"""Many clips at a time: one process each, single-threaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")


def run(work: Callable[[Job], Done], jobs: Sequence[Job], processes: int) -> Generator[tuple[int, Done], None, None]:
    """Does all jobs, and yields the number and the result of each as it is done.

    Args:
        work: a function of a module, so that a process of its own can find it.
        jobs: what it is called with.
        processes: how many at most; 1: this one.

    Raises:
        Exception: whatever the work raises; the jobs that are left are given up. So they are where the caller stops;
            a caller that may stop has to close this.
    """
    processes = min(processes, len(jobs))
    if processes <= 1:
        _single_thread()
        for index, job in enumerate(jobs):
            yield index, work(job)
        return
    # a forked child would inherit locks of threads that torch and OpenCV have started
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _single_thread)
    try:
        # children inherit that Ctrl-C is not for them; this process ends them
        answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            waiting = {pool.submit(partial(_do, work), job): index for index, job in enumerate(jobs)}
        finally:
            signal.signal(signal.SIGINT, answer)
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _do(work: Callable[[Job], Done], job: Job) -> Done:
    """The work, which cleans up after itself where the process is ended; the pool alone would take that for a
    result."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        done = work(job)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return done
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    # only here, where the exception is gone, have generators that it kept alive cleaned up too
    os._exit(code)


def _single_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, which takes long to import and may not be needed
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
