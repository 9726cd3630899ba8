"""Ctrl-C and SIGTERM: the first asks to stop, the second stops at once; no file is left half-written either way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stpn.ocio.atomic import drop_unfinished

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Somebody asked to stop while nothing was under way that could be finished.

    Attributes:
        code: the exit code, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class Stop:
    """Whether somebody asked to stop.

    Attributes:
        asked: set once somebody did.
        code: the exit code, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.code = 128 + signal.SIGINT
        self._raising = False

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within, the first signal raises `Interrupted` at once, and at the end at the latest: a library that is being
        imported may swallow the exception."""
        self._raising = True
        try:
            yield
        finally:
            self._raising = False
        if self.asked.is_set():
            raise Interrupted(self.code)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.asked.is_set() and not self._raising:
            stop_at_once(128 + number)
        self.code = 128 + number
        self.asked.set()
        if self._raising:
            raise Interrupted(self.code)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Hears Ctrl-C and SIGTERM within.

    The first sets `Stop.asked`, which whoever works looks at between two frames; the second ends the process at once,
    with the files removed that were being written. Elsewhere than in the main thread, which alone gets signals, nobody
    is heard.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._hear) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_at_once(code: int) -> None:
    """Ends the process with files removed that are being written; threads that still work are not waited for."""
    drop_unfinished()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, gone, or the signal came while it was being written
            continue
    os._exit(code)
