"""Many clips at a time, and what is left where that is stopped.

The work is `eval`, because a process of its own may not find this module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import PicklingError
from typing import Any

import pytest

from stpn.engine.evaluation import workers
from stpn.engine.evaluation.workers import WorkerDied

_WAIT = """
import os, signal, sys, threading, time
from contextlib import closing
from pathlib import Path
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
"""

_HALF = """
from multiprocessing.connection import Connection
wait_for("begun")
def half(connection, message):
    os.write(connection.fileno(), message[: len(message) // 2])
    Path("half").touch()
    time.sleep(600)
Connection._send = half
"""
"""Done by a worker, which then sends but half of its result."""

_BUSY = """
import subprocess
wait_for("begun")
Path("half").touch()
subprocess.run(["sleep", "600"])
"""
"""The same, which is at work for long, in a process that it started."""

_STOPPED = """
from stpn.engine.evaluation import workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
with closing(workers.run(eval, sys.argv[1:], 2)) as done:
    next(done)
    Path("begun").touch()
    wait_for("half")
"""
"""Done by a parent, where the other result has come by half."""

_WAYS = {
    "closed": "done.close()",
    "Ctrl-C": "signal.raise_signal(signal.SIGINT)\n    next(done)",
    "Ctrl-C while waiting": "threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT]).start()\n    next(done)",
}


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_once(processes: int) -> None:
    jobs = [f"({number}, __import__('os').getpid())" for number in range(5)]
    done = dict(workers.run(eval, jobs, processes))
    assert {index: number for index, (number, _) in done.items()} == {i: i for i in range(5)}
    assert ({pid for _, pid in done.values()} == {os.getpid()}) == (processes == 1)


def test_large_results_come_whole() -> None:
    jobs = [f"b'{number}' * 3_000_000" for number in range(4)]
    assert dict(workers.run(eval, jobs, 2)) == {number: b"%d" % number * 3_000_000 for number in range(4)}


def test_what_a_process_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(workers.run(eval, ["1", "1 / 0", "2", "3"], 2))
    assert 'File "<string>", line 1' in raised.value.__notes__[0], "where it was raised there"


def test_what_cannot_be_sent_is_told() -> None:
    with pytest.raises(PicklingError, match="lambda"):
        list(workers.run(eval, ["1", "lambda: 0"], 2))


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(WorkerDied):
        list(workers.run(eval, ["__import__('os')._exit(1)", "__import__('time').sleep(600)"], 2))


# ---------------------------------------------------------------- stopped


@pytest.mark.parametrize("way", _WAYS)
def test_processes_end_in_the_middle_of_a_result(way: str, tmp_path: Path) -> None:
    jobs = ["0", f"exec({_WAIT + _HALF!r}, {{}})"]
    with python(tmp_path, _WAIT + _STOPPED + "    " + _WAYS[way], jobs) as running:
        _, err = running.communicate(timeout=120)  # until no process has the pipes any more
    assert (tmp_path / "half").exists(), err
    assert running.returncode == (0 if way == "closed" else -signal.SIGINT), err


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    busy = f"exec({_WAIT + _BUSY!r}, {{}})"
    with python(tmp_path, _WAIT + _STOPPED + "    print(flush=True); next(done)", ["0", busy]) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.kill()
        running.communicate(timeout=120)


def test_an_interrupt_waits_until_all_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(workers.run(eval, ["1", "2"], 2))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def test_an_interrupt_after_the_last_result_is_not_lost() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = workers.run(eval, ["1", "2"], 2)
        assert {next(done), next(done)} == {(0, 1), (1, 2)}
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            next(done)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def python(folder: Path, code: str, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is not there for longer than it is looked at."""
    running = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
