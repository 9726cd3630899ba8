"""The worker as a process: found, started, shared, given up, killed; nothing stays behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpn.plugin import worker_connection
from stpn.plugin.live_pictures import PictureInfo
from stpn.plugin.live_render import Rendered
from stpn.plugin.worker_client import Cancelled, Installation, Job, Picture, WorkerClient, WorkerError
from stpn.plugin.worker_connection import Connection, Shared
from stpn.plugin.worker_memory import FullError, SharedMemory, Store
from stpn.plugin.worker_messages import message, receive, send

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

HEIGHT, WIDTH = 48, 64
FIRST, LAST = 1, 5


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    return Picture(np.random.default_rng(seed).random((height, width, 3), np.float32), "RGB")


SOURCES = {frame: picture(frame) for frame in range(FIRST, LAST + 1)}
KEYS = {frame: picture(100 + frame) for frame in (FIRST, LAST)}


def job(frame: int, **values: Any) -> Job:
    if frame in KEYS:
        return Job(frame, {frame: SOURCES[frame]}, {frame: KEYS[frame]}, values, want=("float", "RGB"))
    return Job(frame, SOURCES, KEYS, {"method": "flow"} | values, want=("float", "RGB"))


def long_job() -> Job:
    """A job of seconds."""
    large = {frame: picture(frame, 720, 1280) for frame in range(1, 8)}
    keys = {frame: picture(100 + frame, 720, 1280) for frame in (1, 7)}
    return Job(4, large, keys, want=("float", "RGB"))


class Place:
    """A folder for one worker, and who is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.installation = Installation(sys.executable, "test")
        self.socket, self.log = folder / "auto-test.sock", folder / "auto-test.log"

    def client(self) -> WorkerClient:
        return WorkerClient(self.installation, client="test")

    def pids(self) -> list[int]:
        """Every worker of this folder that lives."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes()
                dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except (OSError, IndexError):
                continue
            if str(self.socket).encode() in command and b"worker" in command and not dead:
                found.append(int(entry.name))
        return found

    def connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.socket))
        sock.settimeout(20)
        return sock


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    folder = tmp_path / "run"
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("STPN_WORKER_IDLE", "1")
    monkeypatch.setenv("STPN_WORKER_MEMORY", str(256 << 20))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    made = Place(folder)
    yield made
    for pid in made.pids():
        os.kill(pid, signal.SIGKILL)


def until(true: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_one_worker_serves_all_and_ends_when_nobody_is_left(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        clients = [place.client() for _ in range(4)]
        results = list(pool.map(lambda pair: pair[1].render(job(2 + pair[0] % 3)), enumerate(clients)))
    assert len(place.pids()) == 1
    np.testing.assert_array_equal(results[0].pixels, results[3].pixels)
    again = clients[1].render(job(2))
    assert again.seconds == 0
    np.testing.assert_array_equal(again.pixels, results[0].pixels)
    key = clients[0].render(job(FIRST))
    np.testing.assert_array_equal(key.pixels, KEYS[FIRST].pixels)
    environment = Path(f"/proc/{place.pids()[0]}/environ").read_bytes()
    assert b"/nowhere" not in environment
    for client in clients:
        client.close()
    assert until(lambda: not place.pids(), 5)
    assert sorted(path.name for path in place.folder.iterdir()) == ["auto-test.lock", "auto-test.log"]
    assert "ends" in place.log.read_text()


def test_folder_socket_and_log_are_the_users_alone(place: Place) -> None:
    with place.client() as client:
        client.render(job(FIRST))
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (place.folder, place.socket, place.log)]
    assert modes[0] == 0o700
    assert not any(mode & 0o077 for mode in modes)


def test_a_killed_worker_fails_the_job_and_the_next_one_starts_another(place: Place) -> None:
    with place.client() as client:
        client.render(job(2))
        (first,) = place.pids()
        os.kill(first, signal.SIGKILL)
        until(lambda: not place.pids())
        # between jobs nobody need hear of it
        client.render(job(3))
        (second,) = place.pids()
        assert first != second
        with pytest.raises(WorkerError, match=r"the worker ended within the job: .*auto-test\.log"):
            client.render(long_job(), lambda done, what: os.kill(second, signal.SIGKILL))
        client.render(job(4))


def test_when_the_host_dies_nothing_is_left(place: Place) -> None:
    before = set(os.listdir("/dev/shm"))
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_worker as t
from stpn.plugin.worker_client import WorkerClient
client = WorkerClient(t.Installation({sys.executable!r}, "test"))
client.render(t.job(2))
print("done", flush=True)
client.render(t.job(3)); input()
"""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON") and n != "LD_LIBRARY_PATH"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    host = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
    assert host.stdout is not None
    assert host.stdout.readline() == b"done\n"
    (worker,) = place.pids()
    host.kill()
    host.wait()
    assert until(lambda: not place.pids(), 8), worker
    assert set(os.listdir("/dev/shm")) <= before
    host.stdout.close()
    assert host.stdin is not None
    host.stdin.close()


def test_a_job_that_is_given_up_is_answered_at_once(place: Place) -> None:
    with place.client() as client:
        client.render(job(FIRST))
        told: list[float] = []
        asked: list[float] = []

        def given_up() -> bool:
            if told and told[-1] > 0:
                asked.append(time.monotonic())
            return bool(asked)

        with pytest.raises(Cancelled):
            client.render(long_job(), lambda done, what: told.append(done), given_up)
        assert time.monotonic() - asked[0] < 1.0
        assert client.render(job(FIRST)).pixels.shape == (HEIGHT, WIDTH, 3)


def test_what_does_not_fit_is_told_and_the_rest_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_WORKER_MEMORY", str(64 << 20))
    large = {frame: picture(frame, 1080, 1920) for frame in range(1, 4)}
    with place.client() as client:
        with pytest.raises(WorkerError, match=r"expected room for a picture of 25 MB, .*STPN_WORKER_MEMORY") as caught:
            client.render(Job(2, large, {1: large[1]}, want=("float", "RGB")))
        assert caught.value.kind == "memory"
        # pictures that nobody needs any more make room for others
        for frame in range(12):
            one = picture(500 + frame, 1080, 1920)
            assert client.render(Job(frame, {frame: one}, {frame: one}, want=("float", "RGB"))).channels == "RGB"


def test_a_wrong_request_is_told_in_the_words_of_the_node(place: Place) -> None:
    with place.client() as client:
        with pytest.raises(WorkerError, match=r"^Device cuda: expected an NVIDIA GPU") as caught:
            client.render(job(2, device="cuda"))
        assert caught.value.kind == "request"
        client.render(job(2))


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\xff\xfe\xfd\xfc",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x00",
    ],
)
def test_nonsense_ends_that_connection_alone(place: Place, said: bytes) -> None:
    with place.client() as client:
        client.render(job(FIRST))
        with place.connected() as sock:
            sock.sendall(said)
            with contextlib.suppress(ConnectionResetError):  # it was closed before all of it was read
                assert sock.recv(100) == b""
        with place.connected() as sock:
            send(sock, message("hello", ("protocol", 99)))
            refused, _ = receive(sock)
            assert refused is not None
            assert refused.verb == "refused"
            assert "protocol 1" in str(refused.one("reason"))
        client.render(job(2))


@pytest.mark.parametrize(
    "line",
    [
        ("picture", "a 99999 4 float RGB"),
        ("picture", "a 4 4 double RGB"),
        ("picture", "a 4 4 float RGBAZ"),
        ("picture", "../a 4 4 float RGB"),
        ("picture", "a 65536 65536 float RGBA"),
        ("frame", "x"),
        ("parameter", "adapt 3"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_before_memory_is_touched(place: Place, line: tuple[str, str]) -> None:
    with place.client() as client:
        client.render(job(FIRST))
        with place.connected() as sock:
            send(sock, message("hello", ("protocol", 1), ("client", "test")))
            welcome, descriptors = receive(sock, with_descriptors=True)
            assert welcome is not None
            assert welcome.verb == "welcome"
            os.close(descriptors[0])
            right = {"frame": "1", "picture": "a 4 4 float RGB", "source": "1 a", "key": "1 a", "want": "float RGB"}
            send(sock, message("job", *(right | {line[0]: line[1]}).items()))
            answer, _ = receive(sock)
            assert answer is not None
            assert answer.verb == "failed"


def test_a_second_worker_gives_way(place: Place) -> None:
    with place.client() as client:
        client.render(job(FIRST))
        command = [sys.executable, "-P", "-m", "stpn.plugin.cli", "worker", "--socket", str(place.socket)]
        environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
        assert subprocess.run(command, env=environment, timeout=30).returncode == 0
        client.render(job(2))
        assert len(place.pids()) == 1


def test_a_worker_that_does_nothing_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_WORKER_IDLE_JOBS", "1")
    with place.client() as client:
        client.render(job(FIRST))
        assert client._link is not None
        mapped = client._link._memory
        assert mapped is not None
        assert any(mapped[: 1 << 16])
        assert until(lambda: not place.pids(), 6)
        assert not any(mapped[: 1 << 16]), "the host holds nothing of it"
        client.render(job(FIRST))


def test_the_log_is_kept_short(tmp_path: Path) -> None:
    code = f"""
import logging; from pathlib import Path; from stpn.plugin import worker
worker._LOG_BYTES = 2000
log = worker._Log(Path({str(tmp_path / "w.log")!r}))
logging.getLogger().addHandler(log)
for i in range(400): logging.warning("line %d", i)
import os; os.write(2, b"printed by a library")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.log", "w.log.1"]
    assert (tmp_path / "w.log").read_text().endswith("printed by a library")
    assert all(path.stat().st_size <= 2100 for path in tmp_path.iterdir())


# ---------------------------------------------------------------- one connection


class Talk:
    """A connection in this process, with a renderer of the test's own; this is its client."""

    def __init__(self, made: Callable[[], None] = lambda: None, copying: Any = None) -> None:
        self.sock, other = socket.socketpair()
        self.sock.settimeout(5)
        self.memory = SharedMemory(16 * 4096)
        self.store = Store(self.memory, lambda: (), lambda: False)
        self.made, self.rendering, self.go_on = made, threading.Event(), threading.Event()
        self.go_on.set()
        self.busy: list[float] = []
        self.pool = ThreadPoolExecutor(1)
        shared = Shared(self.memory, self.store, lambda: self, self.pool, "the log")
        self.connection = Connection(other, shared, lambda: self.busy.append(time.monotonic()))
        self.thread = threading.Thread(target=self.connection.serve, daemon=True)
        self.thread.start()
        send(self.sock, message("hello", ("protocol", 1), ("client", "test")))
        _, descriptors = receive(self.sock, with_descriptors=True)
        os.close(descriptors[0])

    def render(self, *_: Any) -> Rendered:
        """Stands in for the renderer."""
        self.rendering.set()
        assert self.go_on.wait(5)
        self.made()
        return Rendered({"A": np.zeros((4, 4), np.float32)}, 1.0, 0.1, ())

    def ask(self, frame: int = 1) -> None:
        lines = {"frame": frame, "picture": "a 4 4 float A", "source": f"{frame} a", "key": f"{frame} a"}
        send(self.sock, message("job", *lines.items(), ("want", "float A")))

    def answer(self) -> str:
        """The verb of what ends a job; pictures are said to be in place."""
        while True:
            said, _ = receive(self.sock)
            assert said is not None
            if said.verb == "need":
                send(self.sock, message("filled"))
            elif said.verb != "progress":
                return said.verb

    def holders(self) -> list[int]:
        return [slot.holders for slot in self.store._slots.values()]

    def end(self) -> None:
        self.go_on.set()
        self.sock.close()
        self.thread.join(5)
        self.pool.shutdown()


@pytest.fixture
def talk() -> Iterator[Talk]:
    found = Talk()
    yield found
    found.end()


def test_a_result_that_is_released_at_once_is_released_once(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    # the log may be slow; the client is not
    monkeypatch.setattr(worker_connection._log, "info", lambda *_: time.sleep(0.3))
    talk.ask()
    assert talk.answer() == "done"
    send(talk.sock, message("release"))
    time.sleep(0.6)
    assert talk.holders() == [0, 0]


@pytest.mark.parametrize("again", [False, True])
def test_a_result_that_comes_too_late_is_held_by_nobody(talk: Talk, again: bool) -> None:
    talk.go_on.clear()
    talk.ask()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(talk.answer)
        assert talk.rendering.wait(5)
        if again:
            send(talk.sock, message("cancel"))
            assert answer.result() == "cancelled"
            talk.ask()
            time.sleep(0.1)
            talk.go_on.set()
            assert talk.answer() == "done"
            send(talk.sock, message("release"))
        else:
            talk.sock.shutdown(socket.SHUT_RDWR)
            talk.thread.join(5)
            talk.go_on.set()
            with pytest.raises(AssertionError):
                answer.result()
    assert until(lambda: talk.holders() == [0, 0], 2), talk.holders()


def test_an_error_of_the_system_is_answered(talk: Talk) -> None:
    def made() -> None:
        raise PermissionError(13, "Permission denied", "/weights")

    talk.made = made
    talk.ask()
    assert talk.answer() == "failed"


def test_a_client_that_does_not_read_holds_nobody_up(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_connection, "HEARTBEAT", 0.0005)
    talk.go_on.clear()
    talk.ask()
    need, _ = receive(talk.sock)
    assert need is not None
    send(talk.sock, message("filled"))
    time.sleep(2)
    # the job is under way, and the worker must know it, or it would end as one that has nothing to do
    assert time.monotonic() - talk.busy[-1] < 0.5
    talk.sock.sendall(b"\0\0\0\0")
    talk.thread.join(5)
    assert not talk.thread.is_alive()


# ---------------------------------------------------------------- its memory


def test_memory_is_given_to_whoever_asks_last_and_held_by_whoever_needs_it() -> None:
    used: set[str] = set()
    store = Store(SharedMemory(5 * 4096), lambda: used, lambda: used.clear() is None and False)
    page = PictureInfo(64, 64, "uint8", "A")  # 4096 bytes
    slots = {}
    for name in "abcde":
        slots[name] = store.reserve(page)
        store.commit(slots[name], ("picture", name))
    with pytest.raises(FullError):
        store.reserve(page)
    for slot in slots.values():
        store.release(slot)
    used.add("a")
    assert store.hold(("picture", "b")) is slots["b"]
    two = store.reserve(PictureInfo(64, 128, "uint8", "A"))
    # b is held, a in use: c and d went, which lie side by side
    assert two.offset == slots["c"].offset
    assert store.hold(("picture", "c")) is None
    assert store.hold(("picture", "a")) is slots["a"]
    store.release(two)  # never committed: nobody else knows of it, and its place is free again
    assert store.reserve(page).offset == slots["c"].offset


def test_of_two_that_bring_the_same_picture_one_stays_for_both() -> None:
    store = Store(SharedMemory(2 * 4096), lambda: (), lambda: False)
    page = PictureInfo(64, 64, "uint8", "A")
    first, second = store.reserve(page), store.reserve(page)
    assert store.commit(first, ("picture", "a")) is first
    assert store.commit(second, ("picture", "a")) is first
    assert first.holders == 2
    # the place of the other one is free again
    assert store.reserve(page).offset == second.offset


def test_any_order_of_asking_leaves_no_hole_and_no_overlap() -> None:
    rng = np.random.default_rng(0)
    store = Store(SharedMemory(1 << 20), lambda: (), lambda: False)
    held: list[Any] = []
    for step in range(2000):
        if held and rng.random() < 0.5:
            store.release(held.pop(rng.integers(len(held))))
        else:
            try:
                slot = store.reserve(PictureInfo(int(rng.integers(1, 300)), int(rng.integers(1, 300)), "float", "A"))
            except FullError:
                continue
            if rng.random() < 0.5:
                store.commit(slot, ("picture", str(step)))
            held.append(slot)
        places = sorted((slot.offset, slot.info.size) for slot in held)
        assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(places))
    for slot in held:
        store.release(slot)
    assert store.reserve(PictureInfo(1 << 16, 16, "uint8", "A")).offset == 0
