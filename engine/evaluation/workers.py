"""Many clips at a time: one process each, single-threaded.

The processes share no queue and no lock: one that is ended in the middle of a result would leave it in a state that
whoever reads next waits on forever. Each has a connection of its own, which ends with it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")

_SERVE = "import sys; from stpn.engine.evaluation.workers import serve; serve(int(sys.argv[1]))"


class WorkerDied(Exception):
    """A process ended without a result; likely the system ended it for lack of memory."""


def run(work: Callable[[Job], Done], jobs: Sequence[Job], processes: int) -> Generator[tuple[int, Done], None, None]:
    """Does all jobs, and yields the number and the result of each as it is done.

    Args:
        work: a function of a module, so that a process of its own can find it. That is killed where the caller stops,
            with what it has started, and cleans nothing up: temporary files belong in a folder of the caller's.
        jobs: what it is called with.
        processes: how many at most; 1: this one.

    Raises:
        Exception: whatever the work raises; the jobs that are left are given up. So they are where the caller stops;
            a caller that may stop has to close this.
        WorkerDied: see there.
    """
    processes = min(processes, len(jobs))
    if processes <= 1:
        _single_thread()
        for index, job in enumerate(jobs):
            yield index, work(job)
        return
    workers: list[_Worker] = []
    with _Interrupt() as interrupt:
        try:
            left = ((index, pickle.dumps((work, job))) for index, job in enumerate(jobs))
            for first in islice(left, processes):
                workers.append(_Worker())
                workers[-1].give(*first)
            while busy := [worker for worker in workers if worker.job is not None]:
                with interrupt.allowed():
                    ready = wait([worker.connection for worker in busy])
                    worker = next(worker for worker in busy if worker.connection in ready)
                    index, packed = worker.take()
                if following := next(left, None):
                    worker.give(*following)
                error, done = pickle.loads(packed)
                if error is not None:
                    raise error
                yield index, done
        finally:
            _end(workers)


class _Worker:
    """A process that does jobs.

    Attributes:
        job: the number of what it is at; None: of nothing.
        connection: for jobs and results.
        holders: ends once it and all that it has started are gone.
    """

    def __init__(self) -> None:
        self.job: int | None = None
        self.connection, theirs = Pipe()
        # its standard input, which is empty; what it starts inherits that
        self.holders, empty = socket.socketpair()
        self.holders.shutdown(socket.SHUT_WR)
        with theirs, empty:
            # a group of its own: a terminal's Ctrl-C is not for it, and what it has started can be ended with it
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _SERVE, str(theirs.fileno())],
                stdin=empty.fileno(), pass_fds=[theirs.fileno()], process_group=0,
            )  # fmt: skip

    def give(self, index: int, packed: bytes) -> None:
        self.job = index
        try:
            self.connection.send_bytes(packed)
        except OSError as error:
            raise WorkerDied from error

    def take(self) -> tuple[int, bytes]:
        assert self.job is not None
        index, self.job = self.job, None
        try:
            return index, self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerDied from error


def _end(workers: Sequence[_Worker]) -> None:
    """Kills them: they have nothing of worth any more, and would not always hear anything else."""
    for worker in workers:
        with suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
    for worker in workers:
        worker.connection.close()
        worker.process.wait()
    # what they had started is killed too, but ends when it likes, and may not write on where the caller cleans up
    deadline = time.monotonic() + 5  # what has left the group lives on; that is not waited for
    for worker in workers:
        with worker.holders, suppress(OSError):
            worker.holders.settimeout(max(deadline - time.monotonic(), 0))
            worker.holders.recv(1)


class _Interrupt:
    """Ctrl-C, which raises KeyboardInterrupt only where that is allowed: it would leave processes behind where it came
    while they are started or ended. Whoever has it ignored, or handled otherwise, keeps that."""

    def __init__(self) -> None:
        self._ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._came = self._allowed = False

    def __enter__(self) -> _Interrupt:
        if self._ours:
            signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came and kind is not KeyboardInterrupt:
            raise KeyboardInterrupt

    def _take(self, *_: object) -> None:
        self._came = True
        self._raise()

    def _raise(self) -> None:
        if self._came and self._allowed:
            self._allowed = False  # a second one must not interrupt the cleaning up
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Here it raises, also where it came before."""
        self._allowed = True
        try:
            self._raise()
            yield
        finally:
            self._allowed = False


def serve(handle: int) -> None:
    """What a process does: the jobs that are sent, until there is nobody who sends any.

    Args:
        handle: of the connection.
    """
    Thread(target=_end_with_parent, args=(handle,), daemon=True).start()
    _single_thread()
    connection = Connection(handle)
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_done(connection.recv_bytes()))


def _end_with_parent(handle: int) -> None:
    """Ends this process and what it has started once the other end is closed, however long the job would take."""
    closed = select.poll()
    closed.register(handle, 0)
    closed.poll()
    os.killpg(os.getpid(), signal.SIGKILL)


def _done(packed: bytes) -> bytes:
    """Does a job; the exception it raised or None, and its result."""
    try:
        work, job = pickle.loads(packed)
        return pickle.dumps((None, work(job)))
    except Exception as error:
        text = traceback.format_exc()
        error.add_note(text)
        try:
            answer = pickle.dumps((error, None))
            pickle.loads(answer)  # not every exception that can be packed can be unpacked
            return answer
        except Exception:
            return pickle.dumps((RuntimeError(text), None))


def _single_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, which takes long to import and may not be needed
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
