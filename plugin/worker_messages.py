"""What a client and the worker say to each other, and where they meet; `docs/worker.md` is the definition.

A message is its length (32 bits, little endian), then that many bytes of UTF-8 text: the verb, then lines `NAME VALUE`.
Sizes are checked before memory is taken, so that a peer that sends nonsense costs nothing.

Nothing here imports more than the standard library or another module of stpn: a host's plugin folder holds a copy.
"""

from __future__ import annotations

import array
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROTOCOL = 1
MAXIMUM_MESSAGE = 1 << 20
"""Of a message's text, bytes."""

_LENGTH = struct.Struct("<I")
_MAXIMUM_DESCRIPTORS = 4
_WORD = re.compile(r"[a-z][a-z_]*\Z")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES = {"n": "\n", "\\": "\\"}


class MessageError(Exception):
    """What was sent, or is to be sent, is not a message; the connection is of no further use."""


class CutOffError(MessageError):
    """The connection ended within a message."""


class FolderError(Exception):
    """The folder of the sockets cannot be used; the sentence says why and what to do."""


@dataclass(frozen=True)
class Message:
    """A verb and its lines, in order.

    Attributes:
        verb: what it is: hello, job, done ...; small letters and underscores.
        lines: name and value of each; names as the verb, values any text. Names may come several times.
    """

    verb: str
    lines: tuple[tuple[str, str], ...] = ()

    def one(self, name: str, default: str | None = None) -> str | None:
        """The first value of a name, else the default."""
        return next((value for found, value in self.lines if found == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of a name, in order."""
        return [value for found, value in self.lines if found == name]


def message(verb: str, *lines: tuple[str, object]) -> Message:
    """A message of values of any type, each as `str` writes it."""
    return Message(verb, tuple((name, str(value)) for name, value in lines))


def encode(message: Message) -> bytes:
    """The bytes of a message, its length in front.

    Raises:
        MessageError: a verb or name is no word, a value is no Unicode text, or all together is too long.
    """
    rows = [_word(message.verb, "a verb")]
    for name, value in message.lines:
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
        rows.append(f"{_word(name, 'a name')} {escaped}")
    try:
        text = "\n".join(rows).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MessageError(
            f"{message.verb}: expected Unicode text, got {error.object[error.start : error.end]!r}"
        ) from error
    _check_length(len(text))
    return _LENGTH.pack(len(text)) + text


def decode(text: bytes) -> Message:
    """The message of a text, without the length that came before it.

    Raises:
        MessageError: too long, no UTF-8, a verb or name that is no word, a line without a value, an unknown escape.
    """
    _check_length(len(text))
    try:
        verb, *rows = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise MessageError(
            f"message: expected UTF-8, got the byte {text[error.start]:#04x} at {error.start}"
        ) from error
    lines = []
    for row in rows:
        name, space, value = row.partition(" ")
        if not space:
            raise MessageError(f"{verb[:40]!r}: expected lines of a name, a space and a value, got {row[:40]!r}")
        lines.append((_word(name, "a name"), _ESCAPED.sub(_unescape, value)))
    return Message(_word(verb, "a verb"), tuple(lines))


def send(sock: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends a message, with its first byte the descriptors; they stay open here.

    Raises:
        MessageError: see `encode`.
        OSError: the connection is broken, or its timeout has passed.
    """
    data = encode(message)
    sent = 0
    if descriptors:
        rights = array.array("i", descriptors).tobytes()
        sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    sock.sendall(memoryview(data)[sent:])


def receive(sock: socket.socket, *, with_descriptors: bool = False) -> tuple[Message | None, list[int]]:
    """Waits for a message.

    Args:
        sock: a blocking socket; a timeout holds for each piece that arrives.
        with_descriptors: whether descriptors may come with it; otherwise the system drops them.

    Returns:
        The message, or None where the peer has closed after the last one; and the descriptors, which are the caller's
        to close and are not handed down to children.

    Raises:
        MessageError: see `decode`; a CutOffError where the connection ended within a message.
        OSError: the connection is broken, or its timeout has passed.
    """
    descriptors: list[int] = []
    try:
        head = b""
        while len(head) < _LENGTH.size:
            more = _piece(sock, _LENGTH.size - len(head), descriptors if with_descriptors else None)
            if not more:
                if head:
                    raise CutOffError("message: expected four bytes of length, got the end of the connection")
                _close(descriptors)
                return None, []
            head += more
        length = _LENGTH.unpack(head)[0]
        _check_length(length)
        text = bytearray()
        while len(text) < length:
            more = _piece(sock, min(length - len(text), 1 << 16), None)
            if not more:
                raise CutOffError(f"message: expected {length} bytes, got the end of the connection after {len(text)}")
            text += more
        return decode(bytes(text)), descriptors
    except BaseException:
        _close(descriptors)
        raise


def runtime_folder() -> Path:
    """The folder of sockets and logs, made where it is missing.

    Raises:
        FolderError: it cannot be made; it is a link, no folder, another user's or open to others.
    """
    if not hasattr(os, "geteuid") or not hasattr(socket, "AF_UNIX"):
        raise FolderError("the worker needs Unix sockets, which this system's Python has not")
    own = os.environ.get("STPN_RUNTIME_DIR")
    session = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(own or (f"{session}/stpn" if session else f"/tmp/stpn-{os.geteuid()}"))
    advice = "set STPN_RUNTIME_DIR to a folder of your own"
    if not folder.is_absolute():
        raise FolderError(f"{folder}: expected a path that begins with /; {advice}")
    try:
        # the mode goes with it, so that there is no moment at which others may enter
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise FolderError(f"{folder}: cannot be made: {error.strerror}; {advice}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{folder}: expected a folder, got a link or a file; remove it, or {advice}")
    if found.st_uid != os.geteuid():
        raise FolderError(
            f"{folder}: expected a folder of user {os.geteuid()}, got one of user {found.st_uid}; {advice}"
        )
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise FolderError(f"{folder}: expected mode 700, got {mode:o}, open to others; chmod 700 it, or {advice}")
    return folder


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end of a connection; OSError where the system does not say."""
    if sys.platform == "darwin":
        return int(struct.unpack_from("II", sock.getsockopt(0, 1, 76))[1])  # LOCAL_PEERCRED: version, uid, groups
    return int(_credentials(sock)[1])


def peer_pid(sock: socket.socket) -> int | None:
    """The process at the other end of a connection, None where the system does not say."""
    try:
        if sys.platform == "darwin":
            return int(struct.unpack("i", sock.getsockopt(0, 2, 4))[0])  # LOCAL_PEERPID
        return int(_credentials(sock)[0]) or None
    except OSError:
        return None


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the peer, as Linux keeps them from the moment of connecting."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise OSError(f"{sys.platform} does not say who is at the other end of a connection")
    layout = struct.Struct("iII")
    pid, uid, gid = layout.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    return pid, uid, gid


def _piece(sock: socket.socket, size: int, descriptors: list[int] | None) -> bytes:
    """Up to `size` bytes, b"" at the end; descriptors that come with them are appended to the list."""
    if descriptors is None:
        return sock.recv(size)
    width = array.array("i").itemsize
    room = socket.CMSG_SPACE(_MAXIMUM_DESCRIPTORS * width)
    data, extra, _, _ = sock.recvmsg(size, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    for level, kind, rights in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found = array.array("i")
            found.frombytes(rights[: len(rights) - len(rights) % width])
            descriptors.extend(found)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return data


def _check_length(length: int) -> None:
    if not 0 < length <= MAXIMUM_MESSAGE:
        raise MessageError(f"message: expected 1 to {MAXIMUM_MESSAGE} bytes, got {length}")


def _word(text: str, what: str) -> str:
    if not _WORD.match(text):
        raise MessageError(f"message: expected {what} of small letters and underscores, got {text[:40]!r}")
    return text


def _unescape(found: re.Match[str]) -> str:
    try:
        return _ESCAPES[found[1]]
    except KeyError:
        raise MessageError(f"message: expected \\n or \\\\ in a value, got {found[0]!r}") from None


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
