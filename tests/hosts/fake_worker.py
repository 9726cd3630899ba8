"""A stand-in for the worker: it speaks as docs/worker.md says and hands pictures back instead of making any.

What it does with a job is told by the job's parameter `weights`, a text of words:

    key N, source N, matte   the result is that picture
    none N                   as `source N`, but no channel except the first wanted is made
    crash                    dies within the job
    vanish                   dies without a word about the job
    hang                     falls silent after one sign of life
    slow SECONDS             works so long, with progress, and can be cancelled
    late SECONDS             as slow, before it asks for pictures
    fail KIND REASON         refuses
    offset, layout, length, unasked   answers against the protocol
    note TEXT                as without, with a note

Without: the first key. What it does before is told by $STPN_FAKE: `refuse`, `exit CODE`, `deaf` (says nothing),
`sleepy SECONDS` (listens late). What it heard goes to $STPN_FAKE_RECORD, one JSON object a line.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"float": 4, "half": 2, "uint16": 2, "uint8": 1}
MEMORY = int(os.environ.get("STPN_FAKE_MEMORY", 64 << 20))
SLOTS = int(os.environ.get("STPN_FAKE_SLOTS", 8))

Lines = list[tuple[str, str]]


class Closed(Exception):
    """The client has gone."""


class Picture:
    """ID WIDTH HEIGHT TYPE CHANNELS."""

    def __init__(self, line: str) -> None:
        self.id, width, height, self.type, self.channels = line.split(" ")
        self.width, self.height = int(width), int(height)
        assert re.fullmatch(r"[0-9A-Za-z_-]{1,64}", self.id), self.id
        self.plane = self.width * self.height * SIZES[self.type]
        self.stride = -(-self.plane // 64) * 64
        self.bytes = self.stride * (len(self.channels) - 1) + self.plane


class Fake:
    """The memory, the pictures held, and the record."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("fake")
        os.ftruncate(self.descriptor, MEMORY)
        self.memory = mmap.mmap(self.descriptor, MEMORY)
        self.held: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.clients = 0
        self.last = time.monotonic()
        self.slots = list(range(SLOTS))

    def record(self, **what: Any) -> None:
        """A line for the test."""
        path = os.environ.get("STPN_FAKE_RECORD")
        if path:
            with self.lock, open(path, "a") as file:
                file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")


class Client(threading.Thread):
    """One connection."""

    def __init__(self, fake: Fake, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.fake, self.socket = fake, connection

    def run(self) -> None:
        """Greets, then does jobs until the client goes."""
        with self.fake.lock:
            self.fake.clients += 1
            slot = self.fake.slots.pop(0)
        self.start_of_slot = slot * (MEMORY // SLOTS)
        try:
            self.greet()
            while True:
                verb, lines = self.receive()
                if verb == "job":
                    self.job(lines)
                else:
                    assert verb == "release", f"{verb} outside of a job"
        except (Closed, BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.socket.close()
            with self.fake.lock:
                self.fake.clients -= 1
                self.fake.last = time.monotonic()
                self.fake.slots.append(slot)

    def greet(self) -> None:
        """Hello and welcome."""
        verb, lines = self.receive()
        assert verb == "hello"
        assert ("protocol", "1") in lines
        if os.environ.get("STPN_FAKE") == "refuse":
            self.send("refused", ("reason", "another version; run install.py"))
            raise Closed
        if os.environ.get("STPN_FAKE") == "deaf":
            time.sleep(1000)
        welcome = [("protocol", 1), ("pid", os.getpid()), ("memory", MEMORY), ("log", "/the/log")]
        rights = array.array("i", [self.fake.descriptor]).tobytes()
        self.send("welcome", *welcome, more=[(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def send(self, verb: str, *lines: tuple[str, object], more: Any = ()) -> None:
        """One message."""
        rows = [verb, *(f"{name} {value}".replace("\\", "\\\\").replace("\n", "\\n") for name, value in lines)]
        text = "\n".join(rows).encode()
        # The length on its own, and then byte for byte at first, so that clients meet messages in pieces.
        self.socket.sendmsg([struct.pack("<I", len(text))[:1]], more)
        self.socket.sendall(struct.pack("<I", len(text))[1:] + text)

    def receive(self) -> tuple[str, Lines]:
        """One message, checked strictly."""
        (length,) = struct.unpack("<I", self.exactly(4))
        assert 0 < length <= 1 << 20, length
        verb, *rows = self.exactly(length).decode("utf-8").split("\n")
        lines = []
        for row in rows:
            name, space, value = row.partition(" ")
            assert space, row
            assert re.fullmatch("[a-z_]+", name), row
            lines.append((name, re.sub(r"\\(.)", lambda found: {"n": "\n", "\\": "\\"}[found[1]], value)))
        return verb, lines

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), 1 << 16))
            if not piece:
                raise Closed
            data += piece
        return data

    def is_cancelled(self, seconds: float) -> bool:
        """Works for some time with progress; whether it was cancelled."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.send("progress", ("done", f"{1 - left / seconds:.3f}"), ("what", "nothing"))
            self.socket.settimeout(min(0.1, left))
            try:
                verb, _ = self.receive()
            except TimeoutError:
                continue
            finally:
                self.socket.settimeout(None)
            assert verb == "cancel", verb
            return True
        return False

    def job(self, lines: Lines) -> None:
        """One job."""
        self.fake.record(job=lines, thread=self.ident)
        of = {name: [value for found, value in lines if found == name] for name, _ in lines}
        parameters = dict(value.split(" ", 1) for value in of["parameter"])
        order = parameters.get("weights", "").split(" ")
        pictures = {picture.id: picture for picture in map(Picture, of["picture"])}
        assert len(pictures) == len(of["picture"])
        if order[0] == "vanish":
            os.kill(os.getpid(), signal.SIGKILL)
        self.send("progress", ("done", 0), ("what", "motion"))
        if order[0] == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if order[0] == "hang":
            time.sleep(1000)
        if order[0] == "fail":
            return self.send("failed", ("kind", order[1]), ("reason", " ".join(order[2:])))
        if order[0] == "length":
            return self.socket.sendall(struct.pack("<I", 1 << 30))
        if order[0] == "late" and self.is_cancelled(float(order[1])):
            return self.send("cancelled")
        if not self.fetch(pictures, order):
            return self.send("cancelled")
        if order[0] == "slow" and self.is_cancelled(float(order[1])):
            return self.send("cancelled")
        self.answer(of, pictures, order)

    def fetch(self, pictures: dict[str, Picture], order: list[str]) -> bool:
        """Asks for what is not held; False where the client cancels instead."""
        with self.fake.lock:
            if sum(map(len, self.fake.held.values())) > 64 << 20:
                self.fake.held = {key: planes for key, planes in self.fake.held.items() if key in pictures}
            missing = [picture for key, picture in pictures.items() if key not in self.fake.held]
        if order[0] == "offset":
            missing = list(pictures.values())
        if not missing:
            return True
        offsets, place = {}, self.start_of_slot
        for picture in missing:
            offsets[picture.id] = place
            place += -(-picture.bytes // 64) * 64
        assert place <= self.start_of_slot + MEMORY // SLOTS, "STPN_FAKE_MEMORY is too small"
        named = [(f"picture {key}", offset) for key, offset in offsets.items()]
        if order[0] == "offset":
            named = [(f"picture {missing[0].id}", MEMORY - 64)]
        if order[0] == "unasked":
            named = [("picture somebody-elses", 0)]
        begun = time.perf_counter()
        self.send("need", *named)
        verb, _ = self.receive()
        if verb == "cancel":
            return False
        assert verb == "filled", verb
        self.fake.record(filled=[picture.id for picture in missing], seconds=time.perf_counter() - begun)
        with self.fake.lock:
            for picture in missing:
                start = offsets[picture.id]
                self.fake.held[picture.id] = bytes(self.fake.memory[start : start + picture.bytes])
        return True

    def answer(self, of: dict[str, list[str]], pictures: dict[str, Picture], order: list[str]) -> None:
        """Hands a picture back."""
        kind, wanted = of["want"][0].split(" ")
        sources = dict(value.split(" ") for value in of["source"])
        keys = dict(value.split(" ") for value in of["key"])
        chosen = next(iter(keys.values()))
        if order[0] in ("key", "source", "none"):
            chosen = (keys if order[0] == "key" else sources)[order[1]]
        if order[0] == "matte":
            chosen = of["matte"][0]
        picture = pictures[chosen]
        made = "".join(one for one in wanted if one in picture.channels)
        if dict(value.split(" ", 1) for value in of["parameter"])["property"] in ("color", "hdr"):
            made = made.replace("A", "") or made
        made = made[:1] if order[0] == "none" else made
        dtype = {"float": np.float32, "half": np.float16, "uint16": np.uint16, "uint8": np.uint8}
        held = self.fake.held[chosen]
        size, stride = SIZES[kind], -(-picture.width * picture.height * SIZES[kind] // 64) * 64
        for index, channel in enumerate(made):
            start = picture.channels.index(channel) * picture.stride
            plane = held[start : start + picture.plane]
            if kind != picture.type:
                plane = np.frombuffer(plane, dtype[picture.type]).astype(dtype[kind]).tobytes()
            place = self.start_of_slot + index * stride
            assert len(plane) == picture.width * picture.height * size
            self.fake.memory[place : place + len(plane)] = plane
        layout = f"{self.start_of_slot} {picture.width} {picture.height} {kind} {made}"
        if order[0] == "layout":
            layout = f"{self.start_of_slot} {picture.width + 1} {picture.height} {kind} {made}"
        notes = [("note", " ".join(order[1:]))] if order[0] == "note" else []
        begun = time.perf_counter()
        self.send("done", ("picture", layout), ("confidence", 0.5), ("seconds", 0), *notes)
        verb, _ = self.receive()
        assert verb == "release", verb
        self.fake.record(released=layout, seconds=time.perf_counter() - begun)


def main() -> int:
    """Listens until the last client has gone."""
    arguments = sys.argv[1:]
    path = Path(arguments[arguments.index("--socket") + 1])
    assert arguments[:4] == ["-P", "-m", "stpn.plugin.cli", "worker"], arguments
    mode, *more = os.environ.get("STPN_FAKE", "").split(" ")
    fake = Fake()
    threads = sorted(int(number) for number in os.listdir("/proc/self/fd"))
    fake.record(
        started=arguments,
        environment=sorted(os.environ),
        folder=os.getcwd(),
        descriptors=[os.readlink(f"/proc/self/fd/{one}") for one in threads if os.path.exists(f"/proc/self/fd/{one}")],
        leader=os.getsid(0) == os.getpid(),
    )
    if mode == "exit":
        print("RuntimeError: no such device")
        return int(more[0])
    if mode == "sleepy":
        time.sleep(float(more[0]))
    lock = open(path.with_suffix(".lock"), "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    listener.settimeout(0.05)
    fake.last = time.monotonic()
    idle = float(os.environ.get("STPN_WORKER_IDLE", 1))
    while fake.clients or time.monotonic() - fake.last < idle:
        try:
            Client(fake, listener.accept()[0]).start()
        except TimeoutError:
            continue
        time.sleep(0.01)
    path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
