"""A hostile client of the worker: it gets its answer or is left, and holds neither threads nor memory."""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stpn.plugin import worker
from stpn.plugin.live_render import Rendered
from stpn.plugin.worker_connection import Connection, Shared
from stpn.plugin.worker_memory import SharedMemory, Store
from stpn.plugin.worker_messages import MAXIMUM_MESSAGE, MessageError, message, receive, send

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Unix sockets that pass descriptors")

JOB = {"frame": "1", "picture": "a 4 4 float A", "source": "1 a", "key": "1 a", "want": "float A"}


class Client:
    """The other end of a connection whose renderer waits until it is told to go on."""

    def __init__(self) -> None:
        self.sock, self.served = socket.socketpair()
        self.sock.settimeout(10)
        self.store = Store(SharedMemory(16 * 4096), lambda: (), lambda: False)
        self.go_on = threading.Event()
        self.rendering = 0
        self.pool = ThreadPoolExecutor(1)
        shared = Shared(self.store._memory, self.store, lambda: self, self.pool, "the log")  # type: ignore[arg-type,return-value]
        self.connection = Connection(self.served, shared, lambda: None)
        self.thread = threading.Thread(target=self.connection.serve, daemon=True)
        self.thread.start()
        send(self.sock, message("hello", ("protocol", 1), ("client", "x\n\x1b[31m" * 1000)))

    def render(self, *_: Any) -> Rendered:
        """Stands in for the renderer, which may take a while to notice that it is not wanted any more."""
        self.rendering += 1
        assert self.go_on.wait(10)
        return Rendered({"A": np.zeros((4, 4), np.float32)}, 1.0, 0.1, ())

    def job(self) -> None:
        """Asks for a frame, and says that its pictures are there."""
        send(self.sock, message("job", *JOB.items()))
        send(self.sock, message("filled"))

    def end(self) -> None:
        """Goes."""
        self.go_on.set()
        self.sock.close()
        self.thread.join(10)
        self.pool.shutdown()


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that was welcomed."""
    made = Client()
    receive(made.sock)
    yield made
    made.end()


def jobs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stpn-job"]


def test_a_client_that_goes_as_it_is_asked_for_pictures_is_no_fault(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # nothing may be sent any more, while what the client has sent is still there
    client.served.shutdown(socket.SHUT_WR)
    send(client.sock, message("job", *JOB.items()))
    client.sock.shutdown(socket.SHUT_WR)
    client.thread.join(10)
    for thread in jobs():
        thread.join(10)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(slot.holders == 0 for slot in client.store._slots.values())


def test_jobs_given_up_one_after_the_other_do_not_pile_up(client: Client) -> None:
    for index in range(15):
        client.job()
        deadline = time.monotonic() + 10
        while index < 4 and client.rendering <= index and time.monotonic() < deadline:
            time.sleep(0.01)
        send(client.sock, message("cancel"))
    time.sleep(0.3)
    assert client.rendering == len(jobs()) == 4
    client.go_on.set()
    answers: list[str] = []
    while answers.count("cancelled") + answers.count("done") < 15:
        said, _ = receive(client.sock)
        assert said is not None
        answers.append(said.verb)
    client.end()
    for thread in jobs():
        thread.join(10)
    assert not jobs()
    assert all(slot.holders == 0 for slot in client.store._slots.values())


def test_a_length_that_is_claimed_takes_no_memory() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for claimed in (MAXIMUM_MESSAGE + 1, 2**31, 2**32 - 1):
            theirs.sendall(struct.pack("<I", claimed))
            with pytest.raises(MessageError):
                receive(ours)
        theirs.sendall(struct.pack("<I", MAXIMUM_MESSAGE) + b"x" * 100)
        theirs.shutdown(socket.SHUT_WR)
        tracemalloc.start()
        with pytest.raises(MessageError):
            receive(ours)
        assert tracemalloc.get_traced_memory()[1] < MAXIMUM_MESSAGE // 2
        tracemalloc.stop()


def test_pictures_that_are_claimed_take_no_memory(client: Client) -> None:
    pictures = [("picture", f"p{index} 65536 65536 float RGBA") for index in range(5000)]
    tracemalloc.start()
    send(client.sock, message("job", *(pair for pair in JOB.items() if pair[0] != "picture"), *pictures))
    failed, _ = receive(client.sock)
    while failed is not None and failed.verb == "progress":  # a slow machine may say so first
        failed, _ = receive(client.sock)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert failed is not None
    assert failed.verb == "failed"
    assert peak < 32 << 20


def test_what_is_heard_of_a_client_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = Client()
    receive(made.sock)
    made.sock.sendall(b"\x05\0\0\0\x1b[31m")
    made.thread.join(10)
    assert all(record.getMessage().isprintable() for record in caplog.records), caplog.records
    made.end()


@pytest.mark.parametrize("text", ["", "-1", "x", "\u00b2", "1e9", "9" * 16, "9" * 5000, " 1", "0x10"])
def test_variables_that_are_no_number_are_left_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_WORKER_MEMORY", text)
    assert worker._number("STPN_WORKER_MEMORY", 7) == 7
