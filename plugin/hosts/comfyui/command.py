"""Runs a command of stpn, listens to it, and ends it when it is told to."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from .worker_start import clean_environment

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
"""For a command that was asked to stop, which it does between frames, before it is killed. It writes files whole."""

_KEPT_LINES = 20


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code.
        reason: what it said of what is wrong.
        cancelled: whether it was told to end.
    """

    code: int
    reason: str
    cancelled: bool


def run(
    command: Sequence[str],
    line: Callable[[str], None],
    said: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Ended:
    """Runs a command to its end.

    Args:
        command: program and arguments.
        line: has each line of its output.
        said: has each line that it says beside that.
        cancelled: asked ten times a second; once it says so the command is interrupted, later killed.

    Raises:
        RuntimeError: it cannot be started.
        Whatever `line`, `said` and `cancelled` raise; the command is ended then, too.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise RuntimeError(f"{command[0]}: cannot be started: {error}; run install.py again") from error
    assert process.stdout is not None
    assert process.stderr is not None
    heard: queue.Queue[tuple[bool, str]] = queue.Queue()
    readers = [
        threading.Thread(target=_read, args=(stream, is_output, heard), daemon=True)
        for stream, is_output in ((process.stdout, True), (process.stderr, False))
    ]
    for reader in readers:
        reader.start()
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    stopped = False
    try:
        while any(reader.is_alive() for reader in readers) or not heard.empty():
            try:
                is_output, text = heard.get(timeout=POLL_SECONDS)
            except queue.Empty:
                pass
            else:
                if is_output:
                    line(text)
                else:
                    last.append(text)
                    said(text)
            if cancelled():
                stopped = True
                break
    except BaseException:
        _stop(process)
        raise
    if stopped:
        _stop(process)
    return Ended(process.wait(), _reason(last), stopped)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ends a process, by force where asking does not help."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(stream: IO[str], is_output: bool, heard: queue.Queue[tuple[bool, str]]) -> None:
    with stream:
        for text in stream:
            heard.put((is_output, text.rstrip("\n")))


def _reason(last: Sequence[str]) -> str:
    """What the command calls wrong, else the last that it said."""
    problems = [text for text in last if text.startswith("stpn ")]
    return "\n".join(problems or list(last)[-3:]) or "stpn propagate failed without a word; see `stpn doctor`"
