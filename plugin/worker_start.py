"""Finds the worker's socket and starts the worker where nobody listens; see `docs/worker.md`.

Nothing here imports more than the standard library and `worker_messages`: a host's plugin folder holds a copy of both.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .worker_messages import FolderError, peer_uid, runtime_folder

START_SECONDS = 30.0
RETRY_SECONDS = 0.02
AGAIN_SECONDS = 2.0
"""After a worker that gave up because another was first: how long that one may take until one is started anew."""

_PASSED_ON = (
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "OCIO",
    "CUDA_VISIBLE_DEVICES",
    "NUMBA_CACHE_DIR",
)
_LOG_END = 4096  # bytes of the log in which its last line is looked for


class WorkerError(Exception):
    """A frame that could not be made.

    Attributes:
        kind: request, memory or render, as the worker says; start, refused, connection, silence or protocol where
            already the talk with it failed.
        reason: a sentence for the person at the node.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Cancelled(Exception):
    """The caller's `cancelled` said so."""


@dataclass(frozen=True)
class Installation:
    """Where stpn is.

    Attributes:
        python: the interpreter that has it.
        name: version and a digest of where it lies, such as 0.1.0-1a2b3c4d.
    """

    python: str
    name: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Installation:
        """What `stpn.conf` says: lines `python PATH` and `name NAME`.

        Raises:
            WorkerError: it is not there or lacks one of them; of kind start.
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WorkerError("start", f"{path}: expected what install.py writes: {error}; run install.py") from error
        lines = dict(line.partition(" ")[::2] for line in text.splitlines())
        for name in ("python", "name"):
            if not lines.get(name, "").strip():
                raise WorkerError("start", f"{path}: expected a line '{name} ...', got none; run install.py again")
        return cls(lines["python"].strip(), lines["name"].strip())


def clean_environment() -> dict[str, str]:
    """What a process of stpn is given of the host's environment.

    Hosts set paths for their own Python and libraries, which another Python must not see.
    """
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("STPN_")}


def connected(installation: Installation, device: str, cancelled: Callable[[], bool]) -> tuple[socket.socket, Path]:
    """A connection to the worker of this user, which is started where nobody listens.

    Args:
        installation: whose worker.
        device: auto, cpu, cuda or tensorrt.
        cancelled: asked while waiting.

    Returns:
        The socket, whose other end is a process of this user; and where that worker's log is.

    Raises:
        WorkerError: the folder cannot be used, the worker failed or did not answer in time, or is another user's.
        Cancelled: `cancelled` said so.
    """
    try:
        folder = runtime_folder()
    except FolderError as error:
        raise WorkerError("start", str(error)) from error
    path = folder / f"{device}-{installation.name}.sock"
    log = path.with_suffix(".log")
    process: subprocess.Popen[bytes] | None = None
    gave_up_at = 0.0
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = _connect(path, log)
        if found is not None:
            return found, log
        now = time.monotonic()
        if cancelled():
            raise Cancelled
        code = None if process is None else process.poll()
        if code:
            raise WorkerError("start", f"the worker ended with code {code}: {last_line(log)} (log: {log})")
        if now > deadline:
            raise WorkerError(
                "start", f"the worker did not listen within {START_SECONDS:g} s: {last_line(log)} (log: {log})"
            )
        if process is None:
            process = _start(installation, device, path, log)
        elif code == 0:
            # another was first and is about to listen; or it was about to end, and then nobody comes
            gave_up_at = gave_up_at or now
            if now - gave_up_at > AGAIN_SECONDS:
                process, gave_up_at = None, 0.0
        time.sleep(RETRY_SECONDS)


def last_line(log: Path) -> str:
    """The last line of the log that says something."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_END))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return "there is no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def _connect(path: Path, log: Path) -> socket.socket | None:
    """A connection to whoever listens at the path, None where nobody does yet."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
        user = peer_uid(sock)
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BlockingIOError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise WorkerError("start", f"{path}: cannot be connected to: {error}; see {log}") from error
    if user != os.geteuid():
        sock.close()
        raise WorkerError("refused", f"{path}: expected a worker of user {os.geteuid()}, got one of user {user}")
    return sock


def _start(installation: Installation, device: str, path: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts the worker in a session of its own, so that what ends the host does not end it."""
    command = [installation.python, "-P", "-m", "stpn.plugin.cli", "worker", "--socket", str(path), "--device", device]
    try:
        written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env=clean_environment(),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(written)
    except OSError as error:
        raise WorkerError(
            "start", f"{installation.python}: the worker cannot be started: {error}; run install.py again"
        ) from error
    # whoever started a process must wait for its end, or it stays in the table of processes
    threading.Thread(target=process.wait, name="stpn worker's end", daemon=True).start()
    return process
