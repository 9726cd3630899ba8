"""Signals ask to stop, once where something can be finished, and leave the handlers of others as they were."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from stpn.plugin.cli.stopping import Interrupted, stopping

SIGNALS = pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@SIGNALS
def test_the_first_asks_and_says_the_exit_code(sent: signal.Signals, code: int) -> None:
    before = signal.getsignal(sent)
    with stopping() as stop:
        assert not stop.asked.is_set()
        os.kill(os.getpid(), sent)
        assert stop.asked.wait(5)
        assert stop.code == code
    assert signal.getsignal(sent) == before


@SIGNALS
def test_where_nothing_is_to_be_finished_it_interrupts(sent: signal.Signals, code: int) -> None:
    assert _interrupted(sent, swallowed=()) == code


def test_an_interruption_that_is_swallowed_comes_at_the_end() -> None:
    assert _interrupted(signal.SIGTERM, swallowed=(KeyboardInterrupt,)) == 143


def _interrupted(sent: signal.Signals, swallowed: tuple[type[BaseException], ...]) -> int:
    try:
        with stopping() as stop, stop.interrupting(), contextlib.suppress(*swallowed):
            os.kill(os.getpid(), sent)
            time.sleep(5)
    except Interrupted as interrupted:
        return interrupted.code
    return 0


def test_another_thread_than_the_main_one_hears_nothing_and_works() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with stopping() as stop, stop.interrupting():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


@SIGNALS
def test_the_second_ends_the_process_whatever_its_threads_do(sent: signal.Signals, code: int) -> None:
    stubborn = (
        "import threading, time\nfrom stpn.plugin.cli.stopping import stopping\n"
        "with stopping():\n    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(sent)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.send_signal(sent)
        assert process.wait(10) == code
