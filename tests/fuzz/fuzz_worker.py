"""Fuzz target: whatever a client of the worker says, it is answered in messages, and nothing is held when it has gone.

    python tests/fuzz/fuzz_worker.py FOLDER tests/fuzz/corpus/worker -max_total_time=300 -artifact_prefix=/tmp/

No process is started and nothing is rendered: a stand-in gives each job a result. The first byte of an input says what
the rest is: even, texts of messages with the byte ff between, each sent with its length in front; odd, bytes as they
are.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import atheris
import numpy as np

_SEEN = [
    f"stpn.plugin.{name}"
    for name in ("live_job", "live_pictures", "worker_connection", "worker_memory", "worker_messages")
]

with atheris.instrument_imports(include=_SEEN):
    from stpn.plugin import live_job, live_pictures, worker_connection, worker_memory, worker_messages
    from stpn.plugin.live_render import Rendered

_MEMORY = 64 * 4096
_BUFFER = 1 << 20
_PATIENCE = 10.0
_VERBS = (b"hello\nprotocol 1", b"job", b"filled", b"cancel", b"release")
_LINES = (
    b"frame 2", b"frame -1", b"frame 1_0", b"picture c 1 1 float RGB", b"picture a 65536 65536 float RGBA",
    b"picture b 64 256 half RGBA", b"source 1 c", b"key 1 a", b"key 2 c", b"matte c", b"want uint8 RGBA",
    b"want half RGB", b"colorspace x", b"keys_colorspace", b"parameter property hdr", b"parameter property mask",
    b"parameter property channels", b"parameter mix nan", b"parameter weights /nowhere", b"parameter interval 3",
    b"parameter method stpn", b"parameter output confidence", b"client a\\nb", b"protocol 1",
)  # fmt: skip
_ANSWERS = {"welcome", "refused", "need", "progress", "done", "failed", "cancelled"}


class Broken(Exception):
    """A promise that was not kept."""


class _Faults(logging.Handler):
    """What the connection itself calls a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.found.append(logging.Formatter().format(record))


_faults = _Faults()
_escaped: list[BaseException] = []


class _Renderer:
    """Gives a result of the job's own size, after it has looked at all that a renderer looks at."""

    def render(self, job: live_job.Job, pictures: Any, cancelled: threading.Event, note: Any) -> Rendered:
        """See `live_render.Renderer`."""
        job.request()
        for info, planes in pictures.values():
            if any(plane.shape != (info.height, info.width) for plane in planes.values()):
                raise Broken(f"{info} came as {[plane.shape for plane in planes.values()]}")
            for plane in planes.values():
                plane.fill(0)
        note(0.5, "half")
        if cancelled.is_set():
            raise worker_connection.Cancelled
        info = job.pictures[job.sources[job.frame]]
        kind = live_pictures.TYPES[job.want[0]]
        return Rendered({name: np.zeros((info.height, info.width), kind) for name in job.want[1]}, 1.0, 0.0, ("note",))


_POOL = ThreadPoolExecutor(1)
_SHARED = worker_memory.SharedMemory(_MEMORY)


def one_input(data: bytes) -> None:
    """Has one talk."""
    said = sent(data)
    store = worker_memory.Store(_SHARED, lambda: (), lambda: False)
    shared = worker_connection.Shared(_SHARED, store, _Renderer, _POOL, "the log")  # type: ignore[arg-type]
    client, server = socket.socketpair()
    with client:
        for sock in (client, server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        client.settimeout(_PATIENCE)
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        worker_connection.Connection(server, shared, lambda: None).serve()
        for thread in threading.enumerate():
            if thread.name in ("stpn-job", "stpn-heartbeat"):
                thread.join(_PATIENCE)
                if thread.is_alive():
                    raise Broken(f"{thread.name} goes on after its client has gone")
        _check_answers(client)
    if _faults.found or _escaped:
        raise Broken(f"expected an answer to the client, got {_faults.found or _escaped}")
    _check_store(store)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """A changed input: lines of messages are put in, taken out and moved, now and then anything at all."""
    chance = random.Random(seed)
    if not data or data[0] % 2 or chance.random() < 0.4:
        return atheris.Mutate(data, most)
    texts = [text.split(b"\n") for text in data[1:].split(b"\xff")]
    for _ in range(chance.choice((1, 1, 2, 4))):
        text = chance.choice(texts)
        kind = chance.randrange(5)
        if kind == 0:
            text.insert(chance.randint(0, len(text)), chance.choice(_LINES))
        elif kind == 1:
            text.insert(chance.randint(0, len(text)), chance.choice(chance.choice(texts)))
        elif kind == 2:
            del text[chance.randrange(len(text)) : chance.randint(1, len(text))]
            text += [] if text else [b"release"]
        elif kind == 3:
            texts.insert(chance.randint(0, len(texts)), [chance.choice(_VERBS)])
        else:
            texts.insert(chance.randint(0, len(texts)), list(text))
    return (data[:1] + b"\xff".join(b"\n".join(text) for text in texts))[:most]


def sent(data: bytes) -> bytes:
    """What an input puts on the connection."""
    if not data:
        return b""
    if data[0] % 2:
        return data[1:]
    return b"".join(struct.pack("<I", len(text)) + text for text in data[1:].split(b"\xff"))


def _check_answers(client: socket.socket) -> None:
    while True:
        try:
            answer, descriptors = worker_messages.receive(client)
        except ConnectionResetError:  # it was closed before all was read, which is how nonsense ends
            return
        if answer is None:
            return
        if answer.verb not in _ANSWERS or descriptors:
            raise Broken(f"expected one of {_ANSWERS}, got {answer}")


def _check_store(store: worker_memory.Store) -> None:
    if any(slot.holders for slot in store._slots.values()):
        raise Broken(f"held by nobody that is there: {list(store._slots.values())}")
    kept = [(slot.offset, -(-slot.info.size // 4096) * 4096) for slot in store._slots.values()]
    pieces = sorted([*store._free, *kept])
    ends = [0, *(offset + size for offset, size in pieces)]
    if [offset for offset, _ in pieces] != ends[:-1] or ends[-1] != _MEMORY:
        raise Broken(f"pieces overlap or are lost: {pieces}")


def main() -> None:
    """Hands over to the fuzzer, which does not return."""
    log = logging.getLogger(worker_connection.__name__)
    log.propagate, log.handlers = False, [_faults]
    threading.excepthook = lambda told: _escaped.append(told.exc_value or told.exc_type())
    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
