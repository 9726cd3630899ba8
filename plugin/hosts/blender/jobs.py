"""A run of `stpn propagate` beside Blender: its progress, its end, its messages, and how it is stopped."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from typing import Any

_SECONDS_TO_STOP = 15.0
"""How long the command may take to finish the file it writes after it was asked to stop."""

_SECONDS_TO_ASK_AGAIN = 2.0
"""A library that is being imported when it is asked may swallow that."""

_PREFIX = "stpn propagate: "
_LINES_SHOWN = 6

_running: dict[str, "Job"] = {}


class Job:
    """One process.

    Attributes:
        token: by which its node is found again, whatever it is called by then.
        total: how many frames it will make.
        done: how many it has made.
        status: what it said last.
        cancelled: whether it was asked to stop.
    """

    def __init__(self, command: list[str], environment: dict[str, str], total: int) -> None:
        """Starts the process.

        Args:
            command, environment: of the process.
            total: how many frames it will make.

        Raises:
            OSError: it cannot be started.
        """
        self.token = uuid.uuid4().hex
        self.total = total
        self.done = 0
        self.status = "starting"
        self.cancelled = False
        self._stopping = self._asked = 0.0
        self._said: list[str] = []
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in Blender's terminal reaches Blender alone, which then asks it to stop
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        _running[self.token] = self

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / max(1, self.total)

    def poll(self) -> int | None:
        """Takes in what the process has said; its exit code once it has ended, else None."""
        self._take()
        if self.cancelled and self._process.poll() is None:
            now = time.monotonic()
            if now - self._stopping > _SECONDS_TO_STOP:
                self._kill()
            elif now - self._asked > _SECONDS_TO_ASK_AGAIN:
                self._ask_to_stop()
        code = self._process.poll()
        if code is None:
            return None
        for reader in self._readers:
            reader.join(_SECONDS_TO_STOP)  # not for ever: what the process has started may hold its output open
        self._take()
        _running.pop(self.token, None)
        return code

    def cancel(self) -> None:
        """Asks the process to stop; it ends within `_SECONDS_TO_STOP`, as long as somebody calls `poll`."""
        if self.cancelled:
            return
        self.cancelled = True
        self.status = "stopping"
        self._stopping = time.monotonic()
        self._ask_to_stop()

    def stop(self) -> None:
        """Ends the process and waits until it has."""
        self.cancel()
        while self.poll() is None:
            time.sleep(0.05)

    def message(self) -> str:
        """What the command had to say against the request, or its last words."""
        complaints = [line.removeprefix(_PREFIX) for line in self._said if line.startswith(_PREFIX)]
        return "\n".join(complaints or self._said[-_LINES_SHOWN:])

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            for line in stream:
                if name == "err":
                    self._lines.put((name, line.rstrip()))
                    continue
                try:
                    frame = json.loads(line)["frame"]
                except (ValueError, KeyError, TypeError):
                    continue  # none of ours, such as a library's own output
                self._lines.put((name, str(frame)))

    def _take(self) -> None:
        while not self._lines.empty():
            name, line = self._lines.get()
            if name == "out":
                self.done += 1
                line = f"frame {line}, {self.done} of {self.total}"
            elif line:
                self._said.append(line)
            if line and not self.cancelled:
                self.status = line

    def _ask_to_stop(self) -> None:
        self._asked = time.monotonic()
        if os.name == "nt":  # a group of its own cannot be sent Ctrl-C there; files are whole or not there either way
            self._process.terminate()
        else:
            self._process.send_signal(signal.SIGINT)

    def _kill(self) -> None:
        if os.name != "nt":
            try:
                os.killpg(self._process.pid, signal.SIGKILL)  # with whatever it has started itself
            except ProcessLookupError:
                return
        self._process.kill()


def running(token: str) -> Job | None:
    """The work under way of a token."""
    return _running.get(token) if token else None


def stop_all() -> None:
    """Ends all work that is under way."""
    for job in list(_running.values()):
        job.stop()
