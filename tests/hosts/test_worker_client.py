"""The client of docs/worker.md, against small servers that follow it, or break it."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import stat
import struct
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpn.plugin import worker_link, worker_messages, worker_start
from stpn.plugin.worker_client import Cancelled, Installation, Job, Picture, WorkerClient, WorkerError
from stpn.plugin.worker_messages import (
    MAXIMUM_MESSAGE,
    FolderError,
    Message,
    MessageError,
    decode,
    encode,
    message,
    receive,
    runtime_folder,
    send,
)

NAME = "0.1.0-00000000"
MEMORY = 1 << 16
WORDS = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=("Cs",)))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="stpn-") as name:
        monkeypatch.setenv("STPN_RUNTIME_DIR", name)
        yield Path(name)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        here.settimeout(5)
        there.settimeout(5)
        yield here, there


class Server:
    """Listens where a worker would; `talk` has each connection after the welcome, in a thread of its own."""

    def __init__(self, folder: Path, talk: Callable[[socket.socket, memoryview], None], **welcome: object) -> None:
        self._talk = talk
        self._welcome = welcome
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(folder / f"auto-{NAME}.sock"))
        self._listening.listen()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._file.truncate(MEMORY)
        self.hellos: list[Message] = []
        self.failures: list[BaseException] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(10)
            try:
                hello, _ = receive(sock)
                if hello is None:
                    return
                self.hellos.append(hello)
                said = {"protocol": 1, "pid": os.getpid(), "memory": MEMORY, "log": "/none", **self._welcome}
                send(sock, message("welcome", *said.items()), [self._file.fileno()])
                self._talk(sock, memoryview(mmap.mmap(self._file.fileno(), MEMORY)))
            except OSError:
                pass  # the client left
            except BaseException as error:
                self.failures.append(error)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._file.close()
        assert self.failures == []


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server."""
    servers: list[Server] = []

    def start(talk: Callable[[socket.socket, memoryview], None], **welcome: object) -> Server:
        servers.append(Server(folder, talk, **welcome))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def heard(sock: socket.socket) -> Message:
    found, _ = receive(sock)
    if found is None:
        raise ConnectionError
    return found


def until(holds: Callable[[], bool]) -> None:
    """Waits for what the other thread does."""
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert holds()


def done(**lines: object) -> Message:
    given = {"picture": "0 3 2 float RGB", "confidence": 0.5, "seconds": 0.25, **lines}
    return message("done", *given.items())


def client() -> WorkerClient:
    return WorkerClient(Installation(sys.executable, NAME), client="a test")


def picture(value: float = 0.0, channels: str = "RGB") -> Picture:
    return Picture(np.full((2, 3, len(channels)), value, np.float32), channels)


def job(**more: object) -> Job:
    given = {"frame": 5, "sources": {4: picture(0.1), 5: picture(0.2)}, "keys": {4: picture(0.3)}, **more}
    return Job(**given)


# messages


@given(WORDS, st.lists(st.tuples(WORDS, VALUES)))
def test_messages_come_back_as_they_were(verb: str, lines: list[tuple[str, str]]) -> None:
    given_message = Message(verb, tuple(lines))
    data = encode(given_message)
    assert struct.unpack_from("<I", data)[0] == len(data) - 4
    assert decode(data[4:]) == given_message


def test_the_text_of_a_message_is_that_of_the_page() -> None:
    found = encode(message("job", ("frame", 7), ("note", "a\nb\\n"), ("empty", "")))
    assert found[4:] == b"job\nframe 7\nnote a\\nb\\\\n\nempty "
    one = decode(b"need\npicture a 0\npicture b 64")
    assert one.all("picture") == ["a 0", "b 64"]
    assert one.one("picture") == "a 0"
    assert (one.one("other"), one.one("other", "x")) == (None, "x")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"two words",
        b"job\nframe",
        b"job\n",
        b"job\n\nframe 1",
        b"job\nName 1",
        b"job\na \\x",
        b"job\na \\",
    ],
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    with pytest.raises(MessageError, match="expected"):
        decode(text)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_an_error(text: bytes) -> None:
    with contextlib.suppress(MessageError):
        assert decode(encode(decode(text))[4:]) == decode(text)


@pytest.mark.parametrize("bad", [Message("a b"), Message("a", (("b c", ""),)), Message("a", (("b", "\ud800"),))])
def test_what_cannot_be_sent_is_refused(bad: Message) -> None:
    with pytest.raises(MessageError, match="expected"):
        encode(bad)


def test_length_has_a_bound_both_ways(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    with pytest.raises(MessageError, match="1048576"):
        encode(message("a", ("b", "c" * MAXIMUM_MESSAGE)))
    here.sendall(struct.pack("<I", 0xFFFFFFFF))
    with pytest.raises(MessageError, match="4294967295"):
        receive(there)


def test_fragments_are_put_together(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    data = encode(message("progress", ("done", 0.5), ("what", "motion")))

    def drip() -> None:
        for byte in data:
            here.sendall(bytes([byte]))
            time.sleep(0.001)

    thread = threading.Thread(target=drip)
    thread.start()
    found, _ = receive(there)
    thread.join()
    assert found == decode(data[4:])


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_an_end_within_a_message_is_an_error(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    here, there = pair
    here.sendall(encode(message("release"))[:size])
    here.close()
    with pytest.raises(worker_messages.CutOffError, match="end of the connection"):
        receive(there)


def test_a_clean_end_is_none(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    here.close()
    assert receive(there) == (None, [])


def test_descriptors_travel_only_where_they_are_expected(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    with tempfile.TemporaryFile() as file:
        send(here, message("welcome"), [file.fileno()])
        send(here, message("welcome"), [file.fileno()])
        _, descriptors = receive(there, with_descriptors=True)
        assert os.path.sameopenfile(descriptors[0], file.fileno())
        assert not os.get_inheritable(descriptors[0])
        os.close(descriptors[0])
        assert receive(there) == (message("welcome"), [])


def test_who_is_at_the_other_end(pair: tuple[socket.socket, socket.socket]) -> None:
    assert worker_messages.peer_uid(pair[0]) == os.geteuid()
    assert worker_messages.peer_pid(pair[0]) == os.getpid()


# the folder


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("STPN_RUNTIME_DIR", raising=False)
    assert runtime_folder() == tmp_path / "stpn"
    assert stat.S_IMODE((tmp_path / "stpn").stat().st_mode) == 0o700
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(tmp_path / "own"))
    assert runtime_folder() == tmp_path / "own"


def test_a_folder_that_others_could_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(place))
    place.mkdir(mode=0o700)
    for mode in (0o750, 0o701, 0o777):
        place.chmod(mode)
        with pytest.raises(FolderError, match=f"got {mode:o}"):
            runtime_folder()
    place.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(FolderError, match="expected a folder of user"):
        runtime_folder()
    monkeypatch.undo()
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(tmp_path / "link"))
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(FolderError, match="got a link"):
        runtime_folder()
    for wrong in ("relative", str(tmp_path / "not" / "there")):
        monkeypatch.setenv("STPN_RUNTIME_DIR", wrong)
        with pytest.raises(FolderError, match="STPN_RUNTIME_DIR"):
            runtime_folder()


# jobs


def test_a_job_says_what_the_page_asks_for() -> None:
    same = picture(0.5)
    matte = picture(1.0, "A")
    found = Job(
        frame=5,
        sources={5: same, 4: picture(0.25)},
        keys={4: same},
        parameters={"mix": 0.5, "mask_labels": True, "cuts": "none"},
        matte=matte,
        colorspace="ACEScg",
        want=("half", "RGB"),
    ).message()
    assert found.one("frame") == "5"
    assert found.all("parameter") == ["mix 0.5", "mask_labels 1", "cuts none"]
    assert len(found.all("picture")) == 3
    assert f"{same.id} 3 2 float RGB" in found.all("picture")
    assert [line.split(" ")[0] for line in found.all("source")] == ["4", "5"]
    assert found.all("key") == [f"4 {same.id}"]
    assert found.one("matte") == matte.id
    assert (found.one("colorspace"), found.one("keys_colorspace")) == ("ACEScg", None)
    assert found.one("want") == "half RGB"


def test_ids_are_of_the_pixels() -> None:
    pixels = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    same = Picture(np.asfortranarray(pixels.copy()), "RGB")
    assert Picture(pixels, "RGB").id == same.id
    assert len(same.id) == 32
    others = [pixels + 1, pixels.reshape(3, 2, 3), pixels.view(np.uint8)[:, :, :3]]
    assert len({same.id, *(Picture(other, "RGB").id for other in others)}) == 4


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [(np.zeros((2, 3)), "A"), (np.zeros((2, 3, 3)), "RGB"), (np.zeros((2, 3, 3), np.float32), "RGBA")],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray, channels: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Picture(pixels, channels)


def test_a_frame_there_and_back(serve: Callable[..., Server]) -> None:
    seen: list[Message] = []

    def talk(sock: socket.socket, memory: memoryview) -> None:
        for _ in range(2):
            asked = heard(sock)
            seen.append(asked)
            send(sock, message("progress", ("done", 0.5), ("what", "motion")))
            key = asked.all("key")[0].split(" ")[1]
            send(sock, message("need", ("picture", f"{key} 64")))
            seen.append(heard(sock))
            planes = [np.frombuffer(memory, np.float32, 6, 64 + 64 * channel) for channel in range(3)]
            for channel, plane in enumerate(planes):
                np.frombuffer(memory, np.float32, 6, 1024 + 64 * channel)[:] = plane * 2
            send(sock, done(picture="1024 3 2 float RGB", note="a\nb"))
            seen.append(heard(sock))

    server = serve(talk)
    pixels = np.linspace(-1, 9, 18, dtype=np.float32).reshape(2, 3, 3)
    told: list[tuple[float, str]] = []
    with client() as worker:
        first = worker.render(job(keys={4: Picture(pixels, "RGB")}), progress=lambda *said: told.append(said))
        second = worker.render(job(keys={4: Picture(pixels, "RGB")}))
    np.testing.assert_array_equal(first.pixels, pixels * 2)
    np.testing.assert_array_equal(second.pixels, pixels * 2)
    assert (first.channels, first.confidence, first.seconds, first.notes) == ("RGB", 0.5, 0.25, ("a\nb",))
    assert told == [(0.5, "motion")]
    until(lambda: [one.verb for one in seen] == ["job", "filled", "release"] * 2)
    assert len(server.hellos) == 1
    assert (server.hellos[0].one("protocol"), server.hellos[0].one("client")) == ("1", "a test")


@pytest.mark.parametrize("kind", ["half", "uint16", "uint8"])
def test_every_type_is_copied_as_it_is(serve: Callable[..., Server], kind: str) -> None:
    dtype = worker_link.TYPES[kind]

    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        for channel in range(2):
            np.frombuffer(memory, dtype, 35, 64 + channel * -(-35 * dtype.itemsize // 64) * 64)[:] = channel + 1
        send(sock, done(picture=f"64 7 5 {kind} RA"))
        heard(sock)

    serve(talk)
    with client() as worker:
        found = worker.render(job(want=(kind, "RGBA"))).pixels
    assert found.dtype == dtype
    assert found.shape == (5, 7, 2)
    assert np.all(found == np.array([1, 2], dtype))


def test_a_job_that_cannot_be_sent_is_refused_here(folder: Path) -> None:
    with client() as worker, pytest.raises(WorkerError, match=r"cannot be sent.*1048576") as failed:
        worker.render(job(parameters={"cuts": "1," * (1 << 19)}))
    assert failed.value.kind == "request"
    assert list(folder.iterdir()) == []


def test_a_failure_leaves_the_connection_for_the_next_job(serve: Callable[..., Server]) -> None:
    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        send(sock, message("failed", ("kind", "request"), ("reason", "key 4: expected 3 x 2")))
        heard(sock)
        send(sock, done())
        heard(sock)

    server = serve(talk)
    with client() as worker:
        with pytest.raises(WorkerError, match="key 4: expected 3 x 2") as failed:
            worker.render(job())
        assert failed.value.kind == "request"
        worker.render(job())
    assert len(server.hellos) == 1


@pytest.mark.parametrize("answer", ["cancelled", "done", "need"])
def test_cancelling(serve: Callable[..., Server], answer: str) -> None:
    said: list[str] = []

    def talk(sock: socket.socket, memory: memoryview) -> None:
        asked = heard(sock)
        time.sleep(0.15)
        if answer == "need":  # on its way when the cancel comes
            send(sock, message("need", ("picture", f"{asked.all('picture')[0].split(' ')[0]} 0")))
        said.append(heard(sock).verb)
        send(sock, done() if answer == "done" else message("cancelled"))
        said.append(heard(sock).verb)

    serve(talk)
    start = time.monotonic()
    with client() as worker, pytest.raises(Cancelled):
        worker.render(job(), cancelled=lambda: answer != "need" or time.monotonic() - start > 0.02)
    assert time.monotonic() - start < 2
    until(lambda: said == (["cancel", "release"] if answer == "done" else ["cancel"]))


def test_a_worker_that_left_between_jobs_is_not_missed(serve: Callable[..., Server]) -> None:
    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        send(sock, done())
        heard(sock)

    server = serve(talk)
    with client() as worker:
        for _ in range(3):
            worker.render(job())
            time.sleep(0.02)
    assert len(server.hellos) == 3


def test_a_worker_that_leaves_just_as_the_job_comes_is_not_missed(serve: Callable[..., Server]) -> None:
    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        send(sock, done())
        heard(sock)
        heard(sock)  # and closes without a word

    server = serve(talk)
    with client() as worker:
        worker.render(job())
        worker.render(job())
    assert len(server.hellos) == 2


def test_a_worker_that_dies_within_a_job_is_an_error(serve: Callable[..., Server], folder: Path) -> None:
    serve(lambda sock, memory: (heard(sock), send(sock, message("progress", ("done", 0), ("what", "motion")))))
    with client() as worker:
        for _ in range(2):
            with pytest.raises(WorkerError, match=f"ended within the job.*{folder}/auto-{NAME}.log") as failed:
                worker.render(job())
            assert failed.value.kind == "connection"


@pytest.mark.parametrize(
    "answer",
    [
        message("nonsense"),
        message("progress", ("done", "much")),
        message("need", ("picture", "unknown 0")),
        message("need", ("picture", "ID 1")),
        message("need", ("picture", "ID -64")),
        message("need", ("picture", f"ID {MEMORY}")),
        message("need", ("picture", f"ID {MEMORY - 64}")),
        done(picture=f"{MEMORY - 128} 3 2 float RGB"),
        done(picture="0 3000000000 3000000000 float RGB"),
        done(picture="0 0 2 float RGB"),
        done(picture="0 3 2 half RGB"),
        done(picture="0 3 2 float BGR"),
        done(picture="0 3 2 float RR"),
        done(picture="0 3 2"),
        done(confidence="nan"),
    ],
    ids=lambda answer: " ".join(next(iter(answer.lines), ("", ""))) or answer.verb,
)
def test_an_answer_that_makes_no_sense_ends_the_connection(serve: Callable[..., Server], answer: Message) -> None:
    def talk(sock: socket.socket, memory: memoryview) -> None:
        name = heard(sock).all("picture")[0].split(" ")[0]
        send(sock, Message(answer.verb, tuple((key, value.replace("ID", name)) for key, value in answer.lines)))
        assert receive(sock)[0] is None

    serve(talk)
    with client() as worker, pytest.raises(WorkerError, match=r"not understood.*expected") as failed:
        worker.render(job())
    assert failed.value.kind == "protocol"


def test_garbage_ends_the_connection(serve: Callable[..., Server]) -> None:
    serve(lambda sock, memory: (heard(sock), sock.sendall(b"GET / HTTP/1.1\r\n\r\n")))
    with client() as worker, pytest.raises(WorkerError, match="not understood"):
        worker.render(job())


def test_silence_ends_the_worker(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(worker_link, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(os, "kill", lambda pid, signal: killed.append(pid))

    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        for _ in range(4):  # progress keeps it alive
            time.sleep(0.15)
            send(sock, message("progress", ("done", 0), ("what", "motion")))
        receive(sock)

    serve(talk)
    start = time.monotonic()
    with client() as worker, pytest.raises(WorkerError, match=r"said nothing for 0\.3 s") as failed:
        worker.render(job())
    assert failed.value.kind == "silence"
    assert 0.8 < time.monotonic() - start < 3
    assert killed == [os.getpid()]


def test_half_a_message_is_silence_too(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(worker_link, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(os, "kill", lambda pid, signal: killed.append(pid))
    serve(lambda sock, memory: (heard(sock), sock.sendall(encode(done())[:9]), receive(sock)), pid=os.getpid() + 1)
    with client() as worker, pytest.raises(WorkerError, match="said nothing"):
        worker.render(job())
    assert killed == []  # what it says of itself is not what the system says: nobody is killed on a guess


def test_a_callback_that_raises_cancels_the_job(serve: Callable[..., Server]) -> None:
    ends: list[object] = []

    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        send(sock, message("progress", ("done", 0), ("what", "motion")))
        ends.append(receive(sock)[0])

    def raising(fraction: float, what: str) -> None:
        raise KeyboardInterrupt

    serve(talk)
    with client() as worker, pytest.raises(KeyboardInterrupt):
        worker.render(job(), progress=raising)
    until(lambda: ends == [None])


# connecting


@pytest.mark.parametrize(
    ("welcome", "expected"),
    [
        ({"protocol": 2}, "protocol 1"),
        ({"memory": MEMORY * 2}, "131072 bytes"),
        ({"memory": 0}, "0 bytes"),
        ({"pid": "x"}, "pid"),
    ],
)
def test_a_welcome_that_makes_no_sense_is_refused(
    serve: Callable[..., Server], welcome: dict[str, object], expected: str
) -> None:
    serve(lambda sock, memory: receive(sock), **welcome)
    with client() as worker, pytest.raises(WorkerError, match=expected) as failed:
        worker.render(job())
    assert failed.value.kind == "protocol"


def test_a_worker_that_refuses_says_why(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / f"auto-{NAME}.sock"))
        listening.listen()

        def refuse() -> None:
            sock, _ = listening.accept()
            with sock:
                receive(sock)
                send(sock, message("refused", ("reason", "expected protocol 3")))

        threading.Thread(target=refuse, daemon=True).start()
        with client() as worker, pytest.raises(WorkerError, match="expected protocol 3") as failed:
            worker.render(job())
    assert failed.value.kind == "refused"


def test_another_users_worker_is_refused(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(lambda sock, memory: None)
    monkeypatch.setattr(worker_start, "peer_uid", lambda sock: os.geteuid() + 1)
    with client() as worker, pytest.raises(WorkerError, match="expected a worker of user"):
        worker.render(job())
    assert server.hellos == []


def test_a_worker_that_ends_as_one_connects_is_not_missed(serve: Callable[..., Server], folder: Path) -> None:
    def talk(sock: socket.socket, memory: memoryview) -> None:
        heard(sock)
        send(sock, done())
        heard(sock)

    path = folder / f"auto-{NAME}.sock"
    with socket.socket(socket.AF_UNIX) as ending:
        ending.bind(str(path))
        ending.listen()

        def end() -> None:
            ending.accept()[0].close()
            path.unlink()
            serve(talk)

        thread = threading.Thread(target=end)
        thread.start()
        with client() as worker:
            assert worker.render(job()).channels == "RGB"
        thread.join()


def script(folder: Path, text: str) -> Installation:
    """An interpreter that does something else than running stpn."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(text))
    path.chmod(0o700)
    return Installation(str(path), NAME)


def test_a_worker_is_started_where_nobody_listens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/host")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/the/host")
    monkeypatch.setenv("STPN_SOMETHING", "passed on")
    monkeypatch.setenv("OCIO", "/some/config.ocio")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / f"auto-{NAME}.sock"))
    stale.close()
    installation = script(
        folder,
        """
        import json, os, socket, sys
        leads = os.getsid(0) == os.getpid()
        print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), leads, sys.stdin.read()]), flush=True)
        path = sys.argv[sys.argv.index("--socket") + 1]
        os.unlink(path)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        sock, _ = listening.accept()
        sock.recv(1000)
        text = b"refused\\nreason so that it ends"
        sock.sendall(len(text).to_bytes(4, "little") + text)
        """,
    )
    with WorkerClient(installation) as worker, pytest.raises(WorkerError, match="so that it ends"):
        worker.render(job())
    arguments, environment, where, leads, read = json.loads((folder / f"auto-{NAME}.log").read_text())
    wanted = ["-P", "-m", "stpn.plugin.cli", "worker", "--socket", f"{folder}/auto-{NAME}.sock", "--device", "auto"]
    assert arguments == wanted
    assert (where, leads, read) == ("/", True, "")
    assert environment["STPN_SOMETHING"] == "passed on"
    assert environment["OCIO"] == "/some/config.ocio"
    assert not {"PYTHONPATH", "LD_LIBRARY_PATH"} & set(environment)
    assert stat.S_IMODE((folder / f"auto-{NAME}.log").stat().st_mode) == 0o600


def test_a_worker_that_fails_to_start_says_why(folder: Path) -> None:
    installation = script(folder, "import sys; print('first'); sys.exit('torch is not there\\n')")
    with WorkerClient(installation) as worker, pytest.raises(WorkerError, match=r"code 1: torch is not there \(log: /"):
        worker.render(job())
    missing = Installation(str(folder / "nobody"), NAME)
    with WorkerClient(missing) as worker, pytest.raises(WorkerError, match=r"run install\.py again") as failed:
        worker.render(job())
    assert failed.value.kind == "start"


def test_a_worker_that_gave_up_is_waited_for_then_started_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_start, "START_SECONDS", 1.0)
    monkeypatch.setattr(worker_start, "AGAIN_SECONDS", 0.2)
    installation = script(folder, "print('another is first', flush=True)")
    with WorkerClient(installation) as worker, pytest.raises(WorkerError, match="did not listen within 1 s"):
        worker.render(job())
    assert (folder / f"auto-{NAME}.log").read_text().count("another is first") > 1


def test_waiting_for_the_start_can_be_cancelled(folder: Path) -> None:
    installation = script(folder, "import time; time.sleep(3)")
    asked = iter([False, False, True])
    with WorkerClient(installation) as worker, pytest.raises(Cancelled):
        worker.render(job(), cancelled=lambda: next(asked))


def test_the_installation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stpn.conf"
    path.write_text("python /opt/my stpn/bin/python\nname 0.1.0-1a2b3c4d\nmore to come\n")
    assert Installation.read(path) == Installation("/opt/my stpn/bin/python", "0.1.0-1a2b3c4d")
    path.write_text("python /x\n")
    with pytest.raises(WorkerError, match="a line 'name"):
        Installation.read(path)
    with pytest.raises(WorkerError, match=r"run install\.py"):
        Installation.read(tmp_path / "missing")
