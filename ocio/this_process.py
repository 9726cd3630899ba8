"""Which process this is, among all machines that share a folder, and whether another one still runs."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import uuid
from functools import lru_cache
from pathlib import Path


def this_process() -> str:
    """Name of this process: machine, process ID and when it began, such as 0123456789ab-4711-8150."""
    return _named(os.getpid())


@lru_cache(maxsize=2)
def _named(process: int) -> str:
    return f"{_machine()}-{process}-{_began(process) or 0}"


def alive(name: str) -> bool | None:
    """Whether a process that `this_process` named still runs; None where that cannot be told from here."""
    machine, process, began = name.split("-")
    if machine != _machine() or sys.platform == "win32":  # where looking at a process would disturb it
        return None
    now = _began(int(process))
    if now is not None:
        return now == int(began)
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _began(process: int) -> int | None:
    """When a process began, in ticks since the machine was started, which tells it from a later one of the same ID;
    None where there is no such process, or no way to ask."""
    try:
        # the name of the program, in parentheses, may hold anything
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        # what was killed and not yet waited for writes no more
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


@lru_cache(maxsize=1)
def _machine() -> str:
    """The running kernel and the container, within which process IDs mean something."""
    try:
        known = Path("/proc/sys/kernel/random/boot_id").read_text("ascii") + os.readlink("/proc/self/ns/pid")
    except OSError:
        known = f"{socket.gethostname()} {uuid.getnode()} {sys.platform}"
    return hashlib.sha256(known.encode()).hexdigest()[:12]
