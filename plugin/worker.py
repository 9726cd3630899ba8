"""The worker: one process for a user and a device, which renders single frames for hosts that must not load Python.

`docs/worker.md` says how it is found, started and talked to.
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.plugin.machine import memory_gib
from stpn.plugin.worker_messages import message, peer_uid, send

if TYPE_CHECKING:
    from stpn.plugin.live_render import Renderer
    from stpn.plugin.worker_connection import Connection
    from stpn.plugin.worker_memory import SharedMemory

_log = logging.getLogger(__name__)

_IDLE = 10.0
_IDLE_JOBS = 600.0
_LOG_BYTES = 1_000_000
# more than any host has threads to render with
_MOST_CLIENTS = 128
_COPIES = 4
# of the machine's memory, what pictures may take
_MEMORY_PART = 0.4
_GUESS_GIB = 8.0
_MOST_DIGITS = 15
# when memory runs out, this process goes first: a host can go on without it, and start another
_OOM_SCORE = "500"


class WorkerFault(Exception):
    """The worker cannot start; the sentence says why."""


class _Log(logging.handlers.RotatingFileHandler):
    """A log of which one older file is kept; what libraries print goes there too, also after the change of files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
        self._follow()

    def doRollover(self) -> None:
        """See `RotatingFileHandler`."""
        super().doRollover()
        self._follow()

    def _follow(self) -> None:
        for number in (1, 2):
            if self.stream is not None:
                os.dup2(self.stream.fileno(), number)


def serve(address: Path) -> int:
    """Serves clients until nobody needs it any more.

    Args:
        address: of the socket; lock and log lie beside it, and its folder must be the user's alone.

    Returns:
        The exit code: 0 as soon as there is somebody who serves this address.

    Raises:
        WorkerFault: it cannot start.
    """
    os.umask(0o077)
    heard, told = os.pipe()
    child = os.fork()
    if child:
        # whoever started this process waits for it, and must not have to wait for as long as the worker lives
        os.close(told)
        listens = os.read(heard, 1) == b"!"
        return 0 if listens else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(heard)
    lock = _locked(address.with_suffix(".lock"))
    if lock is None:
        return 0
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[_Log(address.with_suffix(".log"))],
        force=True,
    )
    _offered_to_the_system()
    try:
        return _Server(address, told).run()
    finally:
        address.unlink(missing_ok=True)
        os.close(lock)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock; None where another process does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise WorkerFault(f"{path}: cannot be opened: {error.strerror}; see who owns its folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _offered_to_the_system() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    except OSError:
        return  # not on this system, and nothing depends on it


class _Server:
    """Listens, and ends when nobody is there or nothing was asked for a while."""

    def __init__(self, address: Path, told: int) -> None:
        self._address, self._told = address, told
        self._ending = threading.Event()
        self._clients: set[Connection] = set()
        self._lock = threading.Lock()
        self._last_client = self._last_job = 0.0

    def run(self) -> int:
        """Returns the exit code."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: self._ending.set())
        size = _number("STPN_WORKER_MEMORY", 0) or int(_machine_memory() * _MEMORY_PART)
        with self._listening() as listening, ThreadPoolExecutor(_COPIES, thread_name_prefix="stpn-copy") as copying:
            # whoever connects from now on waits to be heard, while the heavy imports go on
            os.write(self._told, b"!")
            os.close(self._told)
            from stpn.plugin.worker_connection import Connection, Shared
            from stpn.plugin.worker_memory import SharedMemory, Store

            renderer = _Later(size)
            memory = SharedMemory(size)
            store = Store(memory, renderer.in_use, renderer.forget)
            shared = Shared(memory, store, renderer.get, copying, str(self._address.with_suffix(".log")))
            _log.info("pid %d serves %s, %.1f GB for pictures", os.getpid(), self._address, size / 1e9)
            self._last_client = self._last_job = time.monotonic()  # the imports may have taken longer than it may idle
            while not self._done():
                try:
                    sock, _ = listening.accept()
                except TimeoutError:
                    continue
                sock.setblocking(True)
                if self._welcome(sock):
                    self._serve(Connection(sock, shared, self._busy))
            _log.info("ends")
            self._take_leave(memory)
            # threads that wait for a client, or render for one that has gone, are daemons and end with the process
            logging.shutdown()
            self._address.unlink(missing_ok=True)
            os._exit(0)

    def _listening(self) -> socket.socket:
        self._address.unlink(missing_ok=True)  # the lock is ours, so whoever listened there is dead
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(self._address))
            listening.listen(_MOST_CLIENTS)
        except OSError as error:
            listening.close()
            raise WorkerFault(f"{self._address}: cannot listen: {error.strerror or error}") from error
        listening.settimeout(0.2)
        return listening

    def _welcome(self, sock: socket.socket) -> bool:
        """Whether a client may come in; it is the owner's, and there is room."""
        reason = ""
        try:
            uid = peer_uid(sock)
            if uid != os.geteuid():
                reason = f"expected a client of user {os.geteuid()}, got one of user {uid}"
            elif len(self._clients) >= _MOST_CLIENTS:
                reason = f"expected {_MOST_CLIENTS} clients at most; close some"
            if reason:
                _log.warning("refused: %s", reason)
                send(sock, message("refused", ("reason", reason)))
        except OSError as error:
            reason = str(error)
        if reason:
            sock.close()
        return not reason

    def _serve(self, client: Connection) -> None:
        def served() -> None:
            try:
                client.serve()
            finally:
                with self._lock:
                    self._clients.discard(client)
                    self._last_client = time.monotonic()

        with self._lock:
            self._clients.add(client)
        self._busy()
        threading.Thread(target=served, name="stpn-client", daemon=True).start()

    def _busy(self) -> None:
        self._last_job = time.monotonic()

    def _done(self) -> bool:
        now = time.monotonic()
        with self._lock:
            alone = not self._clients and now - self._last_client > _number("STPN_WORKER_IDLE", _IDLE)
        return self._ending.is_set() or alone or self._unasked()

    def _unasked(self) -> bool:
        return time.monotonic() - self._last_job > _number("STPN_WORKER_IDLE_JOBS", _IDLE_JOBS)

    def _take_leave(self, memory: SharedMemory) -> None:
        """Frees what hosts that stay have mapped, and would otherwise hold for as long as they run."""
        with self._lock:
            for client in self._clients:
                client.close()
        # nobody hears of a result any more; where somebody just has, it may still be read
        if self._unasked():
            memory.empty()


class _Later:
    """The renderer, made in the background, because it takes seconds to import what it stands on."""

    def __init__(self, memory: int) -> None:
        self._made: Future[Renderer] = Future()
        threading.Thread(target=self._make, args=(memory,), name="stpn-import", daemon=True).start()

    def get(self) -> Renderer:
        """Waits for it."""
        return self._made.result()

    def in_use(self) -> set[str]:
        """See `Renderer`."""
        return self._made.result().in_use() if self._made.done() else set()

    def forget(self) -> bool:
        """See `Renderer`."""
        return self._made.done() and self._made.result().forget()

    def _make(self, memory: int) -> None:
        try:
            from stpn.plugin.live_render import Renderer

            self._made.set_result(Renderer(memory))
        except BaseException as error:
            self._made.set_exception(error)


def _machine_memory() -> float:
    """Bytes that this machine has for programs; a guess where it does not tell."""
    found = memory_gib()
    return (found[0] if found else _GUESS_GIB) * 2**30


def _number(name: str, default: float) -> int:
    """A whole number from the environment."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else int(default)
