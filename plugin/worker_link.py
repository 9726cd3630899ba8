"""One connection to the worker: the greeting, the shared memory, messages there and back, and what to do in silence.

Nothing here imports more than the standard library, numpy and its neighbours: a host's plugin folder holds a copy.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .worker_messages import PROTOCOL, CutOffError, Message, MessageError, message, peer_pid, receive, send
from .worker_start import RETRY_SECONDS, START_SECONDS, Installation, WorkerError, connected, last_line

TYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype("<f4"),
    "half": np.dtype("<f2"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
}
"""What the protocol calls numbers, and what numpy does."""

_SILENCE = os.environ.get("STPN_WORKER_SILENCE", "")
SILENCE_SECONDS = float(_SILENCE) if _SILENCE.isascii() and _SILENCE.isdigit() and len(_SILENCE) < 7 else 30.0
"""After so long without a word the worker is taken for dead."""
POLL_SECONDS = 0.1
"""How often `cancelled` is asked while the worker works."""

_ALIGNMENT = 64


class Broken(Exception):
    """The connection ended."""


class Link:
    """A connection that is up.

    Args:
        installation, device: whose worker.
        client: who calls, for the worker's log.
        cancelled: asked while the worker starts.

    Raises:
        WorkerError, Cancelled: see `worker_start.connected`; refused; or the greeting was not understood.
    """

    def __init__(
        self, installation: Installation, device: str, client: str, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._memory: mmap.mmap | None = None
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._sock, self.log = connected(installation, device, cancelled)
            self._peer = peer_pid(self._sock)
            self._pid = self._peer or 0
            self._heard = time.monotonic()
            try:
                self._sock.settimeout(SILENCE_SECONDS)
                self.say(message("hello", ("protocol", PROTOCOL), ("client", client)))
                self._greeted(*self._receive(with_descriptors=True))
                return
            except Broken as error:
                self.close()
                # whoever connects as the worker ends is let in by the system, and finds nobody
                if time.monotonic() > deadline:
                    raise WorkerError("start", f"the worker ends before it has said a word; see {self.log}") from error
                time.sleep(RETRY_SECONDS)
            except MessageError as error:
                self.close()
                text = f"the worker's greeting was not understood: {error}; see {self.log}"
                raise WorkerError("protocol", text) from error
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Ends the connection, which cancels its job."""
        self._sock.close()
        if self._memory is not None:
            try:
                self._memory.close()
            except BufferError:
                self._memory = None  # somebody's traceback still shows a view of it; it goes with that

    @property
    def alive(self) -> bool:
        """Whether nothing says that the other end has closed; between jobs it says nothing at all."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def say(self, message: Message) -> None:
        """Sends; Broken where nobody takes it."""
        try:
            send(self._sock, message)
        except TimeoutError:
            raise self._dead() from None
        except OSError as error:
            raise Broken(str(error)) from error

    def hear(self, cancelled: Callable[[], bool]) -> Message | None:
        """The next message, or None as soon as `cancelled` says so.

        Raises:
            Broken: the connection ended.
            MessageError: what came is no message.
            WorkerError: nothing came for too long; the worker was killed.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not poll.poll(POLL_SECONDS * 1000):
            if cancelled():
                return None
            if time.monotonic() - self._heard > SILENCE_SECONDS:
                raise self._dead()
        return self._receive()[0]

    def expect(self) -> None:
        """Begins to measure silence; the worker need not speak between jobs."""
        self._heard = time.monotonic()

    def put(self, pixels: np.ndarray[Any, Any], offset: int) -> None:
        """Writes a picture, (H, W, C), into the shared memory as planes.

        Raises:
            MessageError: it does not lie within.
        """
        height, width, count = pixels.shape
        for channel, plane in enumerate(self._planes(offset, width, height, pixels.dtype, count)):
            plane[:] = pixels[:, :, channel]

    def take(self, offset: int, width: int, height: int, type: str, count: int) -> np.ndarray[Any, Any]:
        """A copy of `count` planes in the shared memory, (H, W, C).

        Raises:
            MessageError: they do not lie within, or the type is unknown.
        """
        if type not in TYPES:
            raise MessageError(f"expected a type among {', '.join(TYPES)}, got {type!r}")
        return np.stack(self._planes(offset, width, height, TYPES[type], count), axis=-1)

    def _planes(
        self, offset: int, width: int, height: int, dtype: np.dtype[Any], count: int
    ) -> list[np.ndarray[Any, Any]]:
        """Views of planes; they must be let go of before the memory is."""
        assert self._memory is not None
        if min(width, height, count) < 1 or offset < 0 or offset % _ALIGNMENT:
            raise MessageError(f"expected a picture at a multiple of {_ALIGNMENT}, got {width} x {height} at {offset}")
        size = width * height * dtype.itemsize
        stride = -(-size // _ALIGNMENT) * _ALIGNMENT
        if offset + (count - 1) * stride + size > len(self._memory):
            raise MessageError(
                f"expected a picture within {len(self._memory)} bytes of shared memory, got {count} planes of "
                f"{width} x {height} {dtype} at {offset}"
            )
        starts = [offset + channel * stride for channel in range(count)]
        return [np.frombuffer(self._memory, dtype, width * height, start).reshape(height, width) for start in starts]

    def _receive(self, with_descriptors: bool = False) -> tuple[Message, list[int]]:
        try:
            found, descriptors = receive(self._sock, with_descriptors=with_descriptors)
        except TimeoutError:
            raise self._dead() from None
        except (OSError, CutOffError) as error:
            raise Broken(str(error)) from error
        if found is None:
            raise Broken("it ended")
        self._heard = time.monotonic()
        return found, descriptors

    def _greeted(self, answer: Message, descriptors: list[int]) -> None:
        """Takes the answer to hello and maps the memory, once for all jobs: its first touch is what costs."""
        try:
            if answer.verb == "refused":
                raise WorkerError("refused", f"the worker refused: {answer.one('reason')}; see {self.log}")
            if answer.verb != "welcome" or answer.one("protocol") != str(PROTOCOL) or len(descriptors) != 1:
                raise MessageError(
                    f"expected a welcome of protocol {PROTOCOL} with one descriptor, got {answer.verb} of protocol "
                    f"{answer.one('protocol')} with {len(descriptors)}"
                )
            self._pid = whole(answer.one("pid"), "pid")
            size = whole(answer.one("memory"), "memory")
            held = os.fstat(descriptors[0]).st_size
            if not 0 < size <= held:
                # a map beyond the end of the memory ends the host on first touch
                raise MessageError(f"expected {size} bytes of shared memory, got {held}")
            self._memory = mmap.mmap(descriptors[0], size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            raise MessageError(f"shared memory: {error}") from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _dead(self) -> WorkerError:
        """Ends a worker that says nothing, and tells so."""
        # the system knows who listens there; a number that it does not confirm may by now be another process
        if self._pid > 1 and self._peer in (None, self._pid):
            with contextlib.suppress(OSError):  # it may be gone already
                os.kill(self._pid, signal.SIGKILL)
        said = f"the worker said nothing for {SILENCE_SECONDS:g} s and was ended; try again"
        return WorkerError("silence", f"{said}; its last words: {last_line(self.log)} (log: {self.log})")


def whole(text: str | None, name: str) -> int:
    """A whole number that a message holds; MessageError where it is none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise MessageError(f"{name}: expected a whole number, got {text!r}")
    return int(text)
