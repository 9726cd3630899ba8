"""One client of the worker: its messages, its jobs, what it holds of the memory."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.config import ColorError
from stpn.ocio.plate import PlateError
from stpn.plugin.live_job import Job, read_job
from stpn.plugin.live_pictures import PictureInfo
from stpn.plugin.live_render import Renderer
from stpn.plugin.node import for_people
from stpn.plugin.reading import Cancelled, RenderError
from stpn.plugin.request import RequestError, one_line
from stpn.plugin.worker_memory import FullError, SharedMemory, Slot, Store
from stpn.plugin.worker_messages import PROTOCOL, Message, MessageError, message, receive, send

Array = NDArray[Any]

_log = logging.getLogger(__name__)

HEARTBEAT = 0.5
"""Seconds between two signs of life during a job."""

# of one client, those that were cancelled and go on for a moment included
_MOST_UNDER_WAY = 4


@dataclass(frozen=True)
class Shared:
    """What all connections of a worker have in common.

    Attributes:
        memory, store: of pictures.
        renderer: gives the renderer, once it is there.
        copying: for copies side by side.
        log_path: told to clients.
    """

    memory: SharedMemory
    store: Store
    renderer: Callable[[], Renderer]
    copying: Executor
    log_path: str


@dataclass
class _Work:
    """A job that is under way.

    Attributes:
        cancelled: set to stop.
        filled: set when the client has put its pictures in place.
        answered: whether the client has its answer; what comes later is for nobody.
        progress: the last that was told.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    filled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    answered: bool = False
    progress: tuple[float, str] = (0.0, "")


class Connection:
    """Serves one client until it has gone."""

    def __init__(self, sock: socket.socket, shared: Shared, busy: Callable[[], None]) -> None:
        """Takes the connection; `busy` is called whenever there is something to do."""
        self._sock, self._shared, self._busy = sock, shared, busy
        self._sending, self._answering = threading.Lock(), threading.Lock()
        self._work: _Work | None = None
        self._under_way: list[_Work] = []
        self._result: Slot | None = None
        self.client = ""

    def serve(self) -> None:
        """Returns when the client has gone, or has said what makes no sense."""
        try:
            if self._welcome():
                while True:
                    said, _ = receive(self._sock)
                    if said is None:
                        break
                    self._busy()
                    self._hear(said)
        except (OSError, MessageError) as error:
            _log.info("%s: %s", self.client or "a client", error)
        finally:
            self.close()  # whoever is still sending, to a client that does not read, stops here
            if self._work is not None:
                self._work.cancelled.set()
                self._work.filled.set()
                with self._answering:
                    self._work.answered = True
            self._release()
            with self._sending:
                self._sock.close()

    def close(self) -> None:
        """Makes `serve` return."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has gone by itself

    def _welcome(self) -> bool:
        said, _ = receive(self._sock)
        if said is None:
            return False
        self.client = one_line((said.one("client") or "a client")[:80])
        if said.verb != "hello" or said.one("protocol") != str(PROTOCOL):
            reason = f"expected hello of protocol {PROTOCOL}, got {said.verb} {said.one('protocol')}; install again"
            self._send(message("refused", ("reason", reason)))
            return False
        memory = self._shared.memory
        lines = (("protocol", PROTOCOL), ("pid", os.getpid()), ("memory", memory.size), ("log", self._shared.log_path))
        with self._sending:
            send(self._sock, message("welcome", *lines), [memory.descriptor])
        _log.info("%s: welcome", self.client)
        return True

    def _hear(self, said: Message) -> None:
        work = self._work
        if said.verb == "job":
            if work is not None and not work.answered:
                raise MessageError("job: expected one at a time, got another before the first was answered")
            self._release()
            self._wait_for_room()
            self._work = _Work()
            self._under_way.append(self._work)
            threading.Thread(target=self._do, args=(self._work, said), name="stpn-job", daemon=True).start()
            threading.Thread(target=self._beat, args=(self._work,), name="stpn-heartbeat", daemon=True).start()
        elif said.verb == "filled" and work is not None:
            work.filled.set()
        elif said.verb == "cancel" and work is not None:
            work.cancelled.set()
            work.filled.set()
            self._answer(work, message("cancelled"))
        elif said.verb == "release":
            self._release()
        elif said.verb not in ("filled", "cancel"):
            raise MessageError(f"expected job, filled, cancel or release, got {said.verb}")

    def _wait_for_room(self) -> None:
        """Waits while too many jobs that were cancelled have not noticed yet: each holds threads and memory."""
        self._under_way = [work for work in self._under_way if not work.ended.is_set()]
        while len(self._under_way) >= _MOST_UNDER_WAY:
            self._under_way.pop(0).ended.wait()

    def _do(self, work: _Work, said: Message) -> None:
        """Does a job, and answers unless that was done."""
        slot = None
        try:
            job = read_job(said.lines)
            slot = self._rendered(work, job)
            info, made = slot.info, slot.about
            place = f"{slot.offset} {info.width} {info.height} {info.type} {info.channels}"
            notes = [("note", for_people(note)) for note in made.notes]
            numbers = (("confidence", f"{made.confidence:.6f}"), ("seconds", f"{made.seconds:.6f}"))
            slot.about = replace(made, seconds=0.0)  # for whoever asks again
            if self._answer(work, message("done", ("picture", place), *numbers, *notes), slot):
                slot = None  # from then on the client's, who may have released it by now
            _log.info("%s: frame %d, %s, %.3f s", self.client, job.frame, job.values["property"], made.seconds)
        except Cancelled:
            self._answer(work, message("cancelled"))
        except RequestError as error:
            self._failed(work, "request", "; ".join(error.problems))
        except (ColorError, PlateError) as error:
            self._failed(work, "request", str(error))
        except RenderError as error:
            self._failed(work, "render", str(error))
        except (FullError, MemoryError) as error:
            self._failed(work, "memory", str(error) or "expected more memory, the machine has none left")
        except Exception as error:  # a fault of ours; the client must hear of it, and other jobs must go on
            _log.exception("%s: a job failed", self.client)
            self._failed(work, "render", f"{type(error).__name__}: {error}; see {self._shared.log_path}")
        finally:
            work.ended.set()
            if slot is not None:
                self._shared.store.release(slot)

    def _rendered(self, work: _Work, job: Job) -> Slot:
        """The result in its slot, which is held; of a job that was done before without doing it again."""
        store, memory, key = self._shared.store, self._shared.memory, ("result", job.digest)
        known = store.hold(key)
        if known is not None:
            return known
        held: list[Slot] = []
        try:
            pictures = self._pictures(work, job, held)
            made = self._shared.renderer().render(job, pictures, work.cancelled, partial(_note, work))
            height, width = next(iter(made.planes.values())).shape
            slot = store.reserve(PictureInfo(width, height, job.want[0], "".join(made.planes)))
            there = slot.info.planes(memory.at(slot))
            list(self._shared.copying.map(np.copyto, there.values(), made.planes.values()))
            slot.about = replace(made, planes={})
            return store.commit(slot, key)
        finally:
            for one in held:
                store.release(one)

    def _pictures(self, work: _Work, job: Job, held: list[Slot]) -> dict[str, tuple[PictureInfo, dict[str, Array]]]:
        """The job's pictures, each in its slot; the client is asked for those that are not there. What is held is
        appended to the list at once."""
        store, memory = self._shared.store, self._shared.memory
        slots: dict[str, Slot] = {}
        missing: dict[str, Slot] = {}
        for name, info in job.pictures.items():
            slot = store.hold(("picture", name))
            if slot is not None and slot.info != info:
                store.release(slot)
                raise RequestError(f"picture {name}: expected {slot.info} as before, got {info}: the same ID twice")
            if slot is None:
                slot = missing[name] = store.reserve(info)
            held.append(slot)
            slots[name] = slot
        if missing:
            try:
                self._send(message("need", *(("picture", f"{name} {slot.offset}") for name, slot in missing.items())))
            except OSError:
                raise Cancelled from None  # the client has gone, which `serve` notices
            work.filled.wait()
            if work.cancelled.is_set():
                raise Cancelled
            for name, slot in missing.items():
                held.remove(slot)
                slots[name] = store.commit(slot, ("picture", name))
                held.append(slots[name])
        return {name: (slot.info, slot.info.planes(memory.at(slot))) for name, slot in slots.items()}

    def _beat(self, work: _Work) -> None:
        """Says that there is life while a job is under way, as long as the client reads it."""
        room = select.poll()
        room.register(self._sock, select.POLLOUT)
        while not work.ended.wait(HEARTBEAT):
            self._busy()
            with self._answering:
                if work.answered:
                    return
                if not room.poll(0):
                    continue
                done, what = work.progress
                try:
                    self._send(message("progress", ("done", f"{done:.3f}"), ("what", what)))
                except OSError:
                    return  # the client has gone, which `serve` notices

    def _failed(self, work: _Work, kind: str, reason: str) -> None:
        _log.info("%s: failed, %s: %s", self.client, kind, reason)
        self._answer(work, message("failed", ("kind", kind), ("reason", for_people(reason))))

    def _answer(self, work: _Work, answer: Message, result: Slot | None = None) -> bool:
        """Answers, if nothing was answered yet, and whether it did; a result is held for the client from then on."""
        with self._answering:
            if work.answered:
                return False
            work.answered = True
            self._result = result
            with contextlib.suppress(OSError):  # the client has gone, which `serve` notices
                self._send(answer)
            return True

    def _release(self) -> None:
        """Gives up the result that was held for the client."""
        with self._answering:
            result, self._result = self._result, None
        if result is not None:
            self._shared.store.release(result)

    def _send(self, what: Message) -> None:
        with self._sending:
            send(self._sock, what)


def _note(work: _Work, done: float, what: str) -> None:
    work.progress = (done, what)
